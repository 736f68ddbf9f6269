//! The servers, the store and the datasets that every run works with.

use tokio_util::sync::CancellationToken;

use mpsync_archive::{Archive, LeaseWatcher};
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::Dataset;
use mpsync_core::progress::Progress;

/// The servers, the store, the datasets and the progress of a run.
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
    /// The observed heartbeats of other workers' leases: one watcher for as long as the process runs.
    pub watcher: LeaseWatcher,
}
