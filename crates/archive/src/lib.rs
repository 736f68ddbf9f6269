//! The archive: self-describing, checksummed Parquet, enough on its own to rebuild cold.
//!
//! What lies there is written once. Chunks come first, `SHA256SUMS` next, the manifest last and only if absent: it makes
//! the generation exist, and what no manifest names is nobody's. See [`layout`] for the names.

mod chunk_contents;
mod chunk_reader;
mod chunk_writer;
mod column_sums;
mod create_exclusive;
mod dictionary;
mod encoder;
mod encodings;
mod encryption;
mod error_hints;
mod finding;
mod generations;
mod hashing_writer;
mod held;
mod journal;
mod keys;
pub mod layout;
mod lease;
mod manifest;
mod multipart_cleanup;
mod options;
mod parallel;
mod parquet_schema;
mod probe;
mod process;
mod range_reader;
mod rate_limit;
mod rate_limiter;
mod remove_window;
mod revisions;
mod row_group;
mod s3;
mod s3_http_client;
mod store;
mod sweep;
mod upload;
mod verify;

// The rows and manifests that other crates' tests share, compiled in: they are of this crate's own types here.
#[cfg(test)]
extern crate self as mpsync_archive;
#[cfg(test)]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "other crates' tests use the rest of it"
)]
#[path = "../../testkit/src/archive.rs"]
mod testing;

pub use chunk_reader::{ChunkBatches, ChunkBytes};
pub use chunk_writer::{ChunkSchema, ChunkWriter, Written};
pub use column_sums::ColumnSums;
pub use finding::{Depth, Finding, FindingKind, Severity};
pub use generations::Committed;
pub use keys::{EncryptionKey, EncryptionKeys, KeyId};
pub use layout::GenerationId;
pub use lease::{Lease, LeaseRecord, LeaseView, LeaseWatcher, Liveness};
pub use manifest::{Chunk, FORMAT, Manifest, ManifestSchema, ManifestSource, RowFilter};
pub use multipart_cleanup::UnfinishedUpload;
pub use options::{ArchiveConfig, ArchivePlace, S3Config, S3Credentials, S3Key};
pub use store::{Archive, CreateOutcome};
pub use sweep::Leftover;
pub use verify::verify;
