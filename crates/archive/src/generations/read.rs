//! Which windows and generations exist.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::format::layout::{
    GenerationId, SHA256SUMS, generation_of, parse_generation, parse_manifest, parse_manifest_file,
    parse_revision, parse_window, window_folder,
};
use crate::format::manifest::Manifest;
use crate::store::archive::Archive;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// Concurrent listings.
const LISTINGS: usize = 16;

impl Archive {
    /// Returns the windows of a dataset that have at least one manifest and touch `range`, in order of time.
    pub async fn windows(
        &self,
        dataset: &DatasetName,
        range: Option<Window>,
    ) -> Result<Vec<Window>> {
        let files = self.files(dataset, range).await?;
        let generations = files.iter().filter_map(|f| parse_manifest(&f.location));
        Ok(windows_of(generations, range))
    }

    /// Returns the generations of a dataset that have a manifest and whose windows overlap the range. No manifest is read.
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

    /// Returns the windows that have any file at all, those included whose first export was never completed.
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

    /// Returns the files in those folders of a dataset that can hold windows of this range.
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

    /// Returns the folders below a dataset's that can hold windows of this range.
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

    /// Returns the manifest of a generation that counts, checked; `None` if the generation does not exist.
    pub async fn manifest(&self, id: &GenerationId) -> Result<Option<Manifest>> {
        let files = self.list_folder(&id.folder()).await?.objects;
        let revisions = files
            .iter()
            .filter_map(|file| parse_manifest_file(file.location.filename()?));
        // A listing can be behind; the first manifest is looked up in any case.
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

    /// Returns the generations of a window, in order, each checked. A gap in their numbers is an integrity error: a later generation
    /// was committed after one that is missing.
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

    /// Returns the numbers of the generations that have a folder, whether or not they have a manifest.
    pub(crate) async fn generation_folders(
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

    /// Returns the files of a generation's folder that no manifest names; all of them without a manifest.
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
}

/// Returns whether no manifest of its generation names a file, as with all files of a generation without a manifest.
pub(crate) fn is_orphan(name: &str, manifest: Option<&Manifest>) -> bool {
    manifest.is_none_or(|manifest| {
        parse_manifest_file(name).is_none()
            && name != SHA256SUMS
            && !manifest.supersedes(name)
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

pub(crate) fn generation_id(
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
mod tests;
