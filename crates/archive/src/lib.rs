//! The archive: self-describing, checksummed Parquet, enough on its own to rebuild cold.
//!
//! What lies there is written once. Chunks come first, `SHA256SUMS` next, the manifest last and only if absent: it makes
//! the generation exist, and what no manifest names is nobody's. See [`layout`] for the names.

mod chunk_reader;
mod chunk_writer;
mod column_sums;
mod chunk_contents;
mod dictionary;
mod encoder;
mod encodings;
mod encryption;
mod create_exclusive;
mod remove_window;
mod error_hints;
mod finding;
mod generations;
mod held;
mod journal;
pub mod layout;
mod lease;
mod manifest;
mod hashing_writer;
mod rate_limit;
mod rate_limiter;
mod parallel;
mod probe;
mod process;
mod range_reader;
mod revisions;
mod row_group;
mod s3;
mod store;
mod parquet_schema;
mod sweep;
mod multipart_cleanup;
mod upload;
mod verify;
mod s3_http_client;

#[cfg(test)]
#[allow(dead_code, reason = "the integration tests use the rest of it")]
mod faults;
#[cfg(test)]
pub(crate) mod testing;

pub use chunk_reader::{ChunkBatches, ChunkBytes};
pub use chunk_writer::{ChunkSchema, ChunkWriter, Written};
pub use column_sums::ColumnSums;
pub use finding::{Depth, Finding, FindingKind, Severity};
pub use generations::Committed;
pub use layout::GenerationId;
pub use lease::{Lease, LeaseRecord, LeaseView, Liveness, LeaseWatcher};
pub use manifest::{Chunk, FORMAT, RowFilter, Manifest, ManifestSchema, ManifestSource};
pub use store::{Archive, CreateOutcome};
pub use sweep::Leftover;
pub use multipart_cleanup::UnfinishedUpload;
pub use verify::verify;
