//! An archive in a folder, on a local disk or a mounted NAS.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

use super::backend::{Backend, CreateOutcome, create_once};
use super::beneath;
use super::blocking::blocking;
use super::config::ArchivePlace;
use super::create_exclusive::create_exclusive;
use super::error_hints::{io_to_error, to_error};
use super::folder_probe::FolderAbilities;
use super::folder_store::FolderStore;
use crate::format::layout;
use mpsync_core::error::{Error, Result};

/// A folder that an archive lies in.
#[derive(Debug)]
pub(crate) struct FolderBackend {
    store: Arc<dyn ObjectStore>,
    abilities: FolderAbilities,
}

impl FolderBackend {
    /// Opens the folder of which this was found out.
    pub(crate) fn new(abilities: FolderAbilities) -> Result<Self> {
        let store = FolderStore::new(&abilities.root, abilities.fsync)
            .map_err(|e| to_error(e, &ArchivePlace::Folder(abilities.root.clone())))?;
        Ok(Self {
            store: Arc::new(store),
            abilities,
        })
    }

    /// Creates an object by `O_EXCL` claims, for a file system without hard links.
    async fn create_exclusively(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        let FolderAbilities { root, fsync, .. } = self.abilities.clone();
        let file = file_of(&root, path);
        blocking(move || {
            let below = file.strip_prefix(&root).unwrap_or(&file);
            let created = beneath::check_way(&root, below)
                .and_then(|()| create_exclusive(&file, &content, fsync));
            created.map_err(|e| {
                io_to_error(e, Some(&root)).context(format!("creating {}", file.display()))
            })
        })
        .await
    }
}

#[async_trait]
impl Backend for FolderBackend {
    fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    fn root(&self) -> Option<&FilePath> {
        Some(&self.abilities.root)
    }

    async fn create(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        if self.abilities.hard_links {
            create_once(self, path, content).await
        } else {
            self.create_exclusively(path, content).await
        }
    }

    fn to_error(&self, e: object_store::Error) -> Error {
        to_error(e, &ArchivePlace::Folder(self.abilities.root.clone()))
    }

    async fn old_temporaries(&self, now: SystemTime, age: Duration) -> Result<Vec<PathBuf>> {
        let root = self.abilities.root.clone();
        blocking(move || {
            let listing = beneath::list_all(&root, FilePath::new(""))
                .map_err(|e| io_to_error(e, Some(&root)))?;
            let is_old = |modified| now.duration_since(modified).is_ok_and(|since| since >= age);
            let files = listing.files.into_iter();
            let mut old: Vec<PathBuf> = files
                .filter(|file| is_temporary(&file.path) && is_old(file.modified))
                .map(|file| root.join(file.path))
                .collect();
            old.sort();
            Ok(old)
        })
        .await
    }

    async fn remove_temporaries(&self, files: Vec<PathBuf>) -> Result<()> {
        let root = self.abilities.root.clone();
        blocking(move || {
            for file in files {
                let below = file.strip_prefix(&root).ok().filter(|p| is_temporary(p));
                let Some(below) = below else {
                    return Err(Error::usage(format!(
                        "{} is not a temporary file of the archive",
                        file.display()
                    )));
                };
                match beneath::remove_file(&root, below) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        let e = io_to_error(e, Some(&root));
                        return Err(e.context(format!("removing {}", file.display())));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

/// Returns whether a path below the archive is one of a temporary file that this crate or `object_store` wrote: the name of an
/// object of the archive, `#` and digits.
fn is_temporary(below: &FilePath) -> bool {
    let Some((object, number)) = below.to_str().and_then(|path| path.rsplit_once('#')) else {
        return false;
    };
    !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && layout::is_written(&Path::from(object))
}

fn file_of(root: &FilePath, path: &Path) -> PathBuf {
    let mut file = root.to_path_buf();
    file.extend(path.parts().map(|part| part.as_ref().to_owned()));
    file
}
