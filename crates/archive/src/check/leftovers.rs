//! Finds and removes files that no manifest names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;
use object_store::path::Path;

use crate::format::layout::{
    GenerationId, MANIFEST, SHA256SUMS, generation_of, is_generation_file, is_written,
    parse_chunk_file,
};
use crate::generations::read::is_orphan;
use crate::store::archive::{Archive, modified};
use mpsync_core::dataset::DatasetName;
use mpsync_core::error::Result;

/// A file in a generation's folder that its manifest does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The generation.
    pub generation: GenerationId,
    /// The file.
    pub file: ObjectMeta,
    /// Whether a repair has replaced it: it is moved, not removed.
    pub superseded: bool,
    /// Whether the generation was committed, as the window's journal says, and its manifest is missing: the file stays.
    pub proven: bool,
}

impl Archive {
    /// Returns the files of a dataset that mpsync wrote, that no manifest names or that a repair has superseded, and that are
    /// older than `age`. Skips a generation whose manifest cannot be read: it is unknown which files that names.
    ///
    /// `age` must be longer than any attempt can take. It is measured by the store's own clock if `now` comes from
    /// [`Archive::now`]. Reads the manifests of those generations only whose files do not look like one attempt's.
    pub async fn old_leftovers(
        &self,
        dataset: &DatasetName,
        now: SystemTime,
        age: Duration,
    ) -> Result<Vec<Leftover>> {
        let mut folders: BTreeMap<GenerationId, Vec<ObjectMeta>> = BTreeMap::new();
        for file in self.list(&Path::from(dataset.as_str())).await? {
            if let Some(id) = generation_of(&file.location) {
                folders.entry(id).or_default().push(file);
            }
        }
        let mut old = Vec::new();
        for (id, files) in folders {
            if is_complete(&files) {
                continue;
            }
            // Read after the listing: a file that a manifest names meanwhile is not a leftover.
            let manifest = match self.manifest(&id).await {
                Ok(manifest) => manifest,
                Err(e) => {
                    tracing::warn!(generation = %id, error = %e, "generation skipped: its manifest cannot be read");
                    continue;
                }
            };
            let proven = manifest.is_none() && self.is_lost(&id).await?;
            for file in files.into_iter().filter(|f| is_older(f, now, age)) {
                let name = file.location.filename().unwrap_or_default();
                let superseded = manifest.as_ref().is_some_and(|m| m.supersedes(name));
                if is_generation_file(name) && (superseded || is_orphan(name, manifest.as_ref())) {
                    old.push(Leftover {
                        generation: id.clone(),
                        file,
                        superseded,
                        proven,
                    });
                }
            }
        }
        Ok(old)
    }

    /// Removes a file that [`Archive::old_leftovers`] returned: a superseded chunk goes to quarantine. `false` if the file stays:
    /// a manifest names it now, or names it as the journal says and is missing, or mpsync does not write such files.
    pub async fn remove_leftover(&self, leftover: &Leftover) -> Result<bool> {
        let id = &leftover.generation;
        let name = leftover.file.location.filename().unwrap_or_default();
        let manifest = self.manifest(id).await?;
        if let Some(manifest) = manifest.as_ref().filter(|m| m.supersedes(name)) {
            self.quarantine(id, manifest).await?;
            return Ok(true);
        }
        if !is_generation_file(name) || !is_orphan(name, manifest.as_ref()) {
            return Ok(false);
        }
        if manifest.is_none() && self.is_lost(id).await? {
            return Ok(false);
        }
        self.remove(&leftover.file.location).await.map(|()| true)
    }

    async fn is_lost(&self, id: &GenerationId) -> Result<bool> {
        let lost = self.lost_manifests(&id.dataset, id.window).await?;
        Ok(lost.contains(id))
    }

    /// Returns the objects below `folder` that mpsync wrote and that are older than `age`, each with its age.
    pub async fn old_objects(
        &self,
        folder: &Path,
        now: SystemTime,
        age: Duration,
    ) -> Result<Vec<(ObjectMeta, Duration)>> {
        let objects = self.list(folder).await?;
        Ok(objects
            .into_iter()
            .filter(|object| is_written(&object.location))
            .filter_map(|object| {
                let since = age_of(&object, now)?;
                (since >= age).then_some((object, since))
            })
            .collect())
    }
}

fn age_of(object: &ObjectMeta, now: SystemTime) -> Option<Duration> {
    now.duration_since(modified(object)?).ok()
}

fn is_older(object: &ObjectMeta, now: SystemTime, age: Duration) -> bool {
    age_of(object, now).is_some_and(|since| since >= age)
}

/// Returns whether a generation's files are its first manifest, its sums and the chunks of one attempt: then the manifest names
/// them all, since no two attempts share a number.
fn is_complete(files: &[ObjectMeta]) -> bool {
    let names = || files.iter().filter_map(|f| f.location.filename());
    let attempts: BTreeSet<_> = names()
        .filter_map(|name| Some(parse_chunk_file(name)?.1))
        .collect();
    let known =
        |name: &str| matches!(name, MANIFEST | SHA256SUMS) || parse_chunk_file(name).is_some();
    attempts.len() <= 1 && names().all(known) && names().any(|name| name == MANIFEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{generation, id, small, trades, write};

    #[tokio::test]
    async fn only_what_is_old_and_named_by_no_manifest_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&small(folder.path())).await.unwrap();
        generation(&archive, 0, 1500).await;
        let lost = write(&archive, &id(0), 8, &trades(1, 10)).await.unwrap();
        write(&archive, &id(1), 9, &trades(1, 10)).await.unwrap();
        let root = archive.root().unwrap().to_owned();
        let temporary = root.join(format!("{}#12", id(0).manifest()));
        // Names that mpsync does not write stay, however old they are.
        for name in ["photo.jpg", "photo.jpg#12", "trades/manifest.json#12"] {
            std::fs::write(root.join(name), "theirs").unwrap();
        }
        std::fs::write(root.join(id(0).file("notes.txt").as_ref()), "theirs").unwrap();
        std::fs::write(&temporary, "half").unwrap();

        let now = archive.now().await.unwrap();
        let dataset = id(0).dataset;
        let hour = Duration::from_hours(1);
        assert_eq!(
            archive.old_leftovers(&dataset, now, hour).await.unwrap(),
            []
        );
        assert!(archive.old_temporaries(now, hour).await.unwrap().is_empty());

        let later = now + 2 * hour;
        let orphans = archive.old_leftovers(&dataset, later, hour).await.unwrap();
        let names: Vec<_> = orphans.iter().map(|o| o.file.location.clone()).collect();
        assert_eq!(
            names,
            [
                id(0).file(&lost[0].file),
                id(1).file("part-00000-a9.parquet")
            ]
        );
        for orphan in &orphans {
            assert!(archive.remove_leftover(orphan).await.unwrap());
        }
        assert_eq!(
            archive.old_leftovers(&dataset, later, hour).await.unwrap(),
            []
        );
        let held = Leftover {
            file: archive.head(&id(0).manifest()).await.unwrap().unwrap(),
            ..orphans[0].clone()
        };
        assert!(!archive.remove_leftover(&held).await.unwrap());
        let temporaries = archive.old_temporaries(later, hour).await.unwrap();
        assert_eq!(temporaries, [temporary.canonicalize().unwrap()]);
        archive.remove_temporaries(temporaries).await.unwrap();
        assert!(!temporary.exists());
        assert!(
            archive
                .remove_temporaries(vec![folder.path().join("x")])
                .await
                .is_err()
        );
    }
}
