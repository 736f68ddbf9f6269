//! From messages to rows: the decoder of one dataset.

mod buffers;
mod column;
mod decimals;
mod decoder;
mod fault;
mod fields;
mod interner;
mod json;
mod levels;
mod nested;
mod plan;
mod refuse;
mod rejection;
mod strings;
#[cfg(test)]
pub(super) mod tests;
mod text;
mod time;
mod times;
mod value;
mod values;

pub use decoder::{Appended, DecodeCounters, Decoder, MAX_PAYLOAD_BYTES, MessageMeta};
pub use rejection::{Reason, Rejection, ValueLocation};
