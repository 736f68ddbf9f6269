//! Which generations there are, and how one comes to be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::layout::{
    GenerationId, SHA256SUMS, generation_of, parse_generation, parse_manifest, parse_manifest_file,
    parse_revision, parse_window, window_folder,
};
use super::manifest::{Chunk, Manifest};
use super::revisions::is_superseded;
use super::store::{Archive, CreateOutcome};
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// Listings under way at a time.
const LISTINGS: usize = 16;

/// How a commit ended. Either way the generation exists, with this manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// It is the one that was handed in.
    Won(Manifest),
    /// Another attempt was first; this is what it wrote. The chunks of the loser are named by no manifest.
    Lost(Manifest),
}

impl Committed {
    /// The manifest that holds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Won(manifest) | Self::Lost(manifest) => manifest,
        }
    }
}

impl Archive {
    /// The windows of a dataset that have at least one manifest and touch `range`, in order of time.
    pub async fn windows(
        &self,
        dataset: &DatasetName,
        range: Option<Window>,
    ) -> Result<Vec<Window>> {
        let files = self.files(dataset, range).await?;
        let generations = files.iter().filter_map(|f| parse_manifest(&f.location));
        Ok(windows_of(generations, range))
    }

    /// The generations of a dataset that have a manifest and whose windows have any moment of the range. No manifest is read.
    pub async fn generation_ids(
        &self,
        dataset: &DatasetName,
        range: Window,
    ) -> Result<Vec<GenerationId>> {
        let files = self.files(dataset, Some(range)).await?;
        // One that was repaired has several manifests.
        let ids: BTreeSet<_> = files
            .iter()
            .filter_map(|file| parse_manifest(&file.location))
            .filter(|id| id.window.intersection(&range).is_some())
            .collect();
        Ok(ids.into_iter().collect())
    }

    /// The windows that have any file at all, those included whose first export never came to its end.
    pub async fn touched_windows(
        &self,
        dataset: &DatasetName,
        range: Option<Window>,
    ) -> Result<Vec<Window>> {
        let files = self.files(dataset, range).await?;
        let generations = files
            .iter()
            .filter_map(|file| generation_of(&file.location));
        Ok(windows_of(generations, range))
    }

    /// The files of a dataset where windows of this range can lie.
    async fn files(&self, dataset: &DatasetName, range: Option<Window>) -> Result<Vec<ObjectMeta>> {
        let root = Path::from(dataset.as_str());
        let Some(range) = range else {
            return self.list(&root).await;
        };
        let folders = self.folders_touching(&root, range).await?;
        let listings = folders
            .into_iter()
            .map(|folder| async move { self.list(&folder).await });
        let found: Vec<_> = futures_util::stream::iter(listings)
            .buffered(LISTINGS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The folders below a dataset's in which windows of this range can lie.
    ///
    /// A window lies under the date on which it starts, and one that is longer than a day may start long before.
    async fn folders_touching(&self, root: &Path, range: Window) -> Result<Vec<Path>> {
        let mut folders = Vec::new();
        let mut earlier = Vec::new();
        for folder in self.list_folder(root).await?.common_prefixes {
            let Some(day) = folder.filename().and_then(|name| parse_window(name, None)) else {
                continue;
            };
            if range.intersection(&day).is_some() {
                folders.push(folder);
            } else if day.start() < range.start() {
                earlier.push((folder.filename().unwrap_or_default().to_owned(), folder));
            }
        }
        let below: Vec<_> = futures_util::stream::iter(earlier)
            .map(|(date, folder)| async move {
                let below = self.list_folder(&folder).await?.common_prefixes;
                Ok::<_, Error>((date, below))
            })
            .buffered(LISTINGS)
            .try_collect()
            .await?;
        for (date, below) in below {
            folders.extend(below.into_iter().filter(|folder| {
                let window = folder.filename().and_then(|n| parse_window(&date, Some(n)));
                window.is_some_and(|window| window.intersection(&range).is_some())
            }));
        }
        Ok(folders)
    }

    /// The manifest of a generation that holds, checked; `None` when it does not exist.
    pub async fn manifest(&self, id: &GenerationId) -> Result<Option<Manifest>> {
        let files = self.list_folder(&id.folder()).await?.objects;
        let revisions = files
            .iter()
            .filter_map(|file| parse_manifest_file(file.location.filename()?));
        // A listing can be behind; the first manifest is there or not whatever it says.
        self.manifest_at(id, revisions.max().unwrap_or(0)).await
    }

    async fn manifest_at(&self, id: &GenerationId, revision: u32) -> Result<Option<Manifest>> {
        let path = id.revision(revision);
        let Some(json) = self.read(&path).await? else {
            return Ok(None);
        };
        let manifest = Manifest::from_json(&json, id)?;
        if manifest.revision == revision {
            return Ok(Some(manifest));
        }
        Err(Error::integrity(format!(
            "manifest of {id}: {path} says that it is revision {}",
            manifest.revision
        )))
    }

    /// The generations of a window, in order, each checked. A gap in their numbers is an integrity error: a generation
    /// was committed after one that is gone.
    pub async fn generations(
        &self,
        dataset: &DatasetName,
        window: Window,
    ) -> Result<Vec<Manifest>> {
        let mut newest = BTreeMap::new();
        for file in self.list(&window_folder(dataset, window)).await? {
            // The hours of a day lie below it.
            if let Some((id, revision)) = parse_revision(&file.location)
                && id.window == window
            {
                let highest = newest.entry(id.generation).or_insert(revision);
                *highest = revision.max(*highest);
            }
        }
        let mut found = Vec::new();
        let mut missing = None;
        for (generation, revision) in newest {
            let id = generation_id(dataset, window, generation);
            if let Some(manifest) = self.manifest_at(&id, revision).await? {
                let expected = u32::try_from(found.len()).unwrap_or(u32::MAX);
                if generation != expected {
                    missing.get_or_insert(expected);
                }
                found.push(manifest);
            }
        }
        match missing {
            None => Ok(found),
            Some(number) => Err(Error::integrity(format!(
                "{} has no manifest, but a later generation has",
                generation_id(dataset, window, number)
            ))
            .with_hint("put its folder back from a copy of the archive; without it the window's content is unknown")),
        }
    }

    /// The numbers of the generations that have a folder, whether or not they have a manifest.
    pub(super) async fn generation_folders(
        &self,
        dataset: &DatasetName,
        window: Window,
    ) -> Result<Vec<u32>> {
        let folder = window_folder(dataset, window);
        let below = self.list_folder(&folder).await?.common_prefixes;
        let mut numbers: Vec<u32> = below
            .iter()
            .filter_map(|path| parse_generation(path.filename()?))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The files of a generation's folder that no manifest names; all, where it has none.
    pub async fn orphans(
        &self,
        id: &GenerationId,
        manifest: Option<&Manifest>,
    ) -> Result<Vec<ObjectMeta>> {
        let mut files = self.list_folder(&id.folder()).await?.objects;
        files.retain(|object| is_orphan(object.location.filename().unwrap_or_default(), manifest));
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    /// Makes a generation exist: `SHA256SUMS`, then the manifest, only if there is none.
    ///
    /// All its chunks must be in place; the generation before it must exist. After an error it is open whether the
    /// generation exists; calling it again with the same manifest settles that, and a manifest found to be one's own
    /// counts as won.
    pub async fn commit(&self, manifest: Manifest) -> Result<Committed> {
        let id = manifest.id();
        let json = Bytes::from(manifest.to_json()?);
        // What cannot be read back must not be written.
        Manifest::from_json(&json, &id)?;
        if let Some(there) = self.manifest(&id).await? {
            return self.settle(&id, manifest, there).await;
        }
        self.check_ready(&id, &manifest).await?;
        self.write_sums(&id, &manifest).await?;
        match self.create(&id.manifest(), json).await? {
            CreateOutcome::Yes => {
                tracing::info!(
                    generation = %id, attempt = manifest.attempt, chunks = manifest.chunks.len(),
                    rows = manifest.fingerprint.rows, bytes = manifest.bytes(), "generation committed"
                );
                Ok(Committed::Won(manifest))
            }
            CreateOutcome::Exists => match self.manifest(&id).await? {
                Some(there) => self.settle(&id, manifest, there).await,
                None => Err(Error::integrity(format!(
                    "the store says that {} is there, and does not find it",
                    id.manifest()
                ))),
            },
        }
    }

    /// A manifest was there already. It counts, whoever wrote it, and `SHA256SUMS` must be its own: the loser may have
    /// written over it.
    pub(super) async fn settle(
        &self,
        id: &GenerationId,
        ours: Manifest,
        there: Manifest,
    ) -> Result<Committed> {
        self.settle_sums(id, &there).await?;
        if there == ours {
            // A repeated call, or a store that repeated a request whose first answer was lost.
            return Ok(Committed::Won(there));
        }
        tracing::warn!(
            generation = %id, ours = ours.attempt, theirs = there.attempt,
            "another attempt committed this generation first"
        );
        Ok(Committed::Lost(there))
    }

    /// Makes `SHA256SUMS` say what the manifest that holds says.
    pub async fn settle_sums(&self, id: &GenerationId, holds: &Manifest) -> Result<()> {
        let sums = self.read(&id.sums()).await?;
        if sums.as_deref() != Some(holds.sha256sums().as_bytes()) {
            self.write_sums(id, holds).await?;
        }
        Ok(())
    }

    /// Writes `SHA256SUMS` from a manifest.
    pub(super) async fn write_sums(&self, id: &GenerationId, manifest: &Manifest) -> Result<()> {
        self.overwrite(&id.sums(), Bytes::from(manifest.sha256sums()))
            .await
    }

    /// A last look before a generation exists: everything that it names is there, and so is what it builds on.
    pub(super) async fn check_ready(&self, id: &GenerationId, manifest: &Manifest) -> Result<()> {
        if let Some(before) = id.generation.checked_sub(1) {
            let before = generation_id(&id.dataset, id.window, before);
            if self.head(&before.manifest()).await?.is_none() {
                return Err(Error::integrity(format!(
                    "{id} cannot be committed: {before} does not exist"
                )));
            }
        }
        for chunk in &manifest.chunks {
            let path = id.file(&chunk.file);
            let found = self.head(&path).await?.map(|meta| meta.size);
            if found != Some(chunk.bytes) {
                let found = found.map_or_else(
                    || "is gone".to_owned(),
                    |bytes| format!("has {bytes} bytes, not {}", chunk.bytes),
                );
                return Err(Error::integrity(format!(
                    "{id} cannot be committed: {path} {found}"
                )));
            }
        }
        Ok(())
    }

    /// Removes chunks that no manifest names: those of an attempt that lost or gave up.
    ///
    /// Refused for a chunk that the generation's manifest names.
    pub async fn remove_chunks(&self, id: &GenerationId, chunks: &[Chunk]) -> Result<()> {
        let named = self.manifest(id).await?;
        for chunk in chunks {
            if named
                .iter()
                .any(|m| m.chunks.iter().any(|c| c.file == chunk.file))
            {
                return Err(Error::integrity(format!(
                    "{} is part of the archive and will not be removed",
                    id.file(&chunk.file)
                )));
            }
            self.remove(&id.file(&chunk.file)).await?;
        }
        Ok(())
    }
}

/// Whether no manifest of its generation names a file; so it is with all files, where the generation has none.
pub(super) fn is_orphan(name: &str, manifest: Option<&Manifest>) -> bool {
    manifest.is_none_or(|manifest| {
        parse_manifest_file(name).is_none()
            && name != SHA256SUMS
            && !is_superseded(name, manifest)
            && !manifest.chunks.iter().any(|chunk| chunk.file == name)
    })
}

fn windows_of(
    generations: impl Iterator<Item = GenerationId>,
    range: Option<Window>,
) -> Vec<Window> {
    let touches = |window: &Window| range.is_none_or(|r| r.intersection(window).is_some());
    let mut windows: Vec<Window> = generations.map(|id| id.window).filter(touches).collect();
    windows.sort_unstable();
    windows.dedup();
    windows
}

pub(super) fn generation_id(
    dataset: &DatasetName,
    window: Window,
    generation: u32,
) -> GenerationId {
    GenerationId {
        dataset: dataset.clone(),
        window,
        generation,
    }
}

#[cfg(test)]
#[path = "generations_tests.rs"]
mod tests;
