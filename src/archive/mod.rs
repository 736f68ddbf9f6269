//! The archive: self-describing, checksummed Parquet, enough on its own to rebuild cold.

pub mod layout;
mod manifest;

pub use layout::GenerationId;
pub use manifest::{Chunk, FORMAT, Filter, Manifest, Schema, Source};
