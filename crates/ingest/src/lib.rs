//! Ingest: from messages to rows of hot, each exactly once.
//!
//! ```text
//! source ─▶ decode (pure) ─▶ hand ─▶ sink: door ─▶ hot        life: doors that a newer life shuts
//!                               │       └─▶ dead letters      recovery: asks hot what it holds
//!                               └──────────▶ acknowledge      epoch, order, delivery: pure
//! ```
//!
//! Each dataset has its own durable consumer and its own task; a budget of bytes is all that they share. A *life* begins
//! at every start and at every doubt (an insert whose outcome is unknown, a renewed connection, a delivery that went
//! elsewhere): it shuts all older doors, asks hot and its sealed tables which positions above the consumer's floor they
//! hold, sets the consumer back to that floor, and passes over what is held. A position is acknowledged when every
//! message at or below it is a row or a dead letter, and not before.
//!
//! Of two daemons on one dataset the one that started last stays: it cannot be told whether the other is alive, asleep
//! or dead, and in each case the outcome must be the same. The older one ends with a `Busy` error at its next insert.

mod ack;
mod assignment;
mod batch;
mod budget;
mod consumers;
mod dead_letter_queue;
pub mod dead_letters;
mod decode;
mod delivery;
mod delivery_tracker;
mod epoch;
mod gate_name;
mod insert_gate;
mod limits;
mod pending_batch;
mod pipeline;
mod recovery;
mod sample;
mod session;
mod sink;
mod source;
mod stats;
mod stream;
mod summary;

use std::sync::Arc;

use async_nats::jetstream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use batch::split_by_partition;
pub use dead_letter_queue::{
    DATASET_HEADER, DETAIL_HEADER, EPOCH_HEADER, MESSAGE_ID_HEADER, REASON_HEADER, SEQUENCE_HEADER,
    STORED_AT_HEADER, STREAM_HEADER, SUBJECT_HEADER,
};
pub use decode::{
    Appended, DecodeCounters, Decoder, MAX_PAYLOAD_BYTES, MessageMeta, Reason, Rejection,
    ValueLocation,
};
pub use sample::{SampleCheck, SampleReport};
pub use stats::{DatasetIngestReport, Durations, IngestReport, IngestStats, StreamGap};

use assignment::Assignment;
use budget::Budget;
use dead_letter_queue::{ANSWER_TIMEOUT, DeadLetterQueue};
use limits::CurrentLimits;
use mpsync_clickhouse::{Tier, check_columns};
use mpsync_config::Config;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Cause, Context as _, Disposition, Error, Result};
use pipeline::Pipeline;
use stream::AckMode;

/// How an ingest runs.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    /// End when everything that is in the stream at the start is settled.
    pub drain: bool,
    /// Counters to count in, so that others can read them meanwhile; new ones when not given. They must have been made
    /// for the same datasets.
    pub stats: Option<Arc<IngestStats>>,
    /// The subjects of the stream where it must be made; those of the ingested datasets when not given.
    pub stream_subjects: Vec<String>,
    /// The configuration as it stands, where it can change while ingest runs. Its limits of batches (rows, bytes, age) hold
    /// at once; nothing else of it is looked at.
    pub reloaded: Option<watch::Receiver<Arc<Config>>>,
}

/// Why a life ended before its time.
#[derive(Debug)]
enum SessionEnd {
    /// Nobody knows what landed, or what was delivered: the next life finds out.
    Uncertain(String),
    /// It would happen again, or somebody must look.
    Failed(Error),
}

impl SessionEnd {
    fn uncertain(why: impl Into<String>) -> Self {
        Self::Uncertain(why.into())
    }
}

impl From<Error> for SessionEnd {
    fn from(e: Error) -> Self {
        match e.disposition() {
            Disposition::Retry => Self::Uncertain(e.to_string()),
            Disposition::Reject | Disposition::Halt => Self::Failed(e),
        }
    }
}

/// Ingests datasets into hot until `shutdown` is cancelled, everything is drained, or something cannot be helped.
///
/// What is wrong at the start (no server, a wrong password, a table with other columns) is an error at once; what fails
/// later and can pass by itself is waited out. After `shutdown` the last batches are landed and acknowledged within 15
/// seconds; what is left is done by the next start.
///
/// Dropping the future is safe: it is as if the process was killed.
pub async fn run(
    config: &Config,
    datasets: &[&Dataset],
    hot: Tier,
    shutdown: CancellationToken,
    options: IngestOptions,
) -> Result<IngestReport> {
    // A table that somebody else fills has no subjects.
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
        let pipeline = Pipeline {
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
        pipelines.spawn(pipeline.run());
    }
    let _summary = AbortOnDropHandle::new(tokio::spawn(summary::repeat(stats.clone())));
    let ended = join_all(pipelines, &ending).await;
    // What was published last, acknowledgements among it, must leave before the connection is closed.
    if let Err(e) = client.flush().await {
        tracing::debug!(error = %e, "the connection was gone at the end");
    }
    let report = stats.snapshot();
    summary::LoggedUnknownFields::default().say(&report);
    ended?;
    Ok(report)
}

/// Refuses tables that are not there or do not fit, before anything is fetched.
async fn check_tables(hot: &Tier, scopes: &[Assignment]) -> Result<()> {
    let version = hot.ping().await?;
    tracing::debug!(tier = %hot.role(), version, "server answers");
    for Assignment { dataset, .. } in scopes {
        let live = hot.describe_existing(&dataset.table).await?;
        check_columns(dataset, &live)?;
    }
    Ok(())
}

/// Waits for all; the first that fails ends the others in order. One that was superseded does not: its dataset is taken
/// care of, and nobody else may take care of the others.
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
