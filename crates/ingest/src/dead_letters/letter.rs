//! A dead letter and its id. Pure.

use bytes::Bytes;
use jiff::Timestamp;

use mpsync_core::dataset::{DatasetName, Position};

/// A message that could not be a row, with its origin and the reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The dataset of the message.
    pub dataset: DatasetName,
    /// The position of the original.
    pub position: Position,
    /// When the original was stored: nanoseconds since 1970.
    pub stored_at_nanos: i64,
    /// The original's subject; empty if the stream dropped the message before it could be read.
    pub subject: String,
    /// The original's stream.
    pub stream: String,
    /// The original's `Nats-Msg-Id`.
    pub message_id: Option<String>,
    /// A short name of the reason, which does not change.
    pub reason: String,
    /// The reason, for people.
    pub detail: String,
    /// When the dead letter was stored.
    pub kept_at: Timestamp,
    /// The original's bytes.
    pub body: Bytes,
    /// Its sequences in the stream of dead letters. Several if a replay ended while it wrote a new reason.
    pub(super) sequences: Vec<u64>,
    /// Whether it lies in the folder of dead letters.
    pub(super) filed: bool,
}

impl DeadLetter {
    /// Returns its id: `<dataset>.<epoch>.<sequence>`.
    #[must_use]
    pub fn id(&self) -> String {
        format!(
            "{}.{}.{}",
            self.dataset, self.position.epoch.0, self.position.seq
        )
    }

    /// Returns where it is stored: in the stream, in the folder, or in both if an answer of the stream was lost.
    #[must_use]
    pub fn kept_in(&self) -> &'static str {
        match (self.sequences.is_empty(), self.filed) {
            (true, _) => "folder",
            (false, false) => "stream",
            (false, true) => "stream and folder",
        }
    }

    /// Returns when the original was stored; `None` if the time is outside the range of [`Timestamp`].
    #[must_use]
    pub fn stored_at(&self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(self.stored_at_nanos.into()).ok()
    }
}
