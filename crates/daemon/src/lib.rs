//! The daemon: ingest, the schedule, or both, with what is said of them over HTTP.
//!
//! Of two sides one that failed is started again after a pause, and the other does not notice; what failed is in `/health` until it
//! goes on. A process of one side ends with it.

mod cold;
mod hot;
pub mod http;
mod last_run;
mod notify;
mod probes;
mod schedule;
mod sweep;
mod windows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::{Access, DaemonState, DataSources, HttpLimits, Listening, Mode, serve};
use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Cause, Disposition, Error, Result};
use mpsync_core::retry::Backoff;
use mpsync_ingest::IngestStats;

pub use notify::ServiceManager;

/// A side that ran for so long before it failed is started again without a pause that grew.
const SETTLED: Duration = Duration::from_mins(5);

/// How a daemon runs.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// Which sides run.
    pub mode: Mode,
    /// Whom it tells how it is.
    pub manager: ServiceManager,
    /// The configuration as it stands: what can change while the daemon runs is read from it.
    pub live: watch::Receiver<Arc<Config>>,
}

/// What the sides work with.
#[derive(Debug, Clone)]
struct DaemonContext {
    mode: Mode,
    /// As it was at the start.
    config: Arc<Config>,
    /// As it stands after the last reload.
    live: watch::Receiver<Arc<Config>>,
    /// All datasets: the stream is made for all of them.
    all: Arc<Vec<Dataset>>,
    /// Those that this daemon takes care of.
    datasets: Arc<Vec<Dataset>>,
    hot: Tier,
    cold: Tier,
    state: DaemonState,
    shutdown: CancellationToken,
}

/// Runs until `shutdown` is cancelled. Fails where an address is taken, or where what is configured cannot be.
///
/// Dropping the future is safe: it is as if the process was killed.
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
        state: DaemonState::new(
            mode,
            stats.clone(),
            schedule,
            DataSources::new(config.clone(), datasets),
        ),
        shutdown: shutdown.clone(),
    };
    let access = Access::of(&config.http)?;
    if let Some(file) = &access.token_file {
        tracing::info!(file = %file.display(), "the token for what changes something is in a file");
    }
    let doors = [
        mode.is_hot().then_some(config.http.hot_listen),
        mode.is_cold().then_some(config.http.cold_listen),
    ];
    let mut servers = JoinSet::new();
    for address in doors.into_iter().flatten() {
        let listening = Listening::on(address).await?;
        let encrypted = config.http.certificate.is_some();
        tracing::info!(address = %listening.address()?, encrypted, "http listens");
        let ended = shutdown.clone().cancelled_owned();
        servers.spawn(serve(
            listening,
            context.state.clone(),
            access.clone(),
            HttpLimits::from(&config.http),
            config.http.certificate.clone(),
            ended,
        ));
    }
    let manager = options.manager;
    manager.ready();
    // What the sides do they do in tasks of their own; what waits here for those tasks is one future.
    let hot = async {
        match stats {
            Some(stats) => {
                keep_up("ingest", &context, async || {
                    hot::run(&context, stats.clone()).await
                })
                .await
            }
            None => Ok(()),
        }
    };
    let cold = async {
        match mode.is_cold() {
            true => keep_up("transfers", &context, async || cold::run(&context).await).await,
            false => Ok(()),
        }
    };
    let served = all_served(servers, &shutdown);
    let ending = async {
        shutdown.cancelled().await;
        manager.stopping();
    };
    let watched = manager.watchdog(&shutdown);
    let gathered = probes::repeat(&context);
    let (hot, cold, served, ..) = tokio::join!(hot, cold, served, gathered, watched, ending);
    hot.and(cold).and(served)
}

/// Waits for the servers. One that panicked does not come back: the daemon ends, and the service manager starts it again.
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

/// Runs a side until the daemon is to end.
///
/// Of two sides one that failed is started again, each time after a longer pause, and the other goes on meanwhile; one that
/// nothing but a person can help (a table that does not fit, a newer daemon that took over) stays down. A process of one side ends
/// with it: its service manager knows better when to start it again.
async fn keep_up(
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
        let why = ended
            .err()
            .unwrap_or_else(|| Error::busy("it ended by itself"));
        context.state.failed(name, &why.to_string());
        if context.mode != Mode::Both {
            context.shutdown.cancel();
            return Err(why);
        }
        if why.disposition() == Disposition::Halt {
            tracing::error!(side = name, error = %why, "a side failed and stays down: it needs somebody");
            return Err(why);
        }
        failed = match started.elapsed() > SETTLED {
            true => 1,
            false => failed + 1,
        };
        let pause = Backoff::DAEMON.pause(failed, rand::rng().random());
        tracing::error!(side = name, failed, pause = ?pause, error = %why, "a side failed and is started again");
        let slept = context
            .shutdown
            .run_until_cancelled(tokio::time::sleep(pause));
        if slept.await.is_none() {
            return Ok(());
        }
    }
}
