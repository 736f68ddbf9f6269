//! A dead letter and its id. Pure.

use bytes::Bytes;
use jiff::Timestamp;

use mpsync_core::dataset::{DatasetName, Position};

/// A message that could not be a row, as its letter keeps it.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The dataset whose row it was to be.
    pub dataset: DatasetName,
    /// Where the original stands, or stood.
    pub position: Position,
    /// When the original was stored: nanoseconds since 1970.
    pub stored_at_nanos: i64,
    /// The original's subject; empty where the stream had dropped it before it could be asked.
    pub subject: String,
    /// The original's stream.
    pub stream: String,
    /// The original's `Nats-Msg-Id`.
    pub message_id: Option<String>,
    /// A short name of the reason, which does not change.
    pub reason: String,
    /// The reason, for people.
    pub detail: String,
    /// When the letter was kept.
    pub kept_at: Timestamp,
    /// The original's bytes.
    pub body: Bytes,
    /// Where the letter lies in its stream. More than one where a replay was ended while it wrote a new reason.
    pub(super) sequences: Vec<u64>,
    /// Whether it lies in the folder of letters.
    pub(super) filed: bool,
}

impl DeadLetter {
    /// What names it: `<dataset>.<epoch>.<sequence>`.
    #[must_use]
    pub fn id(&self) -> String {
        format!(
            "{}.{}.{}",
            self.dataset, self.position.epoch.0, self.position.seq
        )
    }

    /// Where it is kept: in the stream, in the folder, or, where an answer of the stream was lost, in both.
    #[must_use]
    pub fn kept_in(&self) -> &'static str {
        match (self.sequences.is_empty(), self.filed) {
            (true, _) => "folder",
            (false, false) => "stream",
            (false, true) => "stream and folder",
        }
    }

    /// When the original was stored; `None` beyond the years that can be written.
    #[must_use]
    pub fn stored_at(&self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(self.stored_at_nanos.into()).ok()
    }
}
