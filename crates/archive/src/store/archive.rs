//! The archive: the objects in one place, and how chunks are written to it.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload};

use super::backend::{Backend, CreateOutcome, UnfinishedUpload};
use super::config::{ArchiveConfig, ArchivePlace};
use super::rate_limiter::RateLimiter;
use crate::chunk::parallel::EncoderSlots;
use crate::format::layout::{INTERNAL, ObjectKind};
use mpsync_core::error::{Error, Result};

/// The archive. Cheap to clone.
///
/// Its methods are grouped by what they work on: objects here, opening in `open.rs`, generations, coordination and checks in
/// the folders of these names.
#[derive(Clone)]
pub struct Archive(Arc<ArchiveInner>);

struct ArchiveInner {
    backend: Arc<dyn Backend>,
    options: ArchiveConfig,
    part_bytes: usize,
    encoder_slots: EncoderSlots,
    /// The rate of uploads, if the store's own client does not keep to it.
    rate_limiter: Option<RateLimiter>,
}

/// The bytes of a part of an upload.
const PART_BYTES: usize = 8 << 20;
/// The same if uploads are limited part by part.
const PACED_PART_BYTES: usize = 1 << 20;

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("backend", &self.0.backend)
            .finish_non_exhaustive()
    }
}

impl Archive {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        config: &ArchiveConfig,
        rate_limiter: Option<RateLimiter>,
    ) -> Self {
        let part_bytes = rate_limiter
            .as_ref()
            .map_or(PART_BYTES, |_| PACED_PART_BYTES);
        Self(Arc::new(ArchiveInner {
            backend,
            options: config.clone(),
            part_bytes,
            encoder_slots: EncoderSlots::default(),
            rate_limiter,
        }))
    }

    /// Returns an archive with small parts, so that a test's chunk has several.
    #[cfg(test)]
    pub(crate) fn with_part_bytes(
        store: Arc<dyn ObjectStore>,
        config: &ArchiveConfig,
        part_bytes: usize,
    ) -> Self {
        let backend = super::any_store::AnyStoreBackend::new(store, config.place.clone());
        Self(Arc::new(ArchiveInner {
            backend: Arc::new(backend),
            options: config.clone(),
            part_bytes,
            encoder_slots: EncoderSlots::default(),
            rate_limiter: None,
        }))
    }

    /// Returns the counter of the encoders that are at work.
    pub(crate) fn encoder_slots(&self) -> &EncoderSlots {
        &self.0.encoder_slots
    }

    /// Returns the bytes of a part of an upload. All parts but the last are of this size, which some stores ask for.
    pub(crate) fn part_bytes(&self) -> usize {
        self.0.part_bytes
    }

    /// Returns the store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        self.0.backend.objects()
    }

    /// Returns how chunks are written.
    #[must_use]
    pub fn options(&self) -> &ArchiveConfig {
        &self.0.options
    }

    /// Waits until this many bytes may be uploaded.
    pub(crate) async fn wait_for_rate(&self, bytes: usize) {
        if let Some(rate_limiter) = &self.0.rate_limiter {
            rate_limiter.wait(bytes).await;
        }
    }

    /// Returns where the archive lies, for display.
    #[must_use]
    pub fn place(&self) -> &ArchivePlace {
        &self.0.options.place
    }

    /// Returns the archive's folder, if it lies in one.
    #[must_use]
    pub fn root(&self) -> Option<&FilePath> {
        self.0.backend.root()
    }

    /// Creates an object only if none of that name exists; whole or not at all, and durable on return.
    ///
    /// # Cancel safety
    ///
    /// A cancelled call may still take effect. After an error, too, the object may or may not exist; repeating the call
    /// settles that.
    pub async fn create(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        self.0.backend.create(path, content).await
    }

    /// Writes an object whether or not one of that name exists; whole or not at all, and durable on return.
    pub async fn overwrite(&self, path: &Path, content: Bytes) -> Result<()> {
        self.store()
            .put(path, PutPayload::from(content))
            .await
            .map(drop)
            .map_err(|e| self.to_error(e).context(format!("writing {path}")))
    }

    /// Reads an object; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// An integrity error, before anything is read, if the object is larger than its kind can be.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        let got = match self.store().get(path).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.to_error(e).context(format!("reading {path}"))),
        };
        let kind = ObjectKind::of(path);
        let limit = match kind {
            ObjectKind::Chunk => self.chunk_limit(),
            kind => kind.limit(),
        };
        if got.meta.size > limit {
            return Err(Error::integrity(format!(
                "{path} has {} bytes, and a {} has at most {limit}",
                got.meta.size,
                kind.name()
            ))
            .with_hint(
                "mpsync did not write it so: put the object back from a copy of the archive",
            ));
        }
        match got.bytes().await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.to_error(e).context(format!("reading {path}"))),
        }
    }

    /// Returns the most bytes of a chunk that is read: a chunk is held in memory as a whole while its rows are decoded.
    pub(crate) fn chunk_limit(&self) -> u64 {
        let configured = self.options().chunk_bytes.saturating_mul(4);
        ObjectKind::Chunk.limit().max(configured.min(1 << 40))
    }

    /// Looks an object up without reading it; `None` if it does not exist.
    pub async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        match self.store().head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.to_error(e).context(format!("looking up {path}"))),
        }
    }

    /// Removes an object; a missing one is not an error.
    pub async fn remove(&self, path: &Path) -> Result<()> {
        match self.store().delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.to_error(e).context(format!("removing {path}"))),
        }
    }

    /// Returns all objects below a folder, in the order of their names.
    pub async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        let mut found: Vec<ObjectMeta> = self
            .store()
            .list(Some(folder))
            .try_collect()
            .await
            .map_err(|e| self.to_error(e).context(format!("listing {folder}")))?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Returns the objects and folders right below a folder.
    pub async fn list_folder(&self, folder: &Path) -> Result<ListResult> {
        self.store()
            .list_with_delimiter(Some(folder))
            .await
            .map_err(|e| self.to_error(e).context(format!("listing {folder}")))
    }

    /// Returns the time by the store's own clock, which is the one that its objects carry: clocks of hosts differ.
    pub async fn now(&self) -> Result<SystemTime> {
        let path = Path::from(INTERNAL).join("clock");
        self.overwrite(&path, Bytes::new()).await?;
        let meta = self.head(&path).await?;
        meta.as_ref().and_then(modified).ok_or_else(|| {
            Error::integrity(format!(
                "{path} was written, and is missing or has no time of its last change"
            ))
        })
    }

    /// Returns the temporary files in the archive's folder that are older than `age`: what a crash left of an object that
    /// never existed. Listings do not show them. Empty for a store that is not a folder.
    pub async fn old_temporaries(&self, now: SystemTime, age: Duration) -> Result<Vec<PathBuf>> {
        self.0.backend.old_temporaries(now, age).await
    }

    /// Removes files that [`Archive::old_temporaries`] returned.
    pub async fn remove_temporaries(&self, files: Vec<PathBuf>) -> Result<()> {
        self.0.backend.remove_temporaries(files).await
    }

    /// Returns the multipart uploads below the archive's root that were begun longer ago than `age`, by the store's clock.
    /// Empty for a store that is not a bucket.
    pub async fn old_uploads(
        &self,
        now: SystemTime,
        age: Duration,
    ) -> Result<Vec<UnfinishedUpload>> {
        self.0.backend.old_uploads(now, age).await
    }

    /// Aborts an upload; its owner, if it is still running, gets an error at its next part.
    pub async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<()> {
        self.0.backend.abort_upload(upload).await
    }

    /// Converts an error of the store, with a hint that says what to do.
    pub(crate) fn to_error(&self, e: object_store::Error) -> Error {
        self.0.backend.to_error(e)
    }
}

/// Returns the time of an object's last change.
pub(crate) fn modified(object: &ObjectMeta) -> Option<SystemTime> {
    let millis = u64::try_from(object.last_modified.timestamp_millis()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
