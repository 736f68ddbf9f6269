//! The archive's store: opened, probed, and its errors put into words.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{
    ListResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};

use super::{exclusive, probe};
use crate::config::ArchiveConfig;
use crate::error::{Error, Result};

/// What became of a create-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is there, with this content, durably.
    Yes,
    /// An object of that name was there before; it was left as it is.
    ///
    /// A store that repeats a request by itself can answer so to its own winner: where it matters who won, read back and
    /// compare something that only one writer can have written.
    AlreadyThere,
}

/// The archive. Cheap to clone.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

struct Inner {
    store: Arc<dyn ObjectStore>,
    options: ArchiveConfig,
    local: Option<probe::Local>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("store", &self.0.store)
            .field("local", &self.0.local)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Opens the archive for reading and writing: makes the folder where there is none (0700), and finds out what the
    /// file system can do (hard links, fsync).
    ///
    /// Files get the mode that the process's umask leaves; the folder of mode 0700 keeps them from others. A folder that
    /// is there keeps its mode, so that an archive can be shared on purpose.
    pub async fn open(config: &ArchiveConfig) -> Result<Self> {
        let started = Instant::now();
        let root = config.path.clone();
        let local = blocking(move || probe::prepare(&root)).await?;
        let archive = Self::local(config, local)?;
        tracing::debug!(local = ?archive.0.local, duration = ?started.elapsed(), "archive opened");
        Ok(archive)
    }

    /// Opens an archive that is there for reading only: nothing is made and nothing is tried, so a read-only mount will do.
    pub async fn open_read_only(config: &ArchiveConfig) -> Result<Self> {
        let root = config.path.clone();
        let local = blocking(move || probe::existing(&root)).await?;
        Self::local(config, local)
    }

    fn local(config: &ArchiveConfig, local: probe::Local) -> Result<Self> {
        let store = object_store::local::LocalFileSystem::new_with_prefix(&local.root)
            .map_err(|e| explain(e, Some(&local.root)))?
            .with_fsync(local.fsync);
        Ok(Self(Arc::new(Inner {
            store: Arc::new(store),
            options: config.clone(),
            local: Some(local),
        })))
    }

    /// An archive in any store that has conditional writes.
    #[must_use]
    pub fn with_store(store: Arc<dyn ObjectStore>, config: &ArchiveConfig) -> Self {
        Self(Arc::new(Inner {
            store,
            options: config.clone(),
            local: None,
        }))
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.0.store
    }

    /// How chunks are laid down.
    #[must_use]
    pub fn options(&self) -> &ArchiveConfig {
        &self.0.options
    }

    /// Its folder, where it lies in one.
    #[must_use]
    pub fn root(&self) -> Option<&FilePath> {
        self.0.local.as_ref().map(|local| local.root.as_path())
    }

    /// Creates an object only if there is none of that name; whole or not at all, and durable when it returns.
    ///
    /// Not cancel-safe in the sense that a cancelled call may still take effect; an error, too, leaves it open whether
    /// the object is there. Repeating it settles that.
    pub async fn create(&self, path: &Path, content: Bytes) -> Result<Created> {
        if let Some(local) = &self.0.local
            && !local.hard_links
        {
            let file = file_of(&local.root, path);
            let fsync = local.fsync;
            let root = local.root.clone();
            return blocking(move || {
                exclusive::create(&file, &content, fsync).map_err(|e| {
                    explain_io(e, Some(&root)).doing(format!("creating {}", file.display()))
                })
            })
            .await;
        }
        let options = PutOptions::from(PutMode::Create);
        match self
            .0
            .store
            .put_opts(path, PutPayload::from(content), options)
            .await
        {
            Ok(_) => Ok(Created::Yes),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(Created::AlreadyThere),
            Err(e) => Err(self.explain(e).doing(format!("creating {path}"))),
        }
    }

    /// Writes an object whether or not there is one of that name; whole or not at all, and durable when it returns.
    pub async fn overwrite(&self, path: &Path, content: Bytes) -> Result<()> {
        self.0
            .store
            .put(path, PutPayload::from(content))
            .await
            .map(drop)
            .map_err(|e| self.explain(e).doing(format!("writing {path}")))
    }

    /// Reads an object; `None` when there is none.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        let read = async { self.0.store.get(path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.explain(e).doing(format!("reading {path}"))),
        }
    }

    /// What is known of an object without reading it; `None` when there is none.
    pub async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        match self.0.store.head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.explain(e).doing(format!("asking for {path}"))),
        }
    }

    /// Removes an object; it is no error when there is none.
    pub async fn remove(&self, path: &Path) -> Result<()> {
        match self.0.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.explain(e).doing(format!("removing {path}"))),
        }
    }

    /// All objects below a folder, in the order of their names.
    pub async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        let mut found: Vec<ObjectMeta> = self
            .0
            .store
            .list(Some(folder))
            .try_collect()
            .await
            .map_err(|e| self.explain(e).doing(format!("listing {folder}")))?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// The objects and folders right below a folder.
    pub async fn list_folder(&self, folder: &Path) -> Result<ListResult> {
        self.0
            .store
            .list_with_delimiter(Some(folder))
            .await
            .map_err(|e| self.explain(e).doing(format!("listing {folder}")))
    }

    /// Puts an error of the store into words that say what to do.
    pub(super) fn explain(&self, e: object_store::Error) -> Error {
        explain(e, self.root())
    }
}

/// Runs something that blocks; a panic in it is an error here.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(std::io::Error::other(e).into()),
    }
}

fn file_of(root: &FilePath, path: &Path) -> PathBuf {
    let mut file = root.to_path_buf();
    file.extend(path.parts().map(|part| part.as_ref().to_owned()));
    file
}

/// Puts an error of a store into words that say what to do.
pub(super) fn explain(e: object_store::Error, root: Option<&FilePath>) -> Error {
    let hint = io_cause(&e).and_then(|io| hint_for(io, root));
    let error = Error::from(e);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Puts an error of the operating system into words that say what to do.
pub(super) fn explain_io(e: std::io::Error, root: Option<&FilePath>) -> Error {
    let hint = hint_for(&e, root);
    let error = Error::from(e);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The operating system's error below a store's.
fn io_cause(e: &object_store::Error) -> Option<&std::io::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

fn hint_for(e: &std::io::Error, root: Option<&FilePath>) -> Option<String> {
    use std::io::ErrorKind;
    let place = root.map_or_else(|| "the store".to_owned(), |root| root.display().to_string());
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(format!(
            "the archive's disk is full: free space at {place}; nothing was lost, run the same command again"
        )),
        ErrorKind::PermissionDenied => Some(format!(
            "this user may not do that at {place}: check the owner and mode of the folder, or set archive.path"
        )),
        ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{place} is mounted read-only: mount it for writing, or set archive.path"
        )),
        ErrorKind::StaleNetworkFileHandle => Some(format!(
            "{place} was mounted anew or its export changed: mount it again, then run the same command again"
        )),
        _ => None,
    }
}
