//! Runs ingest: checks tables and streams, starts one task per dataset, and waits for all of them.

use std::sync::Arc;

use async_nats::jetstream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::dead_letters::queue::{ANSWER_TIMEOUT, DeadLetterQueue};
use crate::session::budget::Budget;
use crate::session::context::DatasetIngest;
use crate::session::limits::CurrentLimits;
use crate::source::assignment::{self, Assignment};
use crate::source::stream::{self, AckMode};
use crate::stats::{IngestReport, IngestStats};
use crate::summary;
use mpsync_clickhouse::{Tier, check_columns};
use mpsync_config::Config;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Cause, Context as _, Error, Result};

/// Options of an ingest run.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    /// Whether to end when everything that is in the stream at the start is settled.
    pub drain: bool,
    /// Counters that other tasks read meanwhile; made for the same datasets. `None`: new counters.
    pub stats: Option<Arc<IngestStats>>,
    /// The subjects of the stream if it has to be created; empty: those of the ingested datasets.
    pub stream_subjects: Vec<String>,
    /// The current configuration, if it can change while ingest runs. New batch limits (rows, bytes, age) take effect at
    /// once; all other keys are ignored.
    pub reloaded: Option<watch::Receiver<Arc<Config>>>,
}

/// Ingests datasets into hot until `shutdown` is cancelled, everything is drained, or an error needs an operator.
///
/// After `shutdown` the last batches are landed and acknowledged within 15 seconds; the next start does the rest.
///
/// # Errors
///
/// Fails at once if a server is missing, a password is wrong or a table has other columns. Later failures that can pass
/// by themselves are retried.
///
/// # Cancel safety
///
/// Dropping the future is safe: it has the effect of a killed process.
pub async fn run(
    config: &Config,
    datasets: &[&Dataset],
    hot: Tier,
    shutdown: CancellationToken,
    options: IngestOptions,
) -> Result<IngestReport> {
    // A table that another program fills has no subjects.
    let ingested: Vec<_> = datasets
        .iter()
        .copied()
        .filter(|d| !d.subjects.is_empty())
        .collect();
    let datasets = ingested.as_slice();
    let scopes = assignment::assign_subjects(&config.ingest, datasets)?;
    let stats = options
        .stats
        .clone()
        .unwrap_or_else(|| Arc::new(IngestStats::new(datasets.iter().map(|d| d.name.as_str()))));
    check_tables(&hot, &scopes).await?;
    let client = mpsync_nats::connect(&config.nats).await?;
    let jetstream = jetstream::context::ContextBuilder::new()
        .timeout(ANSWER_TIMEOUT)
        .build(client.clone());
    let mut subjects = options.stream_subjects;
    if subjects.is_empty() {
        subjects = datasets.iter().flat_map(|d| d.subjects.clone()).collect();
    }
    let stream = mpsync_nats::ensure_stream(&jetstream, &config.nats, &subjects).await?;
    let dead_letters = DeadLetterQueue::open(&jetstream, config).await?;
    let drain_to = if options.drain {
        Some(stream::facts(&stream).await?.last_seq)
    } else {
        None
    };
    let mode = AckMode::of(&client, &stream);
    let budget = Budget::new(config.ingest.memory_limit);
    let config = Arc::new(config.clone());
    let ending = shutdown.child_token();
    let mut pipelines = JoinSet::new();
    for Assignment { dataset, shard } in scopes {
        let ingest = DatasetIngest {
            config: config.clone(),
            limits: CurrentLimits::new(
                &config,
                options.reloaded.clone(),
                dataset.name.as_str(),
                options.drain,
            ),
            shard,
            tier: hot.clone(),
            client: client.clone(),
            stream: stream.clone(),
            mode,
            dead_letters: dead_letters.clone(),
            budget: budget.clone(),
            stats: stats.dataset(dataset.name.as_str()).ok_or_else(|| {
                Error::config(format!(
                    "there are no counters for dataset {}",
                    dataset.name
                ))
            })?,
            dataset: Arc::new(dataset),
            shutdown: ending.clone(),
            drain_to,
        };
        pipelines.spawn(ingest.run());
    }
    let _summary = AbortOnDropHandle::new(tokio::spawn(summary::repeat(stats.clone())));
    let ended = join_all(pipelines, &ending).await;
    // The last acknowledgements must be sent before the connection is closed.
    if let Err(e) = client.flush().await {
        tracing::debug!(error = %e, "cannot flush the connection at the end");
    }
    let report = stats.snapshot();
    summary::LoggedUnknownFields::default().log(&report);
    ended?;
    Ok(report)
}

/// Refuses tables that are missing or do not fit, before anything is fetched.
async fn check_tables(hot: &Tier, scopes: &[Assignment]) -> Result<()> {
    let version = hot.ping().await?;
    tracing::debug!(tier = %hot.role(), version, "server answers");
    for Assignment { dataset, .. } in scopes {
        let live = hot.describe_existing(&dataset.table).await?;
        check_columns(dataset, &live)?;
    }
    Ok(())
}

/// Waits for all datasets. The first that fails ends the others in order, except one that was superseded: another daemon
/// ingests its dataset, and perhaps none ingests the others.
async fn join_all(mut pipelines: JoinSet<Result<()>>, ending: &CancellationToken) -> Result<()> {
    let mut first: Option<Error> = None;
    while let Some(joined) = pipelines.join_next().await {
        let ended = joined
            .map_err(|e| Error::new(Cause::Io(std::io::Error::other(e))))
            .context(|| "running an ingest task")
            .and_then(|ended| ended);
        if let Err(e) = ended {
            tracing::error!(error = %e, "ingest of a dataset failed");
            if !matches!(e.cause(), Cause::Busy(_)) {
                ending.cancel();
            }
            first.get_or_insert(e);
        }
    }
    first.map_or(Ok(()), Err)
}
