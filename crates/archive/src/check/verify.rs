//! Offline proof that the archive is what its manifests and its journal say. Collects all findings, each with a remedy.

use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::check::finding::{Depth, Finding, FindingKind};
use crate::chunk::contents::{ChunkTotals, Footer, GenerationContents};
use crate::chunk::footer_guard::{check_footer, check_form, guarded};
use crate::chunk::hex::hex;
use crate::chunk::reader::RESTORE;
use crate::format::layout::{GenerationId, MANIFEST, SHA256SUMS, is_generation_file};
use crate::format::manifest::{Chunk, Manifest, PUT_BACK};
use crate::generations::read::generation_id;
use crate::store::archive::Archive;
use mpsync_core::dataset::{DatasetName, PositionSet, Window};
use mpsync_core::error::{Cause, Error};

/// The remedy for chunks that have each other's names.
const SWAPPED: &str = "give the files their names back, SHA256SUMS says which is which; or `mpsync verify --repair` makes the chunks \
                       again from cold or hot";

/// The remedy for a lost manifest.
const LOST: &str = "put its folder back from a copy of the archive; `mpsync gc` leaves the files that are still in it alone; if it was \
                    removed on purpose, remove the window's folder below _mpsync/tasks as well";

/// Checks the generations of a window. No findings mean that everything was checked to this depth and is right.
pub async fn verify(
    archive: &Archive,
    dataset: &DatasetName,
    window: Window,
    depth: Depth,
) -> Vec<Finding> {
    let started = Instant::now();
    let mut check = Verifier {
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

struct Verifier<'a> {
    archive: &'a Archive,
    depth: Depth,
    /// The generation that is being checked.
    id: GenerationId,
    findings: Vec<Finding>,
}

impl Verifier<'_> {
    fn found(&mut self, kind: FindingKind, file: Option<&str>, text: String, remedy: &str) {
        self.findings.push(Finding {
            generation: self.id.clone(),
            file: file.map(ToOwned::to_owned),
            kind,
            text,
            remedy: remedy.to_owned(),
        });
    }

    /// Records an error: wrong data as a finding of the given kind, any other error as not checked.
    fn failed(&mut self, kind: FindingKind, file: Option<&str>, e: &Error, remedy: &str) {
        if matches!(
            e.cause(),
            Cause::Integrity(_) | Cause::Malformed(_) | Cause::Schema(_)
        ) {
            // The hint becomes the remedy: it comes from the place that knows most.
            let remedy = e.hint().unwrap_or(remedy).to_owned();
            self.found(kind, file, e.cause().to_string(), &remedy);
        } else {
            let again = "make sure that the archive can be read, then run the same command again";
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
                    "put its folder back from a copy of the archive: no other place records which rows were in it",
                );
                self.id.generation = generation;
            }
            next = generation.saturating_add(1);
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
        self.lost_manifests(dataset, window).await;
    }

    /// Holds the journal against the manifests.
    async fn lost_manifests(&mut self, dataset: &DatasetName, window: Window) {
        let lost = match self.archive.lost_manifests(dataset, window).await {
            Ok(lost) => lost,
            Err(e) => return self.failed(FindingKind::NotChecked, None, &e, ""),
        };
        for id in lost {
            let is_known =
                |f: &Finding| f.kind == FindingKind::GenerationMissing && f.generation == id;
            if !self.findings.iter().any(is_known) {
                self.id = id;
                self.found(
                    FindingKind::GenerationMissing,
                    None,
                    "its journal says that the window was archived, and its manifest is missing"
                        .into(),
                    LOST,
                );
            }
        }
    }

    /// Checks one generation. Returns `None` if it does not exist, `Some(None)` if its manifest is wrong.
    async fn generation(&mut self) -> Option<Option<Manifest>> {
        let id = self.id.clone();
        let manifest = match self.archive.manifest(&id).await {
            Ok(manifest) => manifest,
            Err(e) => {
                self.failed(FindingKind::ManifestWrong, Some(MANIFEST), &e, PUT_BACK);
                return Some(None);
            }
        };
        self.orphans(manifest.as_ref()).await;
        let manifest = manifest?;
        if manifest.revision > 0 {
            self.superseded(&manifest).await;
        }
        self.sums(&manifest).await;
        let mut held = GenerationContents::default();
        let mut whole = true;
        for chunk in &manifest.chunks {
            whole &= self.chunk(&manifest, chunk, &mut held).await;
        }
        if self.depth == Depth::Deep && whole {
            self.compare(&manifest, &held);
        }
        Some(Some(manifest))
    }

    /// Compares the contents of all chunks with the manifest.
    fn compare(&mut self, manifest: &Manifest, held: &GenerationContents) {
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
                        if orphan.location.filename().is_some_and(is_generation_file) {
                            "nothing is wrong with the data: an interrupted attempt left it; `mpsync gc` removes it when it is old"
                        } else {
                            "nothing is wrong with the data: mpsync did not write it, and leaves it alone"
                        },
                    );
                }
            }
            Err(e) => self.failed(FindingKind::NotChecked, None, &e, ""),
        }
    }

    async fn superseded(&mut self, manifest: &Manifest) {
        match self.archive.superseded(&self.id, manifest).await {
            Ok(files) => {
                for file in files {
                    self.found(
                        FindingKind::Superseded,
                        file.location.filename(),
                        format!("revision {} of the manifest names others in its place", manifest.revision),
                        "a repair was interrupted before it had moved it; `mpsync gc` or `mpsync verify --repair` does",
                    );
                }
            }
            Err(e) => self.failed(FindingKind::NotChecked, None, &e, ""),
        }
    }

    async fn sums(&mut self, manifest: &Manifest) {
        let text = match self.archive.read(&self.id.sums()).await {
            Ok(Some(sums)) if sums == manifest.sha256sums().as_bytes() => return,
            Ok(Some(_)) => "it differs from the manifest",
            Ok(None) => "it is missing",
            Err(e) => return self.failed(FindingKind::NotChecked, Some(SHA256SUMS), &e, ""),
        };
        let remedy = "only `sha256sum -c` reads it, mpsync uses the manifest beside it; `mpsync verify --repair` writes it again from there";
        self.found(
            FindingKind::SumsDiffer,
            Some(SHA256SUMS),
            text.into(),
            remedy,
        );
    }

    /// Checks a chunk; returns whether it is right to this depth.
    async fn chunk(
        &mut self,
        manifest: &Manifest,
        chunk: &Chunk,
        held: &mut GenerationContents,
    ) -> bool {
        let before = self.findings.len();
        let file = Some(chunk.file.as_str());
        match self.archive.head(&self.id.file(&chunk.file)).await {
            Ok(Some(meta)) if meta.size == chunk.bytes => {}
            Ok(Some(meta)) => {
                if self.depth >= Depth::Bytes && self.is_other(manifest, chunk, meta.size).await {
                    return false;
                }
                let text = format!(
                    "it has {} bytes, the manifest says {}",
                    meta.size, chunk.bytes
                );
                self.found(FindingKind::ChunkSize, file, text, RESTORE);
                return false;
            }
            Ok(None) => {
                let text = "the manifest names it, and it is missing".into();
                self.found(FindingKind::ChunkMissing, file, text, RESTORE);
                return false;
            }
            Err(e) => {
                self.failed(FindingKind::ChunkUnreadable, file, &e, RESTORE);
                return false;
            }
        }
        if chunk.bytes > self.archive.chunk_limit() {
            let text = format!(
                "it has {} bytes, more than the {} that a chunk may have",
                chunk.bytes,
                self.archive.chunk_limit()
            );
            self.found(FindingKind::ChunkUnreadable, file, text, RESTORE);
            return false;
        }
        self.check_times(manifest, chunk);
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

    fn check_times(&mut self, manifest: &Manifest, chunk: &Chunk) {
        let window = manifest.window;
        if !(window.contains(chunk.min_time) && window.contains(chunk.max_time))
            || chunk.min_time > chunk.max_time
        {
            let text = format!(
                "the manifest says that its rows are from {} to {}, outside the window",
                chunk.min_time, chunk.max_time
            );
            self.found(FindingKind::Times, Some(&chunk.file), text, PUT_BACK);
        }
    }

    /// Returns whether a file of another size is another chunk of the generation, and records that finding.
    async fn is_other(&mut self, manifest: &Manifest, chunk: &Chunk, size: u64) -> bool {
        let others: Vec<_> = manifest.chunks.iter().filter(|c| c.bytes == size).collect();
        if others.is_empty() {
            return false;
        }
        let path = self.id.file(&chunk.file);
        // A file that cannot be read is reported by its size.
        let Ok(Some(bytes)) = self.archive.read(&path).await else {
            return false;
        };
        let sha256 = hex(&Sha256::digest(&bytes));
        let Some(other) = others.iter().find(|c| c.sha256 == sha256) else {
            return false;
        };
        let text = format!("it holds the bytes of {}", other.file);
        self.found(FindingKind::ChunkSwapped, Some(&chunk.file), text, SWAPPED);
        true
    }

    /// Returns the bytes of the chunk if they are what the manifest says.
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
                SWAPPED,
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

    /// Compares the footer of the Parquet file with the manifest.
    fn footer(&mut self, manifest: &Manifest, chunk: &Chunk, bytes: Bytes) {
        let file = Some(chunk.file.as_str());
        if let Err(e) = check_form(&bytes, chunk) {
            return self.failed(FindingKind::ChunkContent, file, &e, RESTORE);
        }
        if let Err(e) = check_footer(&bytes) {
            return self.failed(FindingKind::ChunkUnreadable, file, &e, RESTORE);
        }
        let options = match self.archive.reader_options(&self.id, chunk) {
            Ok(options) => options,
            // The bytes are right; their content cannot be checked without the key.
            Err(e) => return self.failed(FindingKind::NotChecked, file, &e, ""),
        };
        match guarded(|| Footer::read(bytes, options, &manifest.schema.time_column)) {
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

    /// Checks every value of the chunk.
    async fn values(&mut self, manifest: &Manifest, chunk: &Chunk, held: &mut GenerationContents) {
        let mut seen = ChunkTotals::default();
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
mod tests;
