//! The archive as a source: what lies in it goes out again as the stream of messages that it came from.
//!
//! # Order
//!
//! All chosen datasets are merged into one stream by event time, by the time of arrival or by position ([`Order`]); ties go by the
//! place of the dataset among the chosen ones, then by position. That order does not depend on how rows lie in chunks, so a
//! replay can be ended at any message and continued there ([`Checkpoint`]).
//!
//! A chunk is begun when the stream comes to the first row that it can hold. Its rows are sorted in memory; those of a chunk that
//! is too big for that are sorted piece by piece into nameless temporary files, which are merged. So memory depends neither on
//! how long a replay is, nor on how many symbols there are, nor on how big chunks are.
//!
//! # The wire form
//!
//! A row becomes the JSON object from which ingest makes the same row again:
//!
//! - its fields are the columns that come from a message's fields, in the dataset's order, each under the first of its
//!   names; what ingest derives (counts, best levels) or takes from JetStream (position, time of storage) is left out, and so
//!   is what is NULL. `data_type` leads where the dataset knows that field.
//! - a decimal is text with all its digits, without trailing zeros or exponent; an integer is a JSON number.
//! - a time of whole milliseconds is an integer of them since 1970. Any other one is RFC 3339 with all its digits, under the
//!   first of its names that does not end in `_ms`.
//! - levels are `[["price","quantity"],…]`; every tuple is an array of its elements, in which NULL is `null`.
//!
//! What the row does not hold cannot come back: spelling, the order of fields, fields that no column takes.
//!
//! The subject is the dataset's own: the literal tokens of its first subject pattern, and for the wildcards the columns that
//! come from `$subject.N`. A template can take its place: text with `{subject}`, `{dataset}` and `{column}` in it. A value's
//! dots and spaces become `_` in a subject; the payload has them as they are.
//!
//! `Nats-Msg-Id` is `{epoch}-{sequence}` of the row's position, followed by `-{pass}` from the second pass of an endless replay
//! on: two messages never share one, and a replay that is repeated within the stream's duplicate window changes nothing.
//! The publisher's own id is made again where the dataset says how (`message_id`), and goes in a header beside it, or takes its
//! place ([`MessageId`]).
//!
//! # Rows
//!
//! Tables and files of rows take every column as it is in the archive, positions included. A table takes a position once: what
//! it holds already is passed over and counted, so that a replay into a table can be repeated, and continued after any end.

mod buffers;
mod bytes;
mod checkpoint;
mod chunk;
mod dataset_stream;
mod inspect;
mod merge;
mod number;
mod order;
mod plan;
mod playback_clock;
mod run;
mod sorted;
mod stream_cursor;
mod subject;
mod target;
#[cfg(test)]
mod tests;
mod time_source;
mod wire;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

pub use checkpoint::Checkpoint;
pub use inspect::{DatasetContents, DayContents, Gap, Hour, inspect};
pub use merge::next_stream;
pub use order::{RowKey, StreamKey, StreamOrder};
pub use plan::{DatasetPlan, ReplayPlan, plan};
pub use playback_clock::{PlaybackClock, Speed};
pub use run::run;
pub use target::{
    CoreTarget, FileFormat, FileTarget, JetStreamTarget, RowTarget, TableSink, TableTarget, Target,
    sweep_insert_gates,
};
pub use wire::{BoundBatch, WireForm};

/// What becomes the `Nats-Msg-Id`, by which a stream knows what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageId {
    /// The row's position: two messages never share it. The publisher's own id goes in [`PUBLISHER_ID`], where it is known.
    #[default]
    Position,
    /// The publisher's own id, where the dataset says how it is made; the position goes in [`POSITION_ID`]. Publishers give one id to
    /// several messages, of which a stream takes the first.
    Publisher,
}

/// The header of the publisher's own id.
pub const PUBLISHER_ID: &str = "Mpsync-Publisher-Msg-Id";
/// The header of the position, where the publisher's own id is the message's.
pub const POSITION_ID: &str = "Mpsync-Position";

/// What is replayed, and how.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct ReplayOptions {
    /// From this event time on.
    pub from: Option<Timestamp>,
    /// Up to this event time, exclusive.
    pub to: Option<Timestamp>,
    /// Only these exchanges, where not empty.
    pub exchanges: Vec<String>,
    /// Only these symbols, where not empty.
    pub symbols: Vec<String>,
    /// A template of the subjects, instead of the original ones.
    pub subject: Option<String>,
    /// What becomes the message's id.
    pub message_id: MessageId,
    /// By what the stream is in order.
    pub order: StreamOrder,
    /// How fast event time passes.
    pub speed: Speed,
    /// Begin again at the end, for ever.
    pub endless: bool,
    /// Move all times so that the first message's event time is now, by whole seconds.
    pub shift_to_now: bool,
    /// Where the place that was reached is kept.
    pub checkpoint: Option<PathBuf>,
    /// Pass over what is damaged, and list it.
    pub skip_damaged: bool,
    /// Check the SHA-256 of every chunk that is read.
    pub verify: bool,
    /// What sorted rows may occupy, in bytes, over all datasets. Chunks of more compressed bytes than an eighth of a dataset's part
    /// of it are read through temporary files.
    pub memory: usize,
}

impl Default for ReplayOptions {
    /// Everything, as fast as possible.
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            exchanges: Vec::new(),
            symbols: Vec::new(),
            subject: None,
            message_id: MessageId::Position,
            order: StreamOrder::Event,
            speed: Speed::Max,
            endless: false,
            shift_to_now: false,
            checkpoint: None,
            skip_damaged: false,
            verify: true,
            memory: 96 << 20,
        }
    }
}

/// Something of the archive that could not be read and was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The chunk or the window.
    pub what: String,
    /// How many rows it has, where that is known.
    pub rows: Option<u64>,
    /// Why it could not be read.
    pub why: String,
}

/// What a replay did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReplayReport {
    /// Messages that the target took in this run.
    pub messages: u64,
    /// Of them, those that the target had already.
    pub duplicates: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Messages by dataset.
    pub by_dataset: std::collections::BTreeMap<String, u64>,
    /// Event time of the first and the last message, as the archive has them.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Bytes of chunks that were read.
    pub bytes_read: u64,
    /// Bytes of all chunks of the chosen datasets.
    pub archive_bytes: u64,
    /// What was passed over.
    pub skipped: Vec<Damage>,
    /// Whether it continued from a checkpoint.
    pub resumed: bool,
    /// Whether it was ended before its end.
    pub interrupted: bool,
    /// From the first look at the archive to the last acknowledgement.
    pub seconds: f64,
}
