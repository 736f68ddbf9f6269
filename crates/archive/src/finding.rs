//! What `verify` finds, and how bad it is. Pure.

use serde::{Serialize, Serializer};

use super::layout::GenerationId;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Names, sizes and what manifests say of themselves: reads no chunk.
    Quick,
    /// Also every byte: SHA-256, and the footer of each Parquet file.
    Bytes,
    /// Also every value: rows, times and positions.
    Deep,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A generation has no manifest though a later one has.
    GenerationMissing,
    /// A manifest is not whole, of another place or format, or does not add up.
    ManifestWrong,
    /// `SHA256SUMS` is missing or says something else than the manifest.
    SumsDiffer,
    /// A chunk is missing.
    ChunkMissing,
    /// A chunk has another size than the manifest says.
    ChunkSize,
    /// A chunk has the size but not the SHA-256 that the manifest says.
    ChunkChecksum,
    /// A chunk holds the bytes of another chunk of its generation.
    ChunkSwapped,
    /// A chunk has the right bytes and cannot be read as Parquet.
    ChunkUnreadable,
    /// A chunk has other rows or columns than the manifest says.
    ChunkContent,
    /// Rows lie outside the window, or elsewhere than the manifest says.
    Times,
    /// The positions in the chunks are not those that the manifest names, or one is there twice.
    Positions,
    /// A column's values are not those of which the manifest has the checksum.
    ColumnSums,
    /// A file that no manifest names.
    Orphan,
    /// A chunk in whose place a repair has put another.
    Superseded,
    /// Something could not be looked at: neither good nor bad.
    NotChecked,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong with the data.
    Info,
    /// The check is not complete.
    Unknown,
    /// The archive is not what it was proven to be.
    Damage,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The generation; in JSON as `dataset window gen n`.
    #[serde(serialize_with = "text")]
    pub generation: GenerationId,
    /// The file, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What kind of finding it is.
    pub kind: FindingKind,
    /// What was found, in words.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

fn text<S: Serializer>(id: &GenerationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl FindingKind {
    /// Whether the chunk that it is about can be made again from rows that are elsewhere.
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

    /// How bad it is.
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
            write!(f, " {file}")?;
        }
        write!(f, ": {}\n  hint: {}", self.text, self.remedy)
    }
}
