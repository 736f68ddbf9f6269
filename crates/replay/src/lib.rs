//! Replays the archive: its rows leave again as the stream of messages that they came from, or as rows.
//!
//! [`plan`] lists the chunks that a replay reads, [`run`] sends them to a [`Target`], and [`inspect`]
//! summarizes the contents of an archive.
//!
//! ```no_run
//! use mpsync_archive::{Archive, ArchiveConfig};
//! use mpsync_core::dataset::builtin;
//! use mpsync_core::progress::Progress;
//! use mpsync_replay::{FileTarget, ReplayOptions, Target, run};
//!
//! # async fn example(config: ArchiveConfig) -> mpsync_core::error::Result<()> {
//! let archive = Archive::open_read_only(&config).await?;
//! let mut target = Target::File(FileTarget::open("messages.jsonl".as_ref())?);
//! let options = ReplayOptions {
//!     symbols: vec!["BTC-USDT".into()],
//!     ..ReplayOptions::default()
//! };
//! let (progress, shutdown) = (Progress::default(), Default::default());
//! let report = run(&archive, builtin(), &options, &mut target, &progress, &shutdown).await?;
//! println!("{} messages", report.messages);
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! All selected datasets are merged into one stream by event time, by arrival time or by position
//! ([`StreamOrder`]). Ties are broken by the rank of the dataset in the selection, then by position.
//! That order does not depend on how rows are distributed over chunks, so a replay can stop at any
//! message and resume there ([`Checkpoint`]).
//!
//! A chunk is opened when the stream reaches the first row that it can contain. Its rows are sorted in
//! memory; a chunk that is too big for that is sorted piece by piece into unnamed temporary files,
//! which are merged. Memory therefore depends neither on the length of a replay, nor on the number of
//! symbols, nor on the size of chunks.
//!
//! # The wire form
//!
//! A row becomes the JSON object from which ingest makes the same row again:
//!
//! - Its fields are the columns that come from a message's fields, in the dataset's order, each under
//!   the first of its names. Columns that ingest derives (counts, best levels) or takes from JetStream
//!   (position, time of storage) are left out, and so are NULLs. `data_type` comes first if the dataset
//!   knows that field.
//! - A decimal is text with all its digits, without trailing zeros or exponent; an integer is a JSON
//!   number.
//! - A time of whole milliseconds is their number since 1970. Any other time is RFC 3339 with all its
//!   digits, under the first of its names that does not end in `_ms`.
//! - Levels are `[["price","quantity"],…]`; every tuple is an array of its elements, in which NULL is
//!   `null`.
//!
//! The spelling of values, the order of fields and fields without a column are lost: rows do not
//! contain them.
//!
//! The subject is the dataset's own: the literal tokens of its first subject pattern, with the columns
//! that come from `$subject.N` for the wildcards. A template can replace it: text with `{subject}`,
//! `{dataset}` and `{column}` in it. Dots and spaces of a value become `_` in a subject; the payload
//! keeps them.
//!
//! `Nats-Msg-Id` is `{epoch}-{sequence}` of the row's position, followed by `-{pass}` from the second
//! pass of an endless replay on. Two messages never share one, and a replay that is repeated within the
//! stream's duplicate window changes nothing. The publisher's own id is restored if the dataset defines
//! it (`message_id`), in a header beside the position, or as the `Nats-Msg-Id` ([`MessageId`]).
//!
//! # Rows
//!
//! Tables and files of rows receive every column as it is in the archive, positions included. A table
//! receives each position once: rows that it contains already are skipped and counted, so a replay into
//! a table can be repeated, and resumed after any failure.

mod checkpoint;
mod inspect;
mod merge;
mod message;
mod number;
mod options;
mod order;
mod plan;
mod playback_clock;
mod read;
mod report;
mod run;
mod target;
mod time_source;

#[cfg(test)]
mod tests;

pub use checkpoint::Checkpoint;
pub use inspect::{DatasetContents, DayContents, Gap, Hour, inspect};
pub use merge::next_stream;
pub use message::{BoundBatch, WireForm};
pub use options::{MessageId, POSITION_ID, PUBLISHER_ID, ReplayOptions};
pub use order::{RowKey, StreamKey, StreamOrder};
pub use plan::{DatasetPlan, ReplayPlan, plan};
pub use playback_clock::{PlaybackClock, Speed};
pub use report::{Damage, ReplayReport};
pub use run::run;
pub use target::{
    CoreTarget, FileFormat, FileTarget, JetStreamTarget, RowTarget, TableSink, TableTarget, Target,
    sweep_insert_gates,
};
