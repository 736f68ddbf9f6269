//! Chunks: rows as Parquet files, written, encrypted, hashed and read.

pub(crate) mod column_sums;
pub(crate) mod contents;
mod dictionary;
mod encoder;
mod encodings;
pub(crate) mod encryption;
pub(crate) mod footer_guard;
mod hashing_writer;
pub(crate) mod hex;
pub(crate) mod keys;
pub(crate) mod parallel;
pub(crate) mod parquet_schema;
mod range_reader;
pub(crate) mod reader;
mod row_group;
pub(crate) mod schema;
pub(crate) mod writer;

pub use encoder::Written;
