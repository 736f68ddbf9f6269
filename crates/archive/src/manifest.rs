//! The manifest: the one document that makes a generation exist. Plain types, as they lie in the archive.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::GenerationId;
use crate::KeyId;
use mpsync_core::dataset::{DatasetName, PositionSet, Window};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};

/// The number of the format that this program writes. A reader refuses a higher one.
pub const FORMAT: u32 = 1;

/// What to do about a manifest that is wrong.
pub(super) const PUT_BACK: &str = "put the manifest back from a copy of the archive; the chunks beside it may be whole; nothing of this window is \
                                   loaded, replayed or cleaned until then";

/// What a generation is, exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The number of the format, see [`FORMAT`].
    pub format: u32,
    /// The program that wrote it, with its version.
    pub writer: String,
    /// The dataset.
    pub dataset: DatasetName,
    /// The span of event time of all its rows.
    pub window: Window,
    /// Which generation of the window it is.
    pub generation: u32,
    /// How often its chunks were made anew: 0 for the first manifest, see [`super::layout::manifest_file`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u32,
    /// The attempt that wrote it: the lease's number.
    pub attempt: u64,
    /// When it was written, by the writer's clock; for people only.
    pub created_at: Timestamp,
    /// Where the rows were read.
    pub source: ManifestSource,
    /// Which rows of the window were wanted; `None` for all. A filtered generation is never the ground for cleanup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<RowFilter>,
    /// What the rows look like.
    pub schema: ManifestSchema,
    /// The fingerprint of exactly the rows in the chunks.
    pub fingerprint: Fingerprint,
    /// For each column the sum of its values' hashes, in hex, so that a mismatch can name its column: see
    /// [`super::ColumnSums`]. Empty in manifests of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub column_sums: BTreeMap<String, String>,
    /// The exact set of positions; empty for a table that has none.
    #[serde(default, skip_serializing_if = "PositionSet::is_empty")]
    pub positions: PositionSet,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// Where the rows of a generation were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSource {
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
    /// The server's version.
    pub server_version: String,
}

/// Which rows of a window were wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowFilter {
    /// Only these exchanges, where not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<String>,
    /// Only these symbols, where not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<String>,
}

/// What the rows of a generation look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSchema {
    /// The columns in order, with the types under which they are hashed.
    pub columns: Vec<HashedColumn>,
    /// The column of the event time.
    pub time_column: String,
    /// The order in which the rows lie, as ClickHouse writes it.
    pub sorting_key: String,
}

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Its name within the generation's folder.
    pub file: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in lower-case hex.
    pub sha256: String,
    /// The earliest and the latest event time in it, half-open readers beware: both are inclusive.
    pub min_time: Timestamp,
    /// See `min_time`.
    pub max_time: Timestamp,
    /// The id of the key that it is encrypted with; `None` where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for this signature"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Manifest {
    /// Whether it describes the same rows as another manifest of the generation, whatever the chunks in which they lie.
    #[must_use]
    pub fn is_of_same_rows(&self, other: &Self) -> bool {
        self.id() == other.id()
            && self.filter == other.filter
            && self.schema.columns == other.schema.columns
            && self.schema.time_column == other.schema.time_column
            && self.fingerprint == other.fingerprint
            && self.positions == other.positions
            && (other.column_sums.is_empty() || self.column_sums == other.column_sums)
    }

    /// The generation that it describes.
    #[must_use]
    pub fn id(&self) -> GenerationId {
        GenerationId {
            dataset: self.dataset.clone(),
            window: self.window,
            generation: self.generation,
        }
    }

    /// The bytes of all chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|c| c.bytes).sum()
    }

    /// The document as it lies in the archive.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json =
            serde_json::to_vec_pretty(self).map_err(|e| Error::malformed(e.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads the document that lies under `expected`, and checks that it is what its place says and adds up.
    pub fn from_json(bytes: &[u8], expected: &GenerationId) -> Result<Self> {
        #[derive(Deserialize)]
        struct FormatProbe {
            format: u32,
        }
        let unreadable =
            |what: String| Error::integrity(what).context(format!("manifest of {expected}"));
        let wrong = |what: String| unreadable(what).with_hint(PUT_BACK);
        let probe: FormatProbe =
            serde_json::from_slice(bytes).map_err(|e| wrong(format!("it is no manifest: {e}")))?;
        if probe.format != FORMAT {
            let hint = if probe.format > FORMAT {
                "it was written by a newer mpsync: use that one"
            } else {
                "no release of mpsync has written such a format: put the manifest back from a copy of the archive"
            };
            return Err(unreadable(format!(
                "it has format {}, and this program reads format {FORMAT}",
                probe.format
            ))
            .with_hint(hint));
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|e| wrong(format!("it is no manifest: {e}")))?;
        if manifest.id() != *expected {
            return Err(wrong(format!("it is the manifest of {}", manifest.id())));
        }
        let rows: u64 = manifest.chunks.iter().map(|c| c.rows).sum();
        if rows != manifest.fingerprint.rows {
            return Err(wrong(format!(
                "its chunks have {rows} rows, its fingerprint {}",
                manifest.fingerprint.rows
            )));
        }
        if !manifest.positions.is_empty() && manifest.positions.len() != rows {
            return Err(wrong(format!(
                "it names {} positions for {rows} rows",
                manifest.positions.len()
            )));
        }
        if let Some(chunk) = manifest
            .chunks
            .iter()
            .find(|c| c.file.contains(['/', '\\']) || c.file.starts_with('.'))
        {
            return Err(wrong(format!(
                "a chunk may not be called `{}`",
                chunk.file.escape_debug()
            )));
        }
        Ok(manifest)
    }

    /// The text of `SHA256SUMS`, as `sha256sum -c` reads it in the generation's folder.
    #[must_use]
    pub fn sha256sums(&self) -> String {
        let lines = self.chunks.iter();
        let lines = lines.flat_map(|c| [c.sha256.as_str(), "  ", &c.file, "\n"]);
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_core::dataset::{Epoch, Position};

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            writer: "mpsync 0.1.0".into(),
            dataset: "trades".parse().unwrap(),
            window: "2026-01-01T05".parse().unwrap(),
            generation: 0,
            revision: 0,
            attempt: 3,
            created_at: "2026-01-01T07:00:00Z".parse().unwrap(),
            source: ManifestSource {
                database: "hot".into(),
                table: "trades".into(),
                server_version: "26.7".into(),
            },
            filter: None,
            schema: ManifestSchema {
                columns: vec![HashedColumn {
                    name: "price".into(),
                    type_name: "Decimal(38, 18)".into(),
                }],
                time_column: "timestamp".into(),
                sorting_key: "symbol, timestamp".into(),
            },
            fingerprint: Fingerprint { rows: 1, sum: 7 },
            column_sums: BTreeMap::new(),
            positions: [Position {
                epoch: Epoch(9),
                seq: 4,
            }]
            .into_iter()
            .collect(),
            chunks: vec![Chunk {
                file: "part-00000-a3.parquet".into(),
                rows: 1,
                bytes: 10,
                sha256: "ab".into(),
                min_time: "2026-01-01T05:00:00Z".parse().unwrap(),
                max_time: "2026-01-01T05:00:00Z".parse().unwrap(),
                key_id: None,
            }],
        }
    }

    #[test]
    fn a_manifest_survives_the_archive() {
        let manifest = manifest();
        assert_eq!(
            Manifest::from_json(&manifest.to_json().unwrap(), &manifest.id()).unwrap(),
            manifest
        );
        assert_eq!(manifest.sha256sums(), "ab  part-00000-a3.parquet\n");
    }

    #[test]
    fn a_manifest_that_does_not_add_up_or_lies_elsewhere_is_an_integrity_error() {
        let good = manifest();
        let told =
            |m: &Manifest| Manifest::from_json(&m.to_json().unwrap(), &good.id()).unwrap_err();
        let other_window = Manifest {
            window: "2026-01-01T06".parse().unwrap(),
            ..good.clone()
        };
        assert!(
            told(&other_window)
                .to_string()
                .contains("is the manifest of trades 2026-01-01T06")
        );
        let wrong_count = Manifest {
            fingerprint: Fingerprint { rows: 2, sum: 7 },
            ..good.clone()
        };
        assert!(
            told(&wrong_count)
                .to_string()
                .contains("its chunks have 1 rows")
        );
        let newer = Manifest {
            format: FORMAT + 1,
            ..good.clone()
        };
        assert!(told(&newer).to_string().contains("newer mpsync"));
        let half = &good.to_json().unwrap()[..100];
        assert_eq!(
            Manifest::from_json(half, &good.id())
                .unwrap_err()
                .exit_code(),
            mpsync_core::error::ExitCode::Integrity
        );
    }
}
