//! The manifest: the one document that makes a generation exist. Plain types, as they lie in the archive.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::{GenerationId, parse_chunk_file};
use super::printable::{is_printable, printable};
use crate::KeyId;
use mpsync_core::dataset::{DatasetName, PositionSet, Window};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};

/// The number of the format that this program writes. A reader refuses any other.
pub const FORMAT: u32 = 1;

/// Rows of a generation at most: sums over all generations of an archive stay far from the end of their type.
const MAX_ROWS: u64 = 1 << 40;
/// Bytes of a generation's chunks at most.
const MAX_BYTES: u64 = 1 << 50;
/// The highest revision and the highest attempt, both of which are counted up.
const MAX_REVISION: u32 = 1 << 30;
const MAX_ATTEMPT: u64 = 1 << 53;

/// The remedy for a wrong manifest.
pub(crate) const PUT_BACK: &str = "put the manifest back from a copy of the archive; the chunks beside it may be whole; nothing of this window is \
                                   loaded, replayed or cleaned until then";

/// The exact description of a generation.
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
    /// How often its chunks were rebuilt: 0 for the first manifest, see [`crate::format::layout::manifest_file`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u32,
    /// The attempt that wrote it: the lease's number.
    pub attempt: u64,
    /// When it was written, by the writer's clock; for display only.
    pub created_at: Timestamp,
    /// The source of the rows.
    pub source: ManifestSource,
    /// The selected rows of the window; `None` for all. A filtered generation never allows cleanup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<RowFilter>,
    /// The schema of the rows.
    pub schema: ManifestSchema,
    /// The fingerprint of exactly the rows in the chunks.
    pub fingerprint: Fingerprint,
    /// For each column the sum of its values' hashes, in hex, so that a mismatch can name its column: see
    /// [`crate::ColumnSums`]. Empty in manifests of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub column_sums: BTreeMap<String, String>,
    /// The exact set of positions; empty for a table that has none.
    #[serde(default, skip_serializing_if = "PositionSet::is_empty")]
    pub positions: PositionSet,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// The source of a generation's rows.
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

/// The selected rows of a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowFilter {
    /// Only these exchanges, if not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<String>,
    /// Only these symbols, if not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<String>,
}

/// The schema of a generation's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSchema {
    /// The columns in order, with the types under which they are hashed.
    pub columns: Vec<HashedColumn>,
    /// The column of the event time.
    pub time_column: String,
    /// The order of the rows, as ClickHouse writes it.
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
    /// The earliest event time in it.
    pub min_time: Timestamp,
    /// The latest event time in it, which is inclusive.
    pub max_time: Timestamp,
    /// The id of the key that it is encrypted with; `None` if it is not.
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
    /// Returns whether it describes the same rows as another manifest of the generation, in whatever chunks.
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

    /// Returns whether a file of the generation's folder is a chunk that this manifest, which a repair wrote, has superseded.
    ///
    /// Attempts only grow: chunks of a later attempt belong to a repair that is under way, or was interrupted.
    #[must_use]
    pub fn supersedes(&self, name: &str) -> bool {
        self.revision > 0
            && parse_chunk_file(name).is_some_and(|(_, attempt)| attempt < self.attempt)
            && !self.chunks.iter().any(|chunk| chunk.file == name)
    }

    /// Returns the generation that it describes.
    #[must_use]
    pub fn id(&self) -> GenerationId {
        GenerationId {
            dataset: self.dataset.clone(),
            window: self.window,
            generation: self.generation,
        }
    }

    /// Returns the bytes of all chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|c| c.bytes).sum()
    }

    /// Returns the document as it lies in the archive.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json =
            serde_json::to_vec_pretty(self).map_err(|e| Error::malformed(e.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Parses the document that lies under `expected`, and checks that it belongs there and is consistent.
    pub fn from_json(bytes: &[u8], expected: &GenerationId) -> Result<Self> {
        #[derive(Deserialize)]
        struct FormatProbe {
            format: u32,
        }
        let unreadable =
            |what: String| Error::integrity(what).context(format!("manifest of {expected}"));
        let wrong = |what: String| unreadable(what).with_hint(PUT_BACK);
        let probe: FormatProbe =
            serde_json::from_slice(bytes).map_err(|e| wrong(not_a_manifest(&e)))?;
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
            serde_json::from_slice(bytes).map_err(|e| wrong(not_a_manifest(&e)))?;
        if manifest.id() != *expected {
            return Err(wrong(format!("it is the manifest of {}", manifest.id())));
        }
        let rows = checked_sum(manifest.chunks.iter().map(|c| c.rows), MAX_ROWS);
        let bytes = checked_sum(manifest.chunks.iter().map(|c| c.bytes), MAX_BYTES);
        let (Some(rows), Some(_)) = (rows, bytes) else {
            return Err(wrong(format!(
                "its chunks have more than {MAX_ROWS} rows or {MAX_BYTES} bytes"
            )));
        };
        if manifest.revision > MAX_REVISION || manifest.attempt > MAX_ATTEMPT {
            return Err(wrong(
                "its revision or its attempt is beyond all counting".into(),
            ));
        }
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
            .find(|c| parse_chunk_file(&c.file).is_none())
        {
            return Err(wrong(format!(
                "invalid chunk name `{}`",
                chunk.file.escape_debug()
            )));
        }
        manifest.check_text().map_err(wrong)?;
        Ok(manifest)
    }

    /// Checks that every text in it can be shown and logged as it is.
    fn check_text(&self) -> Result<(), String> {
        let source = [
            &self.source.database,
            &self.source.table,
            &self.source.server_version,
        ];
        let schema = [&self.schema.time_column, &self.schema.sorting_key];
        let columns = self.schema.columns.iter();
        let filter = self.filter.iter();
        let texts = [&self.writer]
            .into_iter()
            .chain(source)
            .chain(schema)
            .chain(columns.flat_map(|column| [&column.name, &column.type_name]))
            .chain(self.column_sums.iter().flat_map(|(name, sum)| [name, sum]))
            .chain(filter.flat_map(|f| f.exchanges.iter().chain(&f.symbols)))
            .chain(self.chunks.iter().map(|chunk| &chunk.sha256));
        match texts.into_iter().find(|text| !is_printable(text)) {
            Some(text) => Err(format!(
                "it has control characters in `{}`",
                printable(text)
            )),
            None => Ok(()),
        }
    }

    /// Returns the text of `SHA256SUMS`, as `sha256sum -c` reads it in the generation's folder.
    #[must_use]
    pub fn sha256sums(&self) -> String {
        let lines = self.chunks.iter();
        let lines = lines.flat_map(|c| [c.sha256.as_str(), "  ", &c.file, "\n"]);
        lines.collect()
    }
}

/// Returns the sum of the numbers; `None` if it is greater than `max`.
fn checked_sum(mut numbers: impl Iterator<Item = u64>, max: u64) -> Option<u64> {
    numbers
        .try_fold(0_u64, u64::checked_add)
        .filter(|sum| *sum <= max)
}

/// Returns the parser's error, escaped: it quotes names of fields, which may hold anything.
fn not_a_manifest(e: &serde_json::Error) -> String {
    format!("it is not a manifest: {}", printable(&e.to_string()))
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
        let refusal =
            |m: &Manifest| Manifest::from_json(&m.to_json().unwrap(), &good.id()).unwrap_err();
        let other_window = Manifest {
            window: "2026-01-01T06".parse().unwrap(),
            ..good.clone()
        };
        assert!(
            refusal(&other_window)
                .to_string()
                .contains("is the manifest of trades 2026-01-01T06")
        );
        let wrong_count = Manifest {
            fingerprint: Fingerprint { rows: 2, sum: 7 },
            ..good.clone()
        };
        assert!(
            refusal(&wrong_count)
                .to_string()
                .contains("its chunks have 1 rows")
        );
        let newer = Manifest {
            format: FORMAT + 1,
            ..good.clone()
        };
        assert!(refusal(&newer).to_string().contains("newer mpsync"));
        let half = &good.to_json().unwrap()[..100];
        assert_eq!(
            Manifest::from_json(half, &good.id())
                .unwrap_err()
                .exit_code(),
            mpsync_core::error::ExitCode::Integrity
        );
    }
}
