//! Finding and removing what no manifest names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;
use object_store::path::Path;

use super::error_hints::io_to_error;
use super::generations::is_orphan;
use super::layout::{
    GenerationId, INTERNAL, MANIFEST, SHA256SUMS, generation_of, parse_chunk_file,
};
use super::revisions::is_superseded;
use super::store::{Archive, blocking};
use mpsync_core::dataset::DatasetName;
use mpsync_core::error::{Error, Result};

/// A file in a generation's folder that its manifest does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The generation.
    pub generation: GenerationId,
    /// The file.
    pub file: ObjectMeta,
    /// Whether a repair put another chunk in its place: it is moved, not removed.
    pub superseded: bool,
}

impl Archive {
    /// The files of a dataset that no manifest names, or that a repair has superseded, and that are older than `age`. A
    /// generation whose manifest cannot be read is passed over: nobody knows what it names.
    ///
    /// `age` must be longer than any attempt can take. Age is measured by the store's own clock where `now` is asked of
    /// it ([`Archive::now`]). Reads the manifests of those generations only whose files do not look like one attempt's.
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
            // Read after the listing: what was named meanwhile is nobody's leftover.
            let manifest = match self.manifest(&id).await {
                Ok(manifest) => manifest,
                Err(e) => {
                    tracing::warn!(generation = %id, error = %e, "passed over: its manifest cannot be read");
                    continue;
                }
            };
            for file in files.into_iter().filter(|f| is_older(f, now, age)) {
                let name = file.location.filename().unwrap_or_default();
                let superseded = manifest.as_ref().is_some_and(|m| is_superseded(name, m));
                if superseded || is_orphan(name, manifest.as_ref()) {
                    old.push(Leftover {
                        generation: id.clone(),
                        file,
                        superseded,
                    });
                }
            }
        }
        Ok(old)
    }

    /// Removes what [`Archive::old_leftovers`] named: a superseded chunk goes to quarantine. `false` where it is named by a
    /// manifest now, and stays.
    pub async fn remove_leftover(&self, leftover: &Leftover) -> Result<bool> {
        let id = &leftover.generation;
        let name = leftover.file.location.filename().unwrap_or_default();
        let manifest = self.manifest(id).await?;
        if let Some(manifest) = manifest.as_ref().filter(|m| is_superseded(name, m)) {
            self.quarantine(id, manifest).await?;
            return Ok(true);
        }
        if !is_orphan(name, manifest.as_ref()) {
            return Ok(false);
        }
        self.remove(&leftover.file.location).await.map(|()| true)
    }

    /// Objects below `folder` that are older than `age`, each with its age.
    pub async fn old_objects(
        &self,
        folder: &Path,
        now: SystemTime,
        age: Duration,
    ) -> Result<Vec<(ObjectMeta, Duration)>> {
        let objects = self.list(folder).await?;
        Ok(objects
            .into_iter()
            .filter_map(|object| {
                let since = age_of(&object, now)?;
                (since >= age).then_some((object, since))
            })
            .collect())
    }

    /// The temporary files in the archive's folder that are older than `age`: what a crash left of an object that was
    /// never there. Listings do not show them. None in a store that is no folder.
    pub async fn old_temporaries(&self, now: SystemTime, age: Duration) -> Result<Vec<PathBuf>> {
        let Some(root) = self.root().map(FilePath::to_path_buf) else {
            return Ok(Vec::new());
        };
        blocking(move || {
            let mut old = Vec::new();
            temporaries(&root, &mut old).map_err(|e| io_to_error(e, Some(&root)))?;
            old.retain(|(_, modified)| {
                now.duration_since(*modified)
                    .is_ok_and(|since| since >= age)
            });
            old.sort();
            Ok(old.into_iter().map(|(path, _)| path).collect())
        })
        .await
    }

    /// Removes files that [`Archive::old_temporaries`] named.
    pub async fn remove_temporaries(&self, files: Vec<PathBuf>) -> Result<()> {
        let root = self.root().map(FilePath::to_path_buf);
        blocking(move || {
            for file in files {
                if !is_temporary(&file) {
                    return Err(Error::usage(format!(
                        "{} is no temporary file",
                        file.display()
                    )));
                }
                match std::fs::remove_file(&file) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        let e = io_to_error(e, root.as_deref());
                        return Err(e.context(format!("removing {}", file.display())));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// The time by the store's own clock, which is the one that its objects bear: hosts' clocks differ.
    pub async fn now(&self) -> Result<SystemTime> {
        let path = Path::from(INTERNAL).join("clock");
        self.overwrite(&path, bytes::Bytes::new()).await?;
        let meta = self.head(&path).await?;
        meta.as_ref().and_then(modified).ok_or_else(|| {
            Error::integrity(format!("{path} was written and is gone, or bears no time"))
        })
    }
}

fn modified(object: &ObjectMeta) -> Option<SystemTime> {
    let millis = u64::try_from(object.last_modified.timestamp_millis()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

fn age_of(object: &ObjectMeta, now: SystemTime) -> Option<Duration> {
    now.duration_since(modified(object)?).ok()
}

fn is_older(object: &ObjectMeta, now: SystemTime, age: Duration) -> bool {
    age_of(object, now).is_some_and(|since| since >= age)
}

/// Whether a generation's files are its first manifest, its sums and the chunks of one attempt: then the manifest names them
/// all, since no two attempts share a number.
fn is_complete(files: &[ObjectMeta]) -> bool {
    let names = || files.iter().filter_map(|f| f.location.filename());
    let attempts: BTreeSet<_> = names()
        .filter_map(|name| Some(parse_chunk_file(name)?.1))
        .collect();
    let known =
        |name: &str| matches!(name, MANIFEST | SHA256SUMS) || parse_chunk_file(name).is_some();
    attempts.len() <= 1 && names().all(known) && names().any(|name| name == MANIFEST)
}

fn temporaries(folder: &FilePath, found: &mut Vec<(PathBuf, SystemTime)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            temporaries(&entry.path(), found)?;
        } else if kind.is_file() && is_temporary(&entry.path()) {
            match entry.metadata() {
                Ok(meta) => found.push((entry.path(), meta.modified()?)),
                // It came to its end in the meantime.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Whether a name is of the kind that `object_store` keeps for itself: it ends in `#` and digits.
fn is_temporary(path: &FilePath) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split_once('#'))
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{generation, id, small, trades, write};
    use super::*;

    #[tokio::test]
    async fn only_what_is_old_and_named_by_no_manifest_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&small(folder.path())).await.unwrap();
        generation(&archive, 0, 1500).await;
        let lost = write(&archive, &id(0), 8, &trades(1, 10)).await.unwrap();
        write(&archive, &id(1), 9, &trades(1, 10)).await.unwrap();
        let temporary = archive
            .root()
            .unwrap()
            .join("trades")
            .join("manifest.json#12");
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
