//! Reading: chunks of the archive become sorted rows, one dataset at a time.
//!
//! [`dataset_stream`] runs on a thread of its own and hands sorted slices to a [`stream_cursor`]; a
//! [`chunk`] is read from its [`chunk_source`] and sorted in memory or through temporary files
//! ([`sorted`]).

pub(crate) mod chunk;
pub(crate) mod chunk_source;
pub(crate) mod counters;
pub(crate) mod dataset_stream;
pub(crate) mod sorted;
pub(crate) mod stream_cursor;
