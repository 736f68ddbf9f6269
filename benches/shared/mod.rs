//! Shared code of the benchmarks.

pub(crate) mod decode;
pub(crate) mod messages;
