//! The stores that the routes for transfers and dead letters use: the archive and NATS, each through a [`CoalescingCache`].

use std::sync::Arc;

use axum::extract::FromRef;

use tokio::sync::OnceCell;

use super::coalescing_cache::CoalescingCache;
use super::problem::Problem;
use mpsync_archive::Archive;
use mpsync_archive::ArchivePlace;
use mpsync_config::Config;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::Result;
use mpsync_transfer::{WindowStatusReader, dataset_of};

use crate::state::daemon_state::DaemonState;

/// The stores of a daemon. They are opened at their first use.
#[derive(Debug)]
pub struct DataSources {
    pub(crate) config: Arc<Config>,
    pub(crate) datasets: Arc<Vec<Dataset>>,
    pub(crate) archive: CoalescingCache,
    pub(crate) dead_letters: CoalescingCache,
    pub(crate) window_status: WindowStatusReader,
    to_read: OnceCell<Archive>,
    to_write: OnceCell<Archive>,
}

impl DataSources {
    /// Returns the stores of a daemon with this configuration and these datasets.
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
        }
    }

    /// Returns the archive for reading. A folder is opened each time: a missing folder is an error, not an empty archive.
    pub(crate) async fn archive_to_read(&self) -> Result<Archive> {
        let opened = async || Archive::open_read_only(&self.config.archive).await;
        match &self.config.archive.place {
            ArchivePlace::Folder(_) => opened().await,
            ArchivePlace::S3(_) => self.to_read.get_or_try_init(opened).await.cloned(),
        }
    }

    /// Returns the archive for writing to its journal.
    pub(crate) async fn archive_to_write(&self) -> Result<Archive> {
        self.archive_to_read().await?;
        let opened = async || Archive::open(&self.config.archive).await;
        self.to_write.get_or_try_init(opened).await.cloned()
    }

    /// Returns the dataset of a name, or of a kind of data; a refusal names those that exist.
    pub(crate) fn dataset(&self, name: &str) -> Result<&Dataset, Problem> {
        Ok(dataset_of(&self.datasets, name)?)
    }
}

/// The state of the routes.
#[derive(Debug, Clone)]
pub struct ApiState {
    pub(crate) daemon: DaemonState,
    pub(crate) sources: Arc<DataSources>,
}

impl ApiState {
    /// Returns the state of the routes of a daemon.
    #[must_use]
    pub fn new(daemon: DaemonState, sources: DataSources) -> Self {
        Self {
            daemon,
            sources: Arc::new(sources),
        }
    }
}

impl FromRef<ApiState> for DaemonState {
    fn from_ref(state: &ApiState) -> Self {
        state.daemon.clone()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Returns the stores of a daemon with the default configuration.
    pub(crate) fn data_sources() -> DataSources {
        let config = Config::load(None, Vec::new()).expect("the defaults");
        DataSources::new(
            Arc::new(config),
            Arc::new(mpsync_core::dataset::builtin().to_vec()),
        )
    }
}
