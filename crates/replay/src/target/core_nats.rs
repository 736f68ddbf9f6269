//! Publishing to NATS without acknowledgements.

use async_nats::Client;

use super::message::OutboundMessage;
use super::publish::{Arena, headers};
use mpsync_core::error::{Context as _, Error, Result};

/// A NATS target without acknowledgements.
#[derive(Debug)]
pub struct CoreTarget {
    client: Client,
    arena: Arena,
}

impl CoreTarget {
    /// Starts to publish.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            arena: Arena::default(),
        }
    }

    pub(crate) async fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
        let headers = headers(message.msg_id, message.other_id);
        self.client
            .publish_with_headers(
                self.arena.subject(message.subject.as_bytes())?,
                headers,
                self.arena.put(message.payload),
            )
            .await
            .map_err(Error::nats)
            .context(|| format!("publishing {} to {}", message.msg_id, message.subject))
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.client
            .flush()
            .await
            .map_err(Error::nats)
            .context(|| "flushing messages to NATS")
    }
}
