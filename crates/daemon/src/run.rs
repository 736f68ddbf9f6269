//! The daemon: ingest, transfers, or both, with an HTTP API.
//!
//! If the process runs both sides, a failed one is restarted after a pause while the other continues; the failure stays in
//! `/health` until the side runs again. A process of one side ends with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Cause, Disposition, Error, Result};
use mpsync_core::retry::Backoff;
use mpsync_ingest::IngestStats;
use rand::RngExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::access::Access;
use crate::api::data_sources::{ApiState, DataSources};
use crate::api::server::{HttpLimits, Listening, serve};
use crate::context::DaemonContext;
use crate::notify::ServiceManager;
use crate::probes::gather;
use crate::sides::{ingest, transfers};
use crate::state::daemon_state::DaemonState;
use crate::state::mode::Mode;

/// A side that ran for this long before it failed is restarted with the shortest pause.
const SETTLED: Duration = Duration::from_mins(5);

/// The options of a daemon.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// The sides to run.
    pub mode: Mode,
    /// The service manager to notify.
    pub manager: ServiceManager,
    /// The current configuration, for the keys that a reload changes.
    pub live: watch::Receiver<Arc<Config>>,
}

/// Runs the daemon until `shutdown` is cancelled.
///
/// # Errors
///
/// If an address is in use, the configuration cannot be applied, or a side fails beyond recovery.
///
/// # Cancel safety
///
/// Dropping the future is safe: it has the effect of a kill of the process.
pub async fn run(
    config: &Config,
    all: &[Dataset],
    datasets: Vec<Dataset>,
    options: DaemonOptions,
    shutdown: CancellationToken,
) -> Result<()> {
    let mode = options.mode;
    let ingested = datasets.iter().filter(|d| !d.subjects.is_empty());
    let stats = mode
        .is_hot()
        .then(|| Arc::new(IngestStats::new(ingested.map(|d| d.name.as_str()))));
    let schedule = mode.is_cold().then(|| config.sync.schedule.to_string());
    let (config, datasets) = (Arc::new(config.clone()), Arc::new(datasets));
    let context = DaemonContext {
        mode,
        config: config.clone(),
        live: options.live.clone(),
        all: Arc::new(all.to_vec()),
        datasets: datasets.clone(),
        hot: Tier::new(TierRole::Hot, &config.hot),
        cold: Tier::new(TierRole::Cold, &config.cold),
        state: DaemonState::new(mode, stats.clone(), schedule),
        shutdown: shutdown.clone(),
    };
    let access = Access::of(&config.http)?;
    if let Some(file) = &access.token_file {
        tracing::info!(file = %file.display(), "write requests require the bearer token in this file");
    }
    let addresses = [
        mode.is_hot().then_some(config.http.hot_listen),
        mode.is_cold().then_some(config.http.cold_listen),
    ];
    let mut servers = JoinSet::new();
    for address in addresses.into_iter().flatten() {
        let listening = Listening::on(address).await?;
        let encrypted = config.http.certificate.is_some();
        tracing::info!(address = %listening.address()?, encrypted, "http listens");
        let ended = shutdown.clone().cancelled_owned();
        servers.spawn(serve(
            listening,
            ApiState::new(
                context.state.clone(),
                DataSources::new(config.clone(), datasets.clone()),
            ),
            access.clone(),
            HttpLimits::from(&config.http),
            config.http.certificate.clone(),
            ended,
        ));
    }
    let manager = options.manager;
    manager.ready();
    // The sides work in tasks of their own; this future only waits for them.
    let hot = async {
        match stats {
            Some(stats) => {
                keep_running("ingest", &context, async || {
                    ingest::run(&context, stats.clone()).await
                })
                .await
            }
            None => Ok(()),
        }
    };
    let cold = async {
        match mode.is_cold() {
            true => {
                keep_running("transfers", &context, async || {
                    transfers::run(&context).await
                })
                .await
            }
            false => Ok(()),
        }
    };
    let served = all_served(servers, &shutdown);
    let ending = async {
        shutdown.cancelled().await;
        manager.stopping();
    };
    let watched = manager.watchdog(&shutdown);
    let gathered = gather::repeat(&context);
    let (hot, cold, served, ..) = tokio::join!(hot, cold, served, gathered, watched, ending);
    hot.and(cold).and(served)
}

/// Waits for the servers. A panicked one cannot be restarted: the daemon ends, and the service manager restarts it.
async fn all_served(mut servers: JoinSet<()>, shutdown: &CancellationToken) -> Result<()> {
    let mut first = Ok(());
    while let Some(ended) = servers.join_next().await {
        if let Err(e) = ended {
            shutdown.cancel();
            first = Err(Error::new(Cause::Io(std::io::Error::other(e))).context("serving HTTP"));
        }
    }
    first
}

/// Runs a side until the shutdown.
///
/// If the process runs both sides, a failed one is restarted, each time after a longer pause, while the other continues. A side
/// that needs operator action (a mismatching table, a newer daemon that has taken over) stays down. A process of one side ends
/// with it: its service manager decides when to restart it.
async fn keep_running(
    name: &'static str,
    context: &DaemonContext,
    mut side: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let mut failed = 0;
    loop {
        let started = Instant::now();
        let ended = side().await;
        if context.shutdown.is_cancelled() {
            return ended;
        }
        let error = ended
            .err()
            .unwrap_or_else(|| Error::busy("the side ended unexpectedly"));
        context.state.failed(name, &error);
        if context.mode != Mode::Both {
            context.shutdown.cancel();
            return Err(error);
        }
        if error.disposition() == Disposition::Halt {
            tracing::error!(side = name, %error, "side failed and stays down: it needs operator action");
            return Err(error);
        }
        failed = match started.elapsed() > SETTLED {
            true => 1,
            false => failed + 1,
        };
        let pause = Backoff::DAEMON.pause(failed, rand::rng().random());
        tracing::error!(side = name, failed, ?pause, %error, "side failed and will be restarted");
        let slept = context
            .shutdown
            .run_until_cancelled(tokio::time::sleep(pause));
        if slept.await.is_none() {
            return Ok(());
        }
    }
}
