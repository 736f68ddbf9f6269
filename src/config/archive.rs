//! `archive:`

use std::path::PathBuf;

use super::reader::Section;

/// How the archive is laid down.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Its folder.
    pub path: PathBuf,
    /// zstd level of the Parquet pages.
    pub zstd_level: i32,
    /// Rows of a chunk at most.
    pub chunk_rows: u64,
    /// Bytes of a chunk, about, at most.
    pub chunk_bytes: u64,
    /// Rows of a row group at most.
    pub row_group_rows: u64,
    /// Whether every chunk is read back and hashed before the manifest is written.
    pub verify_after_write: bool,
}

impl ArchiveConfig {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            path: s.key("path").path("mpsync-archive"),
            zstd_level: s.key("zstd_level").integer(3, 1..=22),
            chunk_rows: s.key("chunk_rows").integer(4_000_000, 1..=u64::MAX),
            chunk_bytes: s.key("chunk_bytes").bytes(256 << 20, 1..=u64::MAX),
            row_group_rows: s.key("row_group_rows").integer(131_072, 1..=u64::MAX),
            verify_after_write: s.key("verify_after_write").flag(true),
        }
    }
}
