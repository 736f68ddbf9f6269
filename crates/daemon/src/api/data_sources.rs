//! What the routes on transfers and dead letters ask: the archive and NATS, each through its own [`Answers`].

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::OnceCell;

use super::coalescing_cache::CoalescingCache;
use super::problem::Problem;
use mpsync_archive::Archive;
use mpsync_archive::ArchivePlace;
use mpsync_config::Config;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::Result;
use mpsync_transfer::{HotObservations, WindowStatusReader, dataset_of};

/// Where a daemon's data lies. Nothing is opened before it is asked for.
#[derive(Debug)]
pub struct DataSources {
    pub(super) config: Arc<Config>,
    pub(super) datasets: Arc<Vec<Dataset>>,
    pub(super) archive: CoalescingCache,
    pub(super) dead_letters: CoalescingCache,
    pub(super) window_status: WindowStatusReader,
    to_read: OnceCell<Archive>,
    to_write: OnceCell<Archive>,
    seen: RwLock<Arc<HotObservations>>,
}

impl DataSources {
    /// Of a daemon with this configuration that takes care of these datasets.
    #[must_use]
    pub fn new(config: Arc<Config>, datasets: Arc<Vec<Dataset>>) -> Self {
        Self {
            config,
            datasets,
            archive: CoalescingCache::of("the archive"),
            dead_letters: CoalescingCache::of("NATS"),
            window_status: WindowStatusReader::default(),
            to_read: OnceCell::new(),
            to_write: OnceCell::new(),
            seen: RwLock::default(),
        }
    }

    /// The archive, to read it. A folder is looked at each time: one that is gone holds nothing to say, not no windows.
    pub(super) async fn archive_to_read(&self) -> Result<Archive> {
        let opened = async || Archive::open_read_only(&self.config.archive).await;
        match &self.config.archive.place {
            ArchivePlace::Folder(_) => opened().await,
            ArchivePlace::S3(_) => self.to_read.get_or_try_init(opened).await.cloned(),
        }
    }

    /// The archive, to write into its journal.
    pub(super) async fn archive_to_write(&self) -> Result<Archive> {
        self.archive_to_read().await?;
        let opened = async || Archive::open(&self.config.archive).await;
        self.to_write.get_or_try_init(opened).await.cloned()
    }

    /// The dataset of a name, or of a kind of data; a refusal names those that exist.
    pub(super) fn dataset(&self, name: &str) -> Result<&Dataset, Problem> {
        Ok(dataset_of(&self.datasets, name)?)
    }

    /// What hot held, and what the stream dropped, when it was last looked at.
    pub(super) fn seen(&self) -> Arc<HotObservations> {
        Arc::clone(&self.seen.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what hot holds and what the stream dropped.
    pub fn saw(&self, seen: HotObservations) {
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(seen);
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Places of a daemon of which nothing is configured.
    pub(in crate::http) fn data_sources() -> DataSources {
        let config = Config::load(None, Vec::new()).expect("the defaults");
        DataSources::new(
            Arc::new(config),
            Arc::new(mpsync_core::dataset::builtin().to_vec()),
        )
    }
}
