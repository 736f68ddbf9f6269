//! Which generations there are, and how one comes to be.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::layout::{
    GenerationId, MANIFEST, SHA256SUMS, parse_generation, parse_manifest, parse_window,
    window_folder,
};
use super::manifest::{Chunk, Manifest};
use super::store::{Archive, Created};
use crate::dataset::{DatasetName, Window};
use crate::error::{Error, Result};

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
        let ids = files.iter().filter_map(|f| parse_manifest(&f.location));
        let touches = |id: &GenerationId| id.window.intersection(&range).is_some();
        Ok(ids.filter(touches).collect())
    }

    /// The windows that have any file at all, those included whose first export never came to its end.
    pub async fn touched_windows(
        &self,
        dataset: &DatasetName,
        range: Option<Window>,
    ) -> Result<Vec<Window>> {
        let files = self.files(dataset, range).await?;
        let generation_of = |object: &ObjectMeta| {
            let path = object.location.as_ref();
            let (folder, _) = path.rsplit_once('/')?;
            parse_manifest(&Path::from(folder).join(MANIFEST))
        };
        Ok(windows_of(files.iter().filter_map(generation_of), range))
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

    /// The manifest of a generation, checked; `None` when it does not exist.
    pub async fn manifest(&self, id: &GenerationId) -> Result<Option<Manifest>> {
        match self.read(&id.manifest()).await? {
            Some(json) => Manifest::from_json(&json, id).map(Some),
            None => Ok(None),
        }
    }

    /// The generations of a window, in order, each checked. A gap in their numbers is an integrity error: a generation
    /// was committed after one that is gone.
    pub async fn generations(
        &self,
        dataset: &DatasetName,
        window: Window,
    ) -> Result<Vec<Manifest>> {
        let mut found = Vec::new();
        let mut missing = None;
        for generation in self.generation_folders(dataset, window).await? {
            let id = generation_id(dataset, window, generation);
            if let Some(manifest) = self.manifest(&id).await? {
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
            .hint("put its folder back from a copy of the archive; without it the window's content is unknown")),
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

    /// The files of a generation's folder that its manifest does not name; all, where it has none.
    pub async fn orphans(
        &self,
        id: &GenerationId,
        manifest: Option<&Manifest>,
    ) -> Result<Vec<ObjectMeta>> {
        let mut files = self.list_folder(&id.folder()).await?.objects;
        files.retain(|object| {
            let name = object.location.filename().unwrap_or_default();
            manifest.is_none_or(|manifest| {
                name != MANIFEST
                    && name != SHA256SUMS
                    && !manifest.chunks.iter().any(|chunk| chunk.file == name)
            })
        });
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
            Created::Yes => {
                tracing::info!(
                    generation = %id, attempt = manifest.attempt, chunks = manifest.chunks.len(),
                    rows = manifest.fingerprint.rows, bytes = manifest.bytes(), "generation committed"
                );
                Ok(Committed::Won(manifest))
            }
            Created::AlreadyThere => match self.manifest(&id).await? {
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
    async fn settle(
        &self,
        id: &GenerationId,
        ours: Manifest,
        there: Manifest,
    ) -> Result<Committed> {
        let sums = self.read(&id.sums()).await?;
        if sums.as_deref() != Some(there.sha256sums().as_bytes()) {
            self.write_sums(id, &there).await?;
        }
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

    /// Writes `SHA256SUMS` from a manifest.
    pub(super) async fn write_sums(&self, id: &GenerationId, manifest: &Manifest) -> Result<()> {
        self.overwrite(&id.sums(), Bytes::from(manifest.sha256sums()))
            .await
    }

    /// A last look before a generation exists: everything that it names is there, and so is what it builds on.
    async fn check_ready(&self, id: &GenerationId, manifest: &Manifest) -> Result<()> {
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
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::super::faults::{Fault, FaultyStore};
    use super::super::testing::{generation, id, manifest, small, trades, write};
    use super::super::verify::{Depth, Severity, verify};
    use super::*;

    fn archive_of(store: Arc<dyn ObjectStore>) -> Archive {
        Archive::with_part_bytes(store, &small("".as_ref()), 4096)
    }

    #[tokio::test]
    async fn a_window_is_found_by_its_range_wherever_it_begins() {
        let archive = archive_of(Arc::new(InMemory::new()));
        for window in [
            "2026-01-01T05",
            "2026-01-02",
            "2026-01-02T05",
            "2026-01-01T00:00:00Z_2026-02-01T00:00:00Z",
        ] {
            let id = generation_id(&id(0).dataset, window.parse().unwrap(), 0);
            archive
                .overwrite(&id.manifest(), Bytes::new())
                .await
                .unwrap();
        }
        let orphan = generation_id(&id(0).dataset, "2026-01-03T07".parse().unwrap(), 0);
        archive
            .overwrite(&orphan.file("part-00000-a1.parquet"), Bytes::new())
            .await
            .unwrap();
        let found = async |range: Option<&str>| {
            let range = range.map(|r| r.parse().unwrap());
            let windows = archive.windows(&id(0).dataset, range).await.unwrap();
            windows.iter().map(Window::id).collect::<Vec<_>>()
        };
        let month = "2026-01-01T00:00:00Z_2026-02-01T00:00:00Z";
        assert_eq!(
            found(None).await,
            [month, "2026-01-01T05", "2026-01-02", "2026-01-02T05"]
        );
        assert_eq!(found(Some("2026-01-01T05")).await, [month, "2026-01-01T05"]);
        assert_eq!(found(Some("2026-01-02T06")).await, [month, "2026-01-02"]);
        assert_eq!(found(Some("2026-02-01")).await, [""; 0]);
        let touched = archive.touched_windows(&id(0).dataset, None).await.unwrap();
        assert_eq!(touched.last().unwrap().id(), "2026-01-03T07");
    }

    #[tokio::test]
    async fn generations_come_in_order_and_a_gap_in_them_is_an_integrity_error() {
        let archive = archive_of(Arc::new(InMemory::new()));
        for number in 0..3 {
            generation(&archive, number, 500).await;
        }
        let id = id(0);
        let found = archive.generations(&id.dataset, id.window).await.unwrap();
        assert_eq!(
            found.iter().map(|m| m.generation).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        let lost = generation_id(&id.dataset, id.window, 1);
        archive.remove(&lost.manifest()).await.unwrap();
        let e = archive
            .generations(&id.dataset, id.window)
            .await
            .unwrap_err();
        assert_eq!(e.exit_code(), crate::error::ExitCode::Integrity);
        assert!(e.to_string().contains("gen 1 has no manifest"), "{e}");
    }

    #[tokio::test]
    async fn of_two_attempts_one_wins_and_the_sums_are_the_winner_s() {
        let archive = archive_of(Arc::new(InMemory::new()));
        let batch = trades(1, 1500);
        let mut manifests = Vec::new();
        for attempt in [1, 2] {
            let chunks = write(&archive, &id(0), attempt, &batch).await.unwrap();
            manifests.push(manifest(&id(0), attempt, &batch, chunks));
        }
        let (first, second) = (manifests.remove(0), manifests.remove(0));
        let won = archive.commit(first.clone()).await.unwrap();
        assert_eq!(won, Committed::Won(first.clone()));
        // The loser had written its sums before it came too late.
        archive.write_sums(&id(0), &second).await.unwrap();
        let lost = archive.commit(second.clone()).await.unwrap();
        assert_eq!(lost, Committed::Lost(first.clone()));
        let sums = archive.read(&id(0).sums()).await.unwrap().unwrap();
        assert_eq!(sums, first.sha256sums().as_bytes());
        // Asking again is no loss.
        assert_eq!(
            archive.commit(first.clone()).await.unwrap(),
            Committed::Won(first.clone())
        );
        archive.remove_chunks(&id(0), &second.chunks).await.unwrap();
        assert!(archive.remove_chunks(&id(0), &first.chunks).await.is_err());
        assert_eq!(archive.orphans(&id(0), Some(&first)).await.unwrap(), []);
    }

    #[tokio::test]
    async fn nothing_is_committed_whose_chunks_or_predecessor_are_not_there() {
        let archive = archive_of(Arc::new(InMemory::new()));
        let batch = trades(1, 1500);
        let chunks = write(&archive, &id(1), 1, &batch).await.unwrap();
        let later = manifest(&id(1), 1, &batch, chunks);
        let e = archive.commit(later).await.unwrap_err().to_string();
        assert!(e.contains("gen 0 does not exist"), "{e}");
        let chunks = write(&archive, &id(0), 1, &batch).await.unwrap();
        archive.remove(&id(0).file(&chunks[1].file)).await.unwrap();
        let e = archive
            .commit(manifest(&id(0), 1, &batch, chunks))
            .await
            .unwrap_err()
            .to_string();
        assert!(e.contains("part-00001-a1.parquet is gone"), "{e}");
    }

    /// One try at a generation, as a worker makes it: what exists counts.
    async fn attempt(archive: &Archive, attempt: u64) -> Result<Manifest> {
        let batch = trades(1, 1500);
        let id = id(0);
        if let Some(manifest) = archive.manifest(&id).await? {
            return Ok(manifest);
        }
        let chunks = write(archive, &id, attempt, &batch).await?;
        let committed = archive
            .commit(manifest(&id, attempt, &batch, chunks))
            .await?;
        Ok(committed.manifest().clone())
    }

    #[tokio::test]
    async fn whichever_call_fails_a_second_attempt_ends_with_one_whole_generation() {
        for fault in [Fault::Before, Fault::After] {
            let mut nth = 0;
            loop {
                nth += 1;
                let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
                let faulty = FaultyStore::new(Arc::clone(&store), nth, fault);
                let first = attempt(&archive_of(faulty.clone()), 1).await;
                if !faulty.has_failed() {
                    assert!(nth > 10, "only {nth} calls");
                    break;
                }
                let clean = archive_of(store);
                let manifest = attempt(&clean, 2).await.unwrap();
                if let Ok(first) = first {
                    assert_eq!(first, manifest, "{fault:?} {nth}");
                }
                let id = id(0);
                let found = clean.generations(&id.dataset, id.window).await.unwrap();
                assert_eq!(found, [manifest], "{fault:?} {nth}");
                let findings = verify(&clean, &id.dataset, id.window, Depth::Deep).await;
                let bad: Vec<_> = findings
                    .iter()
                    .filter(|f| f.kind.severity() != Severity::Info)
                    // A first attempt that ended between manifest and answer; `sums` are the same for both.
                    .collect();
                assert!(bad.is_empty(), "{fault:?} {nth}: {bad:?}");
            }
        }
    }
}
