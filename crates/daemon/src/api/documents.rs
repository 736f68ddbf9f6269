//! The responses of the status routes. The names of the fields are the contract.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::figures::{ArchiveFigures, TierFigures};
use crate::state::mode::Mode;
use crate::state::runs::{SweepRun, SyncRun};

/// `GET /stats`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Stats {
    pub(crate) version: &'static str,
    pub(crate) mode: Mode,
    pub(crate) started_at: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) uptime_seconds: f64,
    pub(crate) ingest: Option<Ingest>,
    pub(crate) tiers: Tiers,
    pub(crate) archive: Option<ArchiveFigures>,
    pub(crate) sync: Option<Sync>,
}

/// The counters of ingest since the daemon started.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Ingest {
    pub(crate) datasets: Vec<IngestDataset>,
    pub(crate) rows_per_second: f64,
    pub(crate) lag: u64,
    pub(crate) dead_letters: u64,
}

/// The same for one dataset.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct IngestDataset {
    pub(crate) dataset: String,
    pub(crate) messages: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) messages_per_second: f64,
    pub(crate) rows_per_second: f64,
    /// Messages waiting in the stream.
    pub(crate) lag: u64,
    pub(crate) batches: u64,
    pub(crate) inserts: u64,
    pub(crate) insert_retries: u64,
    /// Messages whose rows an earlier session had inserted.
    pub(crate) already_held: u64,
    pub(crate) redelivered: u64,
    /// By reason.
    pub(crate) dead_letters: BTreeMap<String, u64>,
    /// Stream sequences that the stream's limits deleted before delivery.
    pub(crate) gap_sequences: u64,
    pub(crate) rewinds: u64,
    pub(crate) rounded: u64,
    /// Fields without a column, with their number of occurrences.
    pub(crate) unknown_fields: BTreeMap<String, u64>,
    /// The reason for which ingest of the dataset is stalled and needs operator action.
    pub(crate) stalled: Option<String>,
    /// The time of the last successful insert.
    pub(crate) last_insert_at: Option<Timestamp>,
    pub(crate) settled_seq: u64,
    /// `[milliseconds since 1970, rows per second, lag]`, oldest first, every five seconds.
    pub(crate) history: Vec<(i64, f64, u64)>,
}

/// Both tiers; `null` for one that this mode does not use.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct Tiers {
    pub(crate) hot: Option<TierFigures>,
    pub(crate) cold: Option<TierFigures>,
}

/// The schedule and its runs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Sync {
    /// `every 1h`, or the cron expression.
    pub(crate) schedule: String,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) last: Option<SyncRun>,
    /// The last garbage collection, by any daemon of this archive.
    pub(crate) last_sweep: Option<SweepRun>,
    pub(crate) running: Vec<RunningTask>,
    /// Windows that halted: their data failed verification, and they stay unchanged until the operator acts.
    pub(crate) halted: u64,
    /// Queued requests.
    pub(crate) queued: u64,
}

/// A window whose transfer is running.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RunningTask {
    /// The id of the task.
    pub(crate) task: String,
    pub(crate) dataset: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) step: &'static str,
    /// Rows that the step has processed.
    pub(crate) rows: u64,
    /// Rows that it will process, if known.
    pub(crate) rows_total: Option<u64>,
    /// Bytes that the step has processed.
    pub(crate) bytes: u64,
    /// The duration of the step so far.
    pub(crate) seconds: f64,
}

/// `POST /sync`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Accepted {
    pub(crate) accepted: bool,
}

/// The body of any refusal.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// The error.
    pub(crate) error: String,
    /// The recommended action.
    pub(crate) hint: Option<String>,
}
