//! Ingest: from messages to rows of hot.

mod batch;
mod column;
mod decimals;
mod decode;
mod fault;
mod fields;
mod interner;
mod json;
mod levels;
mod number;
mod plan;
mod rejection;
mod time;

pub use batch::split_by_partition;
pub use decode::{Appended, DecodeCounters, Decoder, MAX_PAYLOAD_BYTES, MessageMeta};
pub use rejection::{Place, Reason, Rejection};
