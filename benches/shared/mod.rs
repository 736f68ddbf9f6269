//! What the benchmarks share.

pub(crate) mod decode;
pub(crate) mod messages;
