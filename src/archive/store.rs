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
    part_bytes: usize,
}

/// The bytes of a part of an upload.
const PART_BYTES: usize = 8 << 20;

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

    pub(super) fn local(config: &ArchiveConfig, local: probe::Local) -> Result<Self> {
        let store = object_store::local::LocalFileSystem::new_with_prefix(&local.root)
            .map_err(|e| explain(e, Some(&local.root)))?
            .with_fsync(local.fsync);
        Ok(Self(Arc::new(Inner {
            store: Arc::new(store),
            options: config.clone(),
            local: Some(local),
            part_bytes: PART_BYTES,
        })))
    }

    /// An archive in any store that has conditional writes.
    #[must_use]
    pub fn with_store(store: Arc<dyn ObjectStore>, config: &ArchiveConfig) -> Self {
        Self(Arc::new(Inner {
            store,
            options: config.clone(),
            local: None,
            part_bytes: PART_BYTES,
        }))
    }

    /// The same with small parts, so that a test's chunk has several.
    #[cfg(test)]
    pub(super) fn with_part_bytes(
        store: Arc<dyn ObjectStore>,
        config: &ArchiveConfig,
        part_bytes: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            options: config.clone(),
            local: None,
            part_bytes,
        }))
    }

    /// The bytes of a part of an upload. All but the last are of this size, which some stores ask for.
    pub(super) fn part_bytes(&self) -> usize {
        self.0.part_bytes
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
            return Some(innermost(io));
        }
        next = error.source();
    }
    None
}

/// An error of the operating system can wrap another without naming it as its source.
fn innermost(io: &std::io::Error) -> &std::io::Error {
    io.get_ref()
        .and_then(|inner| inner.downcast_ref::<std::io::Error>())
        .map_or(io, innermost)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::testing::{generation, id, small};
    use super::super::verify::{Depth, verify};
    use super::*;
    use crate::error::ExitCode;

    #[tokio::test]
    async fn opening_makes_a_folder_for_its_owner_only_and_leaves_nothing_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep").join("archive");
        let archive = Archive::open(&small(&root)).await.unwrap();
        let mode = std::fs::metadata(&root).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(archive.list(&Path::default()).await.unwrap(), []);
        let left = std::fs::read_dir(root.join("_mpsync")).unwrap().count();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn an_archive_that_is_not_there_or_is_a_file_is_told_plainly() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("archive");
        let e = Archive::open_read_only(&small(&root)).await.unwrap_err();
        assert!(e.to_string().contains("there is no archive at"), "{e}");
        assert!(!root.exists());
        std::fs::write(&root, "").unwrap();
        for e in [
            Archive::open_read_only(&small(&root)).await.unwrap_err(),
            Archive::open(&small(&root)).await.unwrap_err(),
        ] {
            assert_eq!(e.exit_code(), ExitCode::Usage);
            assert!(e.to_string().contains("is a file, not a folder"), "{e}");
        }
    }

    #[tokio::test]
    async fn an_object_is_created_once_and_overwritten_as_often_as_wanted() {
        let folder = tempfile::tempdir().unwrap();
        for hard_links in [true, false] {
            let root = folder.path().join(hard_links.to_string());
            std::fs::create_dir(&root).unwrap();
            let local = probe::Local {
                root,
                hard_links,
                fsync: true,
            };
            let archive = Archive::local(&small(folder.path()), local).unwrap();
            let path = Path::from("a/b/c.json");
            assert_eq!(archive.read(&path).await.unwrap(), None);
            let create =
                async |text: &'static str| archive.create(&path, text.into()).await.unwrap();
            assert_eq!(create("first").await, Created::Yes);
            assert_eq!(create("second").await, Created::AlreadyThere);
            assert_eq!(archive.read(&path).await.unwrap().unwrap(), "first");
            archive.overwrite(&path, "third".into()).await.unwrap();
            assert_eq!(archive.read(&path).await.unwrap().unwrap(), "third");
            archive.remove(&path).await.unwrap();
            archive.remove(&path).await.unwrap();
            // And all of an archive works on such a file system.
            generation(&archive, 0, 1500).await;
            let found = verify(&archive, &id(0).dataset, id(0).window, Depth::Deep).await;
            assert_eq!(found, []);
            assert_eq!(archive.list(&id(0).folder()).await.unwrap().len(), 4);
        }
    }

    #[test]
    fn a_full_disk_says_what_to_do_however_deep_the_error_lies() {
        let full = || std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let deep = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(std::io::Error::other(full())),
        };
        let root = FilePath::new("/nas/archive");
        for e in [explain(deep, Some(root)), explain_io(full(), Some(root))] {
            let text = e.to_string();
            assert!(
                text.contains("free space at /nas/archive; nothing was lost"),
                "{text}"
            );
            assert_eq!(e.disposition(), crate::error::Disposition::Retry);
        }
    }

    #[tokio::test]
    async fn numbered_objects_count_up_and_the_highest_holds() {
        let store = Arc::new(object_store::memory::InMemory::new());
        let archive = Archive::with_store(store, &small("".as_ref()));
        let folder = Path::from("_mpsync/tasks/trades/2026-01-01T05");
        assert_eq!(archive.latest(&folder).await.unwrap(), None);
        let writers: Vec<_> = (0..8)
            .map(|n| {
                let (archive, folder) = (archive.clone(), folder.clone());
                tokio::spawn(async move { archive.create_numbered(&folder, n.to_string()).await })
            })
            .collect();
        let mut numbers = Vec::new();
        for writer in writers {
            numbers.push(writer.await.unwrap().unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
        assert_eq!(archive.latest(&folder).await.unwrap().unwrap().0, 8);
    }
}
