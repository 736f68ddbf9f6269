//! The environment of the sides and the probes.

use std::sync::Arc;

use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::Dataset;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state::daemon_state::DaemonState;
use crate::state::mode::Mode;

/// The environment of the sides and the probes.
#[derive(Debug, Clone)]
pub(crate) struct DaemonContext {
    pub(crate) mode: Mode,
    /// The configuration at the start.
    pub(crate) config: Arc<Config>,
    /// The current configuration.
    pub(crate) live: watch::Receiver<Arc<Config>>,
    /// All datasets: the stream is created for all of them.
    pub(crate) all: Arc<Vec<Dataset>>,
    /// The datasets of this daemon.
    pub(crate) datasets: Arc<Vec<Dataset>>,
    pub(crate) hot: Tier,
    pub(crate) cold: Tier,
    pub(crate) state: DaemonState,
    pub(crate) shutdown: CancellationToken,
}
