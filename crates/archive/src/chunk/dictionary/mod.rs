//! Columns of few distinct values, encoded by this crate: decimals of more than 18 digits, and text that comes as a
//! dictionary.
//!
//! The Parquet writer takes such values one by one, each with its own reference to the batch that it came in: it hashes
//! text again that was a dictionary before, keeps whole batches alive for the sake of a value in each, and compares
//! every value for the statistics. Here a value is interned as a number at once: a row group's column is its numbers, its
//! distinct values, and the shape of its rows. The result is the bytes of a column chunk as any Parquet reader takes
//! them, and its metadata; the file itself stays the library's.

mod column;
mod compressor;
mod interner;
mod page_encoding;
mod pages;
mod rle_bitpack;
#[cfg(test)]
mod tests;

pub(crate) use column::{DictionaryColumn, columns};
pub(crate) use compressor::Zstd;
pub(crate) use pages::EncodedColumn;
