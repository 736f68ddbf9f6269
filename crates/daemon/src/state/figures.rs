//! The contents of the tiers and of the archive, as last observed. Pure.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// The contents of a tier, as last observed.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct TierFigures {
    /// Whether it answered the last query.
    pub reachable: bool,
    /// The error of the last query.
    pub error: Option<String>,
    /// The rows of all datasets.
    pub rows: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// The datasets.
    pub datasets: Vec<TierDataset>,
}

/// The contents of a tier, of one dataset.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct TierDataset {
    /// The name of the dataset.
    pub dataset: String,
    /// The rows in active parts.
    pub rows: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// The active parts.
    pub parts: u64,
    /// The first event time.
    pub oldest: Option<Timestamp>,
    /// The last event time.
    pub newest: Option<Timestamp>,
}

/// The contents of the archive, as last observed.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ArchiveFigures {
    /// Its location, without secrets.
    pub location: String,
    /// The rows of all generations.
    pub rows: u64,
    /// The bytes of all chunks.
    pub bytes: u64,
    /// The free bytes of its disk; `null` if unknown.
    pub free_bytes: Option<u64>,
    /// The datasets.
    pub datasets: Vec<ArchiveDataset>,
}

/// The contents of the archive, of one dataset.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ArchiveDataset {
    /// The name of the dataset.
    pub dataset: String,
    /// The windows with at least one generation.
    pub windows: u64,
    /// The generations.
    pub generations: u64,
    /// The chunks.
    pub chunks: u64,
    /// The rows.
    pub rows: u64,
    /// The bytes of the chunks.
    pub bytes: u64,
}

/// The contents of the tiers and of the archive, as last observed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) hot: Option<TierFigures>,
    pub(crate) cold: Option<TierFigures>,
    pub(crate) archive: Option<ArchiveFigures>,
}
