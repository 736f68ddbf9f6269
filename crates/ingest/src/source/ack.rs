//! The acknowledgements of a batch, and sending them.

use std::time::Duration;

use async_nats::Subject;
use async_nats::client::Client;
use bytes::Bytes;

use crate::source::stream::AckMode;

/// Timeout for the confirmation of an acknowledgement.
const CONFIRM: Duration = Duration::from_secs(5);

/// The acknowledgements to send when all messages that they cover are rows or dead letters.
#[derive(Debug, Clone)]
pub(crate) enum PendingAcks {
    /// The highest sequence and its reply subject: it covers all messages before it.
    All(Option<(u64, Subject)>),
    /// The reply subjects of all messages.
    Each(Vec<Subject>),
}

impl PendingAcks {
    /// Returns an empty set.
    pub(crate) fn new(mode: AckMode) -> Self {
        match mode {
            AckMode::All => Self::All(None),
            AckMode::Each => Self::Each(Vec::new()),
        }
    }

    /// Adds a message.
    pub(crate) fn add(&mut self, seq: u64, reply: Subject) {
        match self {
            Self::All(Some((highest, _))) if *highest > seq => {}
            Self::All(last) => *last = Some((seq, reply)),
            Self::Each(replies) => replies.push(reply),
        }
    }

    /// Sends the acknowledgements and waits for the server to confirm the last one. Returns whether it did.
    ///
    /// A failure does not end the session: unacknowledged messages are delivered again, recognised, and acknowledged then.
    pub(crate) async fn send(self, client: &Client) -> bool {
        let mut replies: Vec<Subject> = match self {
            Self::All(last) => last.into_iter().map(|(_, reply)| reply).collect(),
            Self::Each(replies) => replies,
        };
        let Some(last) = replies.pop() else {
            return true;
        };
        for reply in replies {
            if client.publish(reply, Bytes::new()).await.is_err() {
                return false;
            }
        }
        let confirmed =
            tokio::time::timeout(CONFIRM, client.request(last.to_string(), Bytes::new())).await;
        matches!(confirmed, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledging_an_old_message_keeps_the_highest_sequence() {
        let mut acks = PendingAcks::new(AckMode::All);
        for seq in [7, 9, 8, 3] {
            acks.add(seq, format!("reply.{seq}").into());
        }
        assert!(matches!(acks, PendingAcks::All(Some((9, reply))) if reply.as_str() == "reply.9"));
        let mut acks = PendingAcks::new(AckMode::Each);
        for seq in [7, 9, 8, 3] {
            acks.add(seq, format!("reply.{seq}").into());
        }
        assert!(matches!(acks, PendingAcks::Each(replies) if replies.len() == 4));
    }
}
