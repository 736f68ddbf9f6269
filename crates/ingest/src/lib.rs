//! Ingest: from JetStream messages to rows of hot, each exactly once.
//!
//! ```text
//! source ─▶ decode (pure) ─▶ pending batch ─▶ insert gate ─▶ hot      session: fences older sessions
//!                                  │   └─▶ dead letters               recovery: asks hot which positions it holds
//!                                  └─────▶ acknowledgements           epoch, delivery tracker: pure
//! ```
//!
//! Each dataset has its own durable consumer and its own task; they share a budget of bytes only. A *session* is one
//! fenced run of a dataset's reader. A new one begins at every start and whenever an outcome is unknown (an insert without
//! an answer, a renewed connection, a delivery that went elsewhere). Its *fencing token*, a number that only grows, names
//! its *insert gate*, the table through which it inserts. A session drops the gates of all older sessions first, then asks
//! hot and its sealed tables which positions above the consumer's floor they hold, sets the consumer back to that floor,
//! and skips the positions that are held. A position is acknowledged when every message at or below it is a row or a dead
//! letter, and not before.
//!
//! Of two daemons on one dataset the one that started last continues: an older daemon cannot be proved dead, and the
//! outcome must be the same whether it is alive, asleep or dead. The older one ends with a `Busy` error at its next insert.

pub mod dead_letters;
mod decode;
mod run;
mod sample;
mod session;
mod source;
mod stats;
mod summary;
mod writer;

pub use dead_letters::{
    DATASET_HEADER, DETAIL_HEADER, EPOCH_HEADER, MESSAGE_ID_HEADER, REASON_HEADER, SEQUENCE_HEADER,
    STORED_AT_HEADER, STREAM_HEADER, SUBJECT_HEADER,
};
pub use decode::{
    Appended, DecodeCounters, Decoder, MAX_PAYLOAD_BYTES, MessageMeta, Reason, Rejection,
    ValueLocation,
};
pub use run::{IngestOptions, run};
pub use sample::{SampleCheck, SampleReport};
pub use stats::{DatasetIngestReport, Durations, IngestReport, IngestStats, StreamGap};
pub use writer::partition_split::split_by_partition;
