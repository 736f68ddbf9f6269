//! The archive's store: opened, probed, and its errors put into words.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{
    ListResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};

use super::error_hints::{io_to_error, to_error};
use super::parallel::EncoderSlots;
use super::rate_limiter::RateLimiter;
use super::{create_exclusive, probe, s3};
use crate::{ArchiveConfig, ArchivePlace};
use mpsync_core::error::{Cause, Error, Result};

/// What became of a create-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The object is there, with this content, durably.
    Yes,
    /// An object of that name was there before; it was left as it is.
    ///
    /// A store that repeats a request by itself can answer so to its own winner: where it matters who won, read back and
    /// compare something that only one writer can have written.
    Exists,
}

/// The archive. Cheap to clone.
#[derive(Clone)]
pub struct Archive(Arc<ArchiveInner>);

struct ArchiveInner {
    store: Arc<dyn ObjectStore>,
    options: ArchiveConfig,
    /// What a folder can do, where the archive lies in one.
    local: Option<probe::Local>,
    part_bytes: usize,
    encoder_slots: EncoderSlots,
    /// The pace of uploads, where the store's own client does not keep to it.
    rate_limiter: Option<RateLimiter>,
}

/// The bytes of a part of an upload.
const PART_BYTES: usize = 8 << 20;
/// The same where uploads are paced part by part.
const PACED_PART_BYTES: usize = 1 << 20;
/// How often a store may refuse an object that it does not have.
const CONFLICTS: u32 = 8;
/// How long to wait at most before it is asked again.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("store", &self.0.store)
            .field("local", &self.0.local)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Opens the archive for reading and writing, and finds out what its place can do.
    ///
    /// A folder is made where there is none (0700); files get the mode that the process's umask leaves, and a folder that
    /// is there keeps its mode, so that an archive can be shared on purpose. A bucket must be there, and its store must
    /// know conditional writes: one that takes a second object of one name is refused.
    pub async fn open(config: &ArchiveConfig) -> Result<Self> {
        let started = Instant::now();
        let archive = match &config.place {
            ArchivePlace::Folder(root) => {
                let root = root.clone();
                Self::local(config, blocking(move || probe::prepare(&root)).await?)?
            }
            ArchivePlace::S3(_) => {
                let archive = Self::remote(config)?;
                s3::probe(&archive).await?;
                archive
            }
        };
        tracing::debug!(place = %config.place, local = ?archive.0.local, duration = ?started.elapsed(), "archive opened");
        Ok(archive)
    }

    /// Opens an archive that is there for reading only: nothing is made and nothing is tried, so a read-only mount will do.
    pub async fn open_read_only(config: &ArchiveConfig) -> Result<Self> {
        match &config.place {
            ArchivePlace::Folder(root) => {
                let root = root.clone();
                Self::local(config, blocking(move || probe::existing(&root)).await?)
            }
            ArchivePlace::S3(_) => Self::remote(config),
        }
    }

    /// The same for a plan, which makes no archive: an empty one where there is none.
    pub async fn open_to_plan(config: &ArchiveConfig) -> Result<Self> {
        match &config.place {
            ArchivePlace::Folder(root) if !root.exists() => {
                let nothing = Arc::new(object_store::memory::InMemory::new());
                Ok(Self::with_store(nothing, config))
            }
            _ => Self::open_read_only(config).await,
        }
    }

    pub(super) fn local(config: &ArchiveConfig, local: probe::Local) -> Result<Self> {
        let store = object_store::local::LocalFileSystem::new_with_prefix(&local.root)
            .map_err(|e| to_error(e, &config.place))?
            .with_fsync(local.fsync);
        Ok(Self::new(Arc::new(store), config, Some(local)))
    }

    fn remote(config: &ArchiveConfig) -> Result<Self> {
        let ArchivePlace::S3(place) = &config.place else {
            return Err(Error::usage("the archive lies in a folder"));
        };
        let rate_limiter = config.upload_bytes_per_second.map(RateLimiter::new);
        let store = s3::connect(place, rate_limiter.map(Arc::new))?;
        Ok(Self(Arc::new(ArchiveInner {
            store,
            options: config.clone(),
            local: None,
            part_bytes: PART_BYTES,
            encoder_slots: EncoderSlots::default(),
            // The client itself keeps to it, and more smoothly than part by part.
            rate_limiter: None,
        })))
    }

    /// An archive in any store that has conditional writes.
    #[must_use]
    pub fn with_store(store: Arc<dyn ObjectStore>, config: &ArchiveConfig) -> Self {
        Self::new(store, config, None)
    }

    fn new(
        store: Arc<dyn ObjectStore>,
        config: &ArchiveConfig,
        local: Option<probe::Local>,
    ) -> Self {
        let rate_limiter = config.upload_bytes_per_second.map(RateLimiter::new);
        Self(Arc::new(ArchiveInner {
            store,
            options: config.clone(),
            local,
            part_bytes: rate_limiter
                .as_ref()
                .map_or(PART_BYTES, |_| PACED_PART_BYTES),
            encoder_slots: EncoderSlots::default(),
            rate_limiter,
        }))
    }

    /// The same with small parts, so that a test's chunk has several.
    #[cfg(test)]
    pub(super) fn with_part_bytes(
        store: Arc<dyn ObjectStore>,
        config: &ArchiveConfig,
        part_bytes: usize,
    ) -> Self {
        Self(Arc::new(ArchiveInner {
            store,
            options: config.clone(),
            local: None,
            part_bytes,
            encoder_slots: EncoderSlots::default(),
            rate_limiter: None,
        }))
    }

    /// Those who encode chunks at this moment.
    pub(super) fn encoder_slots(&self) -> &EncoderSlots {
        &self.0.encoder_slots
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

    /// Waits until so many bytes may be uploaded.
    pub(super) async fn paced(&self, bytes: usize) {
        if let Some(rate_limiter) = &self.0.rate_limiter {
            rate_limiter.wait(bytes).await;
        }
    }

    /// Where it lies, for people.
    #[must_use]
    pub fn place(&self) -> &ArchivePlace {
        &self.0.options.place
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
    pub async fn create(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        match &self.0.local {
            Some(local) if !local.hard_links => self.create_exclusively(local, path, content).await,
            Some(_) => self.create_once(path, content).await,
            None => self.create_settled(path, content).await,
        }
    }

    /// By `O_EXCL` claims, where the file system has no hard links.
    async fn create_exclusively(
        &self,
        local: &probe::Local,
        path: &Path,
        content: Bytes,
    ) -> Result<CreateOutcome> {
        let file = file_of(&local.root, path);
        let fsync = local.fsync;
        let root = local.root.clone();
        blocking(move || {
            create_exclusive::create_exclusive(&file, &content, fsync).map_err(|e| {
                io_to_error(e, Some(&root)).context(format!("creating {}", file.display()))
            })
        })
        .await
    }

    /// By a conditional write. A store that is busy with two writers at once may refuse both ("conflict"), which is told
    /// apart from "there is one" by looking.
    async fn create_settled(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        for _ in 0..CONFLICTS {
            if self.create_once(path, content.clone()).await? == CreateOutcome::Yes {
                return Ok(CreateOutcome::Yes);
            }
            if self.head(path).await?.is_some() {
                return Ok(CreateOutcome::Exists);
            }
            tokio::time::sleep(CONFLICT_PAUSE.mul_f64(rand::random())).await;
        }
        Err(Error::new(Cause::Io(std::io::Error::new(
            std::io::ErrorKind::ResourceBusy,
            "the store keeps refusing the object, and does not have it",
        )))
        .context(format!("creating {path}")))
    }

    async fn create_once(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        let options = PutOptions::from(PutMode::Create);
        match self
            .0
            .store
            .put_opts(path, PutPayload::from(content), options)
            .await
        {
            Ok(_) => Ok(CreateOutcome::Yes),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(CreateOutcome::Exists),
            Err(e) => Err(self.to_error(e).context(format!("creating {path}"))),
        }
    }

    /// Writes an object whether or not there is one of that name; whole or not at all, and durable when it returns.
    pub async fn overwrite(&self, path: &Path, content: Bytes) -> Result<()> {
        self.0
            .store
            .put(path, PutPayload::from(content))
            .await
            .map(drop)
            .map_err(|e| self.to_error(e).context(format!("writing {path}")))
    }

    /// Reads an object; `None` when there is none.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        let read = async { self.0.store.get(path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.to_error(e).context(format!("reading {path}"))),
        }
    }

    /// What is known of an object without reading it; `None` when there is none.
    pub async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        match self.0.store.head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.to_error(e).context(format!("asking for {path}"))),
        }
    }

    /// Removes an object; it is no error when there is none.
    pub async fn remove(&self, path: &Path) -> Result<()> {
        match self.0.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.to_error(e).context(format!("removing {path}"))),
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
            .map_err(|e| self.to_error(e).context(format!("listing {folder}")))?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// The objects and folders right below a folder.
    pub async fn list_folder(&self, folder: &Path) -> Result<ListResult> {
        self.0
            .store
            .list_with_delimiter(Some(folder))
            .await
            .map_err(|e| self.to_error(e).context(format!("listing {folder}")))
    }

    /// Puts an error of the store into words that say what to do.
    pub(super) fn to_error(&self, e: object_store::Error) -> Error {
        to_error(e, self.place())
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::testing::{generation, id, small};
    use super::super::{Depth, verify};
    use super::*;
    use mpsync_core::error::ExitCode;

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
            assert_eq!(create("first").await, CreateOutcome::Yes);
            assert_eq!(create("second").await, CreateOutcome::Exists);
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
        for e in [
            to_error(deep, &ArchivePlace::Folder(root.to_owned())),
            io_to_error(full(), Some(root)),
        ] {
            let text = e.to_string();
            assert!(
                text.contains("free space at /nas/archive; nothing was lost"),
                "{text}"
            );
            assert_eq!(e.disposition(), mpsync_core::error::Disposition::Retry);
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
