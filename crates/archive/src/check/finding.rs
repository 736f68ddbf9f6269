//! The findings of `verify`, and their severity. Pure.

use serde::{Serialize, Serializer};

use crate::format::layout::GenerationId;
use crate::format::printable::printable;

/// The depth of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Names, sizes, manifests and the journal: reads no chunk.
    Quick,
    /// Also every byte: SHA-256, and the footer of each Parquet file.
    Bytes,
    /// Also every value: rows, times and positions.
    Deep,
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A generation has no manifest though a later one has, or though the journal says that it was archived.
    GenerationMissing,
    /// A manifest is incomplete, of another place or format, or inconsistent.
    ManifestWrong,
    /// `SHA256SUMS` is missing or differs from the manifest.
    SumsDiffer,
    /// A chunk is missing.
    ChunkMissing,
    /// The size of a chunk differs from the manifest.
    ChunkSize,
    /// The SHA-256 of a chunk differs from the manifest, though its size does not.
    ChunkChecksum,
    /// A chunk holds the bytes of another chunk of its generation.
    ChunkSwapped,
    /// A chunk cannot be read: it is not a regular file, too large, or not readable as Parquet.
    ChunkUnreadable,
    /// The rows or columns of a chunk differ from the manifest.
    ChunkContent,
    /// Times of rows lie outside the window, or differ from the manifest.
    Times,
    /// The positions in the chunks differ from the manifest, or one occurs twice.
    Positions,
    /// The checksum of a column's values differs from the manifest.
    ColumnSums,
    /// A file that no manifest names.
    Orphan,
    /// A chunk that a repair has replaced.
    Superseded,
    /// Something could not be checked: neither right nor wrong.
    NotChecked,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong with the data.
    Info,
    /// The check is not complete.
    Unknown,
    /// The archive differs from what it was proven to be.
    Damage,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The generation; in JSON as `dataset window gen n`.
    #[serde(serialize_with = "text")]
    pub generation: GenerationId,
    /// The file, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The kind.
    pub kind: FindingKind,
    /// The finding in words.
    pub text: String,
    /// How to deal with it.
    pub remedy: String,
}

fn text<S: Serializer>(id: &GenerationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl FindingKind {
    /// Returns whether the chunk that it is about can be rebuilt from rows that another tier holds.
    #[must_use]
    pub fn is_of_chunk(self) -> bool {
        match self {
            Self::ChunkMissing
            | Self::ChunkSize
            | Self::ChunkChecksum
            | Self::ChunkSwapped
            | Self::ChunkUnreadable
            | Self::ChunkContent
            | Self::Times => true,
            Self::GenerationMissing
            | Self::ManifestWrong
            | Self::SumsDiffer
            | Self::Positions
            | Self::ColumnSums
            | Self::Orphan
            | Self::Superseded
            | Self::NotChecked => false,
        }
    }

    /// Returns the severity.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Orphan | Self::Superseded => Severity::Info,
            Self::NotChecked => Severity::Unknown,
            _ => Severity::Damage,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.generation)?;
        if let Some(file) = &self.file {
            write!(f, " {}", printable(file))?;
        }
        write!(f, ": {}\n  hint: {}", printable(&self.text), self.remedy)
    }
}
