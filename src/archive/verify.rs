//! Offline proof: is the archive what its manifests say? Collects all findings, each with what to do about it.

use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::chunk_reader::RESTORE;
use super::contents::{Footer, Held, Values};
use super::encryption::check_form;
use super::generations::generation_id;
use super::layout::{GenerationId, MANIFEST, SHA256SUMS};
use super::manifest::{Chunk, Manifest};
use super::store::Archive;
use crate::dataset::{DatasetName, PositionSet, Window};
use crate::error::{Cause, Error};

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
    /// The generation, as `dataset window gen n`.
    pub generation: String,
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

impl FindingKind {
    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Orphan => Severity::Info,
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

/// Checks the generations of a window. An empty answer means that everything that was asked for was looked at and is right.
pub async fn verify(
    archive: &Archive,
    dataset: &DatasetName,
    window: Window,
    depth: Depth,
) -> Vec<Finding> {
    let started = Instant::now();
    let mut check = Check {
        archive,
        depth,
        id: generation_id(dataset, window, 0),
        findings: Vec::new(),
    };
    check.window(dataset, window).await;
    tracing::debug!(
        %dataset, %window, ?depth, findings = check.findings.len(),
        duration = ?started.elapsed(), "window verified"
    );
    check.findings
}

struct Check<'a> {
    archive: &'a Archive,
    depth: Depth,
    /// The generation that is looked at.
    id: GenerationId,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn found(&mut self, kind: FindingKind, file: Option<&str>, text: String, remedy: &str) {
        self.findings.push(Finding {
            generation: self.id.to_string(),
            file: file.map(ToOwned::to_owned),
            kind,
            text,
            remedy: remedy.to_owned(),
        });
    }

    /// An error on the way: data that is wrong is of the kind that is given, anything else was not checked.
    fn failed(&mut self, kind: FindingKind, file: Option<&str>, e: &Error, remedy: &str) {
        if matches!(
            e.cause(),
            Cause::Integrity(_) | Cause::Malformed(_) | Cause::Schema(_)
        ) {
            // The hint is told as the remedy.
            self.found(kind, file, e.cause().to_string(), remedy);
        } else {
            let again = "see that the archive can be read, then run the same command again";
            self.found(FindingKind::NotChecked, file, e.to_string(), again);
        }
    }

    async fn window(&mut self, dataset: &DatasetName, window: Window) {
        let folders = match self.archive.generation_folders(dataset, window).await {
            Ok(folders) => folders,
            Err(e) => return self.failed(FindingKind::NotChecked, None, &e, ""),
        };
        let mut positions = PositionSet::new();
        let mut next = 0;
        for generation in folders {
            self.id.generation = generation;
            let Some(manifest) = self.generation().await else {
                continue;
            };
            if generation != next {
                self.id.generation = next;
                self.found(
                    FindingKind::GenerationMissing,
                    None,
                    format!("it has no manifest, though generation {generation} has"),
                    "put its folder back from a copy of the archive",
                );
                self.id.generation = generation;
            }
            next = generation + 1;
            if let Some(manifest) = manifest {
                let twice = positions.intersection_len(&manifest.positions);
                if twice > 0 {
                    self.found(
                        FindingKind::Positions,
                        Some(MANIFEST),
                        format!("{twice} of its positions are in an earlier generation, too"),
                        "rows would be doubled: keep everything, and compare with `mpsync verify --against hot` or cold",
                    );
                }
                positions.extend(&manifest.positions);
            }
        }
    }

    /// `None` for a generation that does not exist, `Some(None)` for one whose manifest is wrong.
    async fn generation(&mut self) -> Option<Option<Manifest>> {
        let id = self.id.clone();
        let manifest = match self.archive.manifest(&id).await {
            Ok(manifest) => manifest,
            Err(e) => {
                let remedy = "put the manifest back from a copy of the archive; the chunks beside it may be whole";
                self.failed(FindingKind::ManifestWrong, Some(MANIFEST), &e, remedy);
                return Some(None);
            }
        };
        self.orphans(manifest.as_ref()).await;
        let manifest = manifest?;
        self.sums(&manifest).await;
        let mut held = Held::default();
        let mut whole = true;
        for chunk in &manifest.chunks {
            whole &= self.chunk(&manifest, chunk, &mut held).await;
        }
        if self.depth == Depth::Deep && whole {
            self.compare(&manifest, &held);
        }
        Some(Some(manifest))
    }

    /// What all chunks hold together, against what the manifest says of them.
    fn compare(&mut self, manifest: &Manifest, held: &Held) {
        let columns = held.other_columns(manifest);
        if !columns.is_empty() {
            self.found(
                FindingKind::ColumnSums,
                Some(MANIFEST),
                format!(
                    "the chunks hold other values than the manifest says in: {}",
                    columns.join(", ")
                ),
                RESTORE,
            );
        }
        let positions = &held.positions;
        if *positions != manifest.positions {
            let both = positions.intersection_len(&manifest.positions);
            self.found(
                FindingKind::Positions,
                Some(MANIFEST),
                format!(
                    "the chunks hold {} positions, the manifest names {}, and {both} are in both",
                    positions.len(),
                    manifest.positions.len()
                ),
                RESTORE,
            );
        }
    }

    async fn orphans(&mut self, manifest: Option<&Manifest>) {
        match self.archive.orphans(&self.id, manifest).await {
            Ok(orphans) => {
                for orphan in orphans {
                    self.found(
                        FindingKind::Orphan,
                        orphan.location.filename(),
                        format!("no manifest names this file of {} bytes", orphan.size),
                        "it is what an attempt left that did not come to its end; `mpsync gc` removes it when it is old",
                    );
                }
            }
            Err(e) => self.failed(FindingKind::NotChecked, None, &e, ""),
        }
    }

    async fn sums(&mut self, manifest: &Manifest) {
        let text = match self.archive.read(&self.id.sums()).await {
            Ok(Some(sums)) if sums == manifest.sha256sums().as_bytes() => return,
            Ok(Some(_)) => "it does not say what the manifest says",
            Ok(None) => "it is missing",
            Err(e) => return self.failed(FindingKind::NotChecked, Some(SHA256SUMS), &e, ""),
        };
        let remedy = "only `sha256sum -c` reads it; the right sums stand in manifest.json beside it, and mpsync itself goes by those";
        self.found(
            FindingKind::SumsDiffer,
            Some(SHA256SUMS),
            text.into(),
            remedy,
        );
    }

    /// Whether the chunk is right as far as was looked.
    async fn chunk(&mut self, manifest: &Manifest, chunk: &Chunk, held: &mut Held) -> bool {
        let before = self.findings.len();
        let file = Some(chunk.file.as_str());
        match self.archive.head(&self.id.file(&chunk.file)).await {
            Ok(Some(meta)) if meta.size == chunk.bytes => {}
            Ok(Some(meta)) => {
                let text = format!(
                    "it has {} bytes, the manifest says {}",
                    meta.size, chunk.bytes
                );
                self.found(FindingKind::ChunkSize, file, text, RESTORE);
                return false;
            }
            Ok(None) => {
                let text = "the manifest names it, and it is not there".into();
                self.found(FindingKind::ChunkMissing, file, text, RESTORE);
                return false;
            }
            Err(e) => {
                self.failed(FindingKind::NotChecked, file, &e, "");
                return false;
            }
        }
        self.told_times(manifest, chunk);
        if self.depth >= Depth::Bytes
            && let Some(bytes) = self.bytes(manifest, chunk).await
        {
            self.footer(manifest, chunk, bytes);
            if self.depth == Depth::Deep && self.findings.len() == before {
                self.values(manifest, chunk, held).await;
            }
        }
        self.findings.len() == before
    }

    fn told_times(&mut self, manifest: &Manifest, chunk: &Chunk) {
        let window = manifest.window;
        if !(window.contains(chunk.min_time) && window.contains(chunk.max_time))
            || chunk.min_time > chunk.max_time
        {
            let text = format!(
                "the manifest says that its rows are from {} to {}, outside the window",
                chunk.min_time, chunk.max_time
            );
            let remedy = "put the manifest back from a copy of the archive";
            self.found(FindingKind::Times, Some(&chunk.file), text, remedy);
        }
    }

    /// The bytes of the chunk, where they are what the manifest says.
    async fn bytes(&mut self, manifest: &Manifest, chunk: &Chunk) -> Option<Bytes> {
        let id = self.id.clone();
        // The size was right a moment ago, so what differs is the content.
        let read = async {
            self.archive
                .chunk_bytes(&id, chunk)
                .await?
                .collect_any()
                .await
        };
        let (bytes, sha256) = match read.await {
            Ok(read) => read,
            Err(e) => {
                self.failed(FindingKind::ChunkChecksum, Some(&chunk.file), &e, RESTORE);
                return None;
            }
        };
        if sha256 == chunk.sha256 {
            return Some(bytes);
        }
        let other = manifest
            .chunks
            .iter()
            .find(|c| c.sha256 == sha256 && c.file != chunk.file);
        match other {
            Some(other) => self.found(
                FindingKind::ChunkSwapped,
                Some(&chunk.file),
                format!("it holds the bytes of {}", other.file),
                "give the files their names back: SHA256SUMS says which is which",
            ),
            None => self.found(
                FindingKind::ChunkChecksum,
                Some(&chunk.file),
                format!(
                    "it has the SHA-256 {sha256}, the manifest says {}",
                    chunk.sha256
                ),
                RESTORE,
            ),
        }
        None
    }

    /// What the Parquet file says of itself.
    fn footer(&mut self, manifest: &Manifest, chunk: &Chunk, bytes: Bytes) {
        let file = Some(chunk.file.as_str());
        if let Err(e) = check_form(&bytes, chunk) {
            return self.failed(FindingKind::ChunkContent, file, &e, RESTORE);
        }
        let options = match self.archive.reader_options(&self.id, chunk) {
            Ok(options) => options,
            // The bytes are right; what is in them only the key can tell.
            Err(e) => return self.failed(FindingKind::NotChecked, file, &e, ""),
        };
        match Footer::read(bytes, options, &manifest.schema.time_column) {
            Err(e) => {
                let text = format!("it cannot be read as Parquet: {}", e.cause());
                self.found(FindingKind::ChunkUnreadable, file, text, RESTORE);
            }
            Ok(footer) => {
                self.rows(chunk, footer.rows);
                let columns = manifest.schema.columns.iter().map(|c| &c.name);
                if !columns.clone().eq(&footer.columns) {
                    let text = format!(
                        "it has the columns {}, the manifest says {}",
                        footer.columns.join(", "),
                        columns.cloned().collect::<Vec<_>>().join(", ")
                    );
                    self.found(FindingKind::ChunkContent, file, text, RESTORE);
                }
                self.times(chunk, footer.times);
            }
        }
    }

    fn rows(&mut self, chunk: &Chunk, rows: u64) {
        if rows != chunk.rows {
            let text = format!("it has {rows} rows, the manifest says {}", chunk.rows);
            self.found(FindingKind::ChunkContent, Some(&chunk.file), text, RESTORE);
        }
    }

    fn times(&mut self, chunk: &Chunk, times: Option<(Timestamp, Timestamp)>) {
        if let Some((earliest, latest)) = times
            && times != Some((chunk.min_time, chunk.max_time))
        {
            let text = format!(
                "its rows are from {earliest} to {latest}, the manifest says {} to {}",
                chunk.min_time, chunk.max_time
            );
            self.found(FindingKind::Times, Some(&chunk.file), text, RESTORE);
        }
    }

    /// Every value of the chunk.
    async fn values(&mut self, manifest: &Manifest, chunk: &Chunk, held: &mut Held) {
        let mut seen = Values::default();
        let id = self.id.clone();
        let read = async {
            let mut batches = self.archive.read_chunk(&id, chunk).await?;
            while let Some(batch) = batches.try_next().await? {
                seen.add(&batch, manifest, held)?;
            }
            Ok(())
        };
        if let Err(e) = read.await {
            return self.failed(FindingKind::ChunkUnreadable, Some(&chunk.file), &e, RESTORE);
        }
        self.rows(chunk, seen.rows);
        self.times(chunk, seen.times);
        if !seen.twice.is_empty() {
            let some: Vec<_> = seen.twice.iter().take(3).map(ToString::to_string).collect();
            let text = format!(
                "{} of its positions are in this generation twice, such as {}",
                seen.twice.len(),
                some.join(", ")
            );
            let remedy = "rows are doubled: keep everything, and compare with `mpsync verify --against hot` or cold";
            self.found(FindingKind::Positions, Some(&chunk.file), text, remedy);
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
