//! What the routes answer with. The names of the fields are the contract.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which sides a daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Ingest into hot.
    Hot,
    /// The schedule: transfers, cleanup, retention.
    Cold,
    /// Both in one process.
    Both,
}

impl Mode {
    /// Whether it ingests.
    #[must_use]
    pub fn is_hot(self) -> bool {
        self != Self::Cold
    }

    /// Whether it transfers.
    #[must_use]
    pub fn is_cold(self) -> bool {
        self != Self::Hot
    }
}

/// How the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Condition {
    /// All is well.
    Ok,
    /// Data flows, but something has failed lately or a person should look.
    Degraded,
    /// Data cannot flow.
    Down,
}

/// `GET /health`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Health {
    pub(super) status: Condition,
    pub(super) mode: Mode,
    pub(super) checks: Vec<Check>,
}

/// One thing that is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Check {
    /// `nats`, `hot`, `cold`, `archive`, `ingest`, `sync`, `gaps`, `disk:PLACE`
    pub(super) name: String,
    pub(super) ok: bool,
    /// How long its last answer took.
    pub(super) latency_seconds: Option<f64>,
    pub(super) last_success_at: Option<Timestamp>,
    /// What is wrong with it, or what there is to say.
    pub(super) detail: Option<String>,
    /// What to do about it.
    pub(super) hint: Option<String>,
    pub(super) free_bytes: Option<u64>,
}

/// `GET /ready`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Ready {
    pub(super) ready: bool,
    /// What it waits for.
    pub(super) reason: Option<String>,
}

/// `GET /stats`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Stats {
    pub(super) version: &'static str,
    pub(super) mode: Mode,
    pub(super) started_at: Timestamp,
    pub(super) now: Timestamp,
    pub(super) uptime_seconds: f64,
    pub(super) ingest: Option<Ingest>,
    pub(super) tiers: Tiers,
    pub(super) archive: Option<ArchiveFigures>,
    pub(super) sync: Option<Sync>,
}

/// What ingest has done since the daemon started.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Ingest {
    pub(super) datasets: Vec<IngestDataset>,
    pub(super) rows_per_second: f64,
    pub(super) lag: u64,
    pub(super) dead_letters: u64,
}

/// The same for one dataset.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct IngestDataset {
    pub(super) dataset: String,
    pub(super) messages: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) messages_per_second: f64,
    pub(super) rows_per_second: f64,
    /// Messages that wait in the stream.
    pub(super) lag: u64,
    pub(super) batches: u64,
    pub(super) inserts: u64,
    pub(super) insert_retries: u64,
    /// Messages whose rows an earlier run had landed.
    pub(super) already_held: u64,
    pub(super) redelivered: u64,
    /// By reason.
    pub(super) dead_letters: BTreeMap<String, u64>,
    /// Stream sequences that the stream's limits took before they could be delivered.
    pub(super) gap_sequences: u64,
    pub(super) rewinds: u64,
    pub(super) rounded: u64,
    /// Fields that no column takes, with how often they came.
    pub(super) unknown_fields: BTreeMap<String, u64>,
    /// Why the dataset is not ingested now, where somebody must help it.
    pub(super) stalled: Option<String>,
    /// When an insert last landed.
    pub(super) last_insert_at: Option<Timestamp>,
    pub(super) settled_seq: u64,
    /// `[milliseconds since 1970, rows a second, lag]`, oldest first, one each five seconds.
    pub(super) history: Vec<(i64, f64, u64)>,
}

/// Both tiers; `null` for one that this mode does not reach.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct Tiers {
    pub(super) hot: Option<TierFigures>,
    pub(super) cold: Option<TierFigures>,
}

/// What a tier holds, as it was last seen.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct TierFigures {
    /// Whether it answered when it was last asked.
    pub reachable: bool,
    /// Why it did not.
    pub error: Option<String>,
    /// Rows of all datasets.
    pub rows: u64,
    /// Their bytes on its disks.
    pub bytes: u64,
    /// Dataset by dataset.
    pub datasets: Vec<TierDataset>,
}

/// What a tier holds of one dataset.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct TierDataset {
    /// Its name.
    pub dataset: String,
    /// Rows in active parts.
    pub rows: u64,
    /// Their bytes on its disks.
    pub bytes: u64,
    /// Active parts.
    pub parts: u64,
    /// The first event time.
    pub oldest: Option<Timestamp>,
    /// The last event time.
    pub newest: Option<Timestamp>,
}

/// What the archive holds, as it was last seen.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ArchiveFigures {
    /// Where it lies, without secrets.
    pub location: String,
    /// Rows of all generations.
    pub rows: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
    /// Bytes that are free there; `null` where that cannot be asked.
    pub free_bytes: Option<u64>,
    /// Dataset by dataset.
    pub datasets: Vec<ArchiveDataset>,
}

/// What the archive holds of one dataset.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ArchiveDataset {
    /// Its name.
    pub dataset: String,
    /// Windows with at least one generation.
    pub windows: u64,
    /// Generations.
    pub generations: u64,
    /// Chunks.
    pub chunks: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
}

/// The schedule and its runs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Sync {
    /// `every 1h`, or the cron expression.
    pub(super) schedule: String,
    pub(super) next_at: Option<Timestamp>,
    pub(super) last: Option<SyncRun>,
    /// The last sweep of what broken-off runs left, whichever daemon of this archive made it.
    pub(super) last_sweep: Option<SweepRun>,
    pub(super) running: Vec<RunningTask>,
    /// Windows that halted: data is not what it was proven to be, and nothing of it is touched before somebody says so.
    pub(super) halted: u64,
    /// Requests that wait.
    pub(super) queued: u64,
}

/// How a run of the schedule, or one that was asked for, ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncRun {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Whether everything that it was to do was done.
    pub ok: bool,
    /// Windows that it looked at.
    pub windows: u64,
    /// Rows of their generations.
    pub rows: u64,
    /// Bytes of their chunks.
    pub bytes: u64,
    /// The worst that happened.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How a sweep of what broken-off runs left ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SweepRun {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Whether all could be looked at, and everything that is old enough was taken away.
    pub ok: bool,
    /// Things that were taken away.
    pub swept: u64,
    /// Their bytes, as far as they have a size.
    pub bytes: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<String, u64>,
    /// What could not be looked at or taken away.
    pub error: Option<String>,
}

/// A window that is being transferred.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct RunningTask {
    /// The task's id.
    pub(super) task: String,
    pub(super) dataset: String,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) step: &'static str,
    /// Rows that the step has moved.
    pub(super) rows: u64,
    /// Rows that it will move, as far as is known.
    pub(super) rows_total: Option<u64>,
    /// Bytes that the step has moved.
    pub(super) bytes: u64,
    /// How long the step has taken.
    pub(super) seconds: f64,
}

/// `POST /sync`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Accepted {
    pub(super) accepted: bool,
}

/// Any refusal.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Refusal {
    /// What is wrong.
    pub(super) error: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
}
