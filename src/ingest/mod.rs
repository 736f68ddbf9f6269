//! Ingest: from messages to rows of hot.

mod batch;
mod decode;

pub use batch::split_by_partition;
pub use decode::{
    Appended, DecodeCounters, Decoder, MAX_PAYLOAD_BYTES, MessageMeta, Place, Reason, Rejection,
};
