//! Opening an archive in any of its places.

use std::sync::Arc;
use std::time::Instant;

use object_store::ObjectStore;

use super::any_store::AnyStoreBackend;
use super::archive::Archive;
use super::blocking::blocking;
use super::config::{ArchiveConfig, ArchivePlace};
use super::folder::FolderBackend;
use super::rate_limiter::RateLimiter;
use super::s3::S3Backend;
use super::{folder_probe, s3_probe};
use mpsync_core::error::Result;

impl Archive {
    /// Opens the archive for reading and writing, and probes what its place can do.
    ///
    /// A missing folder is created (0700); files get the mode that the process's umask leaves, and an existing folder keeps
    /// its mode, so that an archive can be shared on purpose. A bucket must exist, and its store must support conditional
    /// writes: a store that takes a second object of one name is refused.
    pub async fn open(config: &ArchiveConfig) -> Result<Self> {
        let started = Instant::now();
        let archive = match &config.place {
            ArchivePlace::Folder(root) => {
                let root = root.clone();
                let abilities = blocking(move || folder_probe::prepare(&root)).await?;
                tracing::debug!(?abilities, "folder probed");
                Self::in_folder(config, abilities)?
            }
            ArchivePlace::S3(_) => {
                let archive = Self::in_bucket(config)?;
                s3_probe::probe(&archive).await?;
                archive
            }
        };
        tracing::debug!(place = %config.place, duration = ?started.elapsed(), "archive opened");
        Ok(archive)
    }

    /// Opens an existing archive for reading only: nothing is created or tried, so a read-only mount will do.
    pub async fn open_read_only(config: &ArchiveConfig) -> Result<Self> {
        match &config.place {
            ArchivePlace::Folder(root) => {
                let root = root.clone();
                Self::in_folder(
                    config,
                    blocking(move || folder_probe::existing(&root)).await?,
                )
            }
            ArchivePlace::S3(_) => Self::in_bucket(config),
        }
    }

    /// Opens the archive for a plan, which creates nothing: a missing one is empty.
    pub async fn open_to_plan(config: &ArchiveConfig) -> Result<Self> {
        match &config.place {
            ArchivePlace::Folder(root) if !root.exists() => {
                let nothing = Arc::new(object_store::memory::InMemory::new());
                Ok(Self::with_store(nothing, config))
            }
            _ => Self::open_read_only(config).await,
        }
    }

    /// Returns an archive in any store that has conditional writes.
    #[must_use]
    pub fn with_store(store: Arc<dyn ObjectStore>, config: &ArchiveConfig) -> Self {
        let backend = AnyStoreBackend::new(store, config.place.clone());
        Self::new(Arc::new(backend), config, rate_limiter(config))
    }

    pub(crate) fn in_folder(
        config: &ArchiveConfig,
        abilities: folder_probe::FolderAbilities,
    ) -> Result<Self> {
        let backend = FolderBackend::new(abilities)?;
        Ok(Self::new(Arc::new(backend), config, rate_limiter(config)))
    }

    fn in_bucket(config: &ArchiveConfig) -> Result<Self> {
        let backend = S3Backend::connect(config, rate_limiter(config).map(Arc::new))?;
        // The client itself keeps to the rate, and more smoothly than part by part.
        Ok(Self::new(Arc::new(backend), config, None))
    }
}

fn rate_limiter(config: &ArchiveConfig) -> Option<RateLimiter> {
    config.upload_bytes_per_second.map(RateLimiter::new)
}
