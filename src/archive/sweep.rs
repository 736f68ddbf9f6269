//! Finding and removing what no manifest names.

use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;

use super::explain::explain_io;
use super::generations::generation_id;
use super::layout::INTERNAL;
use super::store::{Archive, blocking};
use crate::dataset::DatasetName;
use crate::error::{Error, Result};

impl Archive {
    /// The files of a dataset that no manifest names and that are older than `age`: what attempts left that did not come
    /// to their end. A generation whose manifest cannot be read is passed over: nobody knows what it names.
    ///
    /// `age` must be longer than any attempt can take. Age is measured by the store's own clock where `now` is asked of
    /// it ([`Archive::now`]).
    pub async fn old_orphans(
        &self,
        dataset: &DatasetName,
        now: SystemTime,
        age: Duration,
    ) -> Result<Vec<ObjectMeta>> {
        let mut old = Vec::new();
        for window in self.touched_windows(dataset, None).await? {
            for generation in self.generation_folders(dataset, window).await? {
                let id = generation_id(dataset, window, generation);
                let manifest = match self.manifest(&id).await {
                    Ok(manifest) => manifest,
                    Err(e) => {
                        tracing::warn!(generation = %id, error = %e, "passed over: its manifest cannot be read");
                        continue;
                    }
                };
                let orphans = self.orphans(&id, manifest.as_ref()).await?;
                old.extend(orphans.into_iter().filter(|o| is_older(o, now, age)));
            }
        }
        Ok(old)
    }

    /// The temporary files in the archive's folder that are older than `age`: what a crash left of an object that was
    /// never there. Listings do not show them. None in a store that is no folder.
    pub async fn old_temporaries(&self, now: SystemTime, age: Duration) -> Result<Vec<PathBuf>> {
        let Some(root) = self.root().map(FilePath::to_path_buf) else {
            return Ok(Vec::new());
        };
        blocking(move || {
            let mut old = Vec::new();
            temporaries(&root, &mut old).map_err(|e| explain_io(e, Some(&root)))?;
            old.retain(|(_, modified)| {
                now.duration_since(*modified).is_ok_and(|since| since > age)
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
                        let e = explain_io(e, root.as_deref());
                        return Err(e.doing(format!("removing {}", file.display())));
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
        let path = object_store::path::Path::from(INTERNAL).join("clock");
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

fn is_older(object: &ObjectMeta, now: SystemTime, age: Duration) -> bool {
    modified(object)
        .and_then(|modified| now.duration_since(modified).ok())
        .is_some_and(|since| since > age)
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
        assert_eq!(archive.old_orphans(&dataset, now, hour).await.unwrap(), []);
        assert!(archive.old_temporaries(now, hour).await.unwrap().is_empty());

        let later = now + 2 * hour;
        let orphans = archive.old_orphans(&dataset, later, hour).await.unwrap();
        let names: Vec<_> = orphans.iter().map(|o| o.location.clone()).collect();
        assert_eq!(
            names,
            [
                id(0).file(&lost[0].file),
                id(1).file("part-00000-a9.parquet")
            ]
        );
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
