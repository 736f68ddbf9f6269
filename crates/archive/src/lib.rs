//! The archive: self-describing, checksummed Parquet, sufficient to rebuild the cold tier.
//!
//! Objects are written once. Chunks come first, `SHA256SUMS` next, the manifest last and only if absent: the manifest makes the
//! generation exist, and a file that no manifest names is a leftover. See [`layout`] for the names.
//!
//! # Reading from another program
//!
//! [`ArchiveReader`] opens a folder or a bucket, lists datasets, windows and committed generations, reads a [`Selection`] as
//! Arrow record batches, and verifies. Checksums are compared and keys applied before a row is returned. It needs no
//! configuration and no server, and runs on the caller's tokio runtime. An archive may be damaged or hostile: no input makes it
//! panic, follow a link out of the archive, or read an object of unbounded size. See `examples/` for whole programs.
//!
//! # Writing
//!
//! [`Archive`] is what mpsync itself works with: [`Lease`] for exclusive work on a window, [`ChunkWriter`] and
//! [`Archive::commit`] for a generation, [`verify()`] and [`Archive::old_leftovers`] for checks and sweeps.

mod check;
mod chunk;
mod coordination;
mod format;
mod generations;
mod reading;
mod store;

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

pub use check::finding::{Depth, Finding, FindingKind, Severity};
pub use check::leftovers::Leftover;
pub use check::verify::verify;
pub use chunk::Written;
pub use chunk::column_sums::ColumnSums;
pub use chunk::keys::{EncryptionKey, EncryptionKeys, KeyId};
pub use chunk::reader::{ChunkBatches, ChunkBytes};
pub use chunk::schema::ChunkSchema;
pub use chunk::writer::ChunkWriter;
pub use coordination::lease::Lease;
pub use coordination::lease_watcher::{LeaseView, LeaseWatcher, Liveness};
pub use format::layout::{self, GenerationId};
pub use format::lease_record::LeaseRecord;
pub use format::manifest::{Chunk, FORMAT, Manifest, ManifestSchema, ManifestSource, RowFilter};
pub use format::printable::printable;
pub use generations::commit::Committed;
pub use reading::{ArchiveReader, Rows, Selection};
pub use store::archive::Archive;
pub use store::backend::{CreateOutcome, UnfinishedUpload};
pub use store::config::{ArchiveConfig, ArchivePlace, S3Config, S3Credentials, S3Key};

// The types of other crates in this one's interface, so that a program needs no other dependency to name them.
pub use arrow;
pub use mpsync_core::dataset::{DatasetName, Window};
pub use mpsync_core::error::{Error, Result};
pub use mpsync_net::{Secret, Tls};
