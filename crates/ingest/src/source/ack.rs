//! Acknowledgements: what is owed to the server for the messages of a batch, and sending it.

use std::time::Duration;

use async_nats::Subject;
use async_nats::client::Client;
use bytes::Bytes;

use crate::source::stream::AckMode;

/// How long the server may take to confirm an acknowledgement.
const CONFIRM: Duration = Duration::from_secs(5);

/// What is owed: the replies to send when all messages that it covers are rows or dead letters.
#[derive(Debug, Clone)]
pub(crate) enum PendingAcks {
    /// The reply of the message with the highest sequence, with that: it covers all before it.
    All(Option<(u64, Subject)>),
    /// The reply of every message.
    Each(Vec<Subject>),
}

impl PendingAcks {
    /// Nothing yet.
    pub(crate) fn new(mode: AckMode) -> Self {
        match mode {
            AckMode::All => Self::All(None),
            AckMode::Each => Self::Each(Vec::new()),
        }
    }

    /// Covers one more message.
    pub(crate) fn add(&mut self, seq: u64, reply: Subject) {
        match self {
            Self::All(Some((highest, _))) if *highest > seq => {}
            Self::All(last) => *last = Some((seq, reply)),
            Self::Each(replies) => replies.push(reply),
        }
    }

    /// Sends it, and waits until the server has the last one.
    ///
    /// A failure is no doubt: what is not acknowledged comes again, is known, and is acknowledged then. Returns whether the
    /// server confirmed.
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
    fn a_repeat_of_an_old_message_does_not_take_the_place_of_a_new_one() {
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
