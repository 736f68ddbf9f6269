//! Acknowledgements: what is owed to the server for the messages of a batch, and sending it.

use std::time::Duration;

use async_nats::Subject;
use async_nats::client::Client;
use bytes::Bytes;

use super::stream::AckMode;

/// How long the server may take to confirm an acknowledgement.
const CONFIRM: Duration = Duration::from_secs(5);

/// What is owed: the replies to send when all messages that it covers are rows or dead letters.
#[derive(Debug, Clone)]
pub(super) enum Owed {
    /// The reply of the last message: it covers all before it.
    All(Option<Subject>),
    /// The reply of every message.
    Each(Vec<Subject>),
}

impl Owed {
    /// Nothing yet.
    pub(super) fn nothing(mode: AckMode) -> Self {
        match mode {
            AckMode::All => Self::All(None),
            AckMode::Each => Self::Each(Vec::new()),
        }
    }

    /// Covers one more message, which must come after those that it covers already.
    pub(super) fn cover(&mut self, reply: Subject) {
        match self {
            Self::All(last) => *last = Some(reply),
            Self::Each(replies) => replies.push(reply),
        }
    }

    /// Sends it, and waits until the server has the last one.
    ///
    /// A failure is no doubt: what is not acknowledged comes again, is known, and is acknowledged then. Returns whether the
    /// server confirmed.
    pub(super) async fn pay(self, client: &Client) -> bool {
        let mut replies = match self {
            Self::All(last) => last.into_iter().collect(),
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
