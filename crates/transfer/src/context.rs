//! The servers, the store and the datasets that every run works with.

use tokio_util::sync::CancellationToken;

use mpsync_archive::{Archive, LeaseWatcher};
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::Dataset;
use mpsync_core::progress::Progress;

/// What every run works with.
#[derive(Debug, Clone)]
pub struct TransferContext {
    /// Hot.
    pub hot: Tier,
    /// Cold.
    pub cold: Tier,
    /// The archive.
    pub archive: Archive,
    /// The datasets to transfer.
    pub datasets: Vec<Dataset>,
    /// Where rows, bytes and windows are counted.
    pub progress: Progress,
    /// Cancelled when the run is to end where it stands.
    pub shutdown: CancellationToken,
    /// What has been seen of other workers' leases: one for as long as the process runs.
    pub watcher: LeaseWatcher,
}
