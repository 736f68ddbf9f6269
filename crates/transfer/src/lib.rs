//! Hot windows → chunks → archive → cold → proof → cleanup.
//!
//! `export`, `import`, `sync` and the daemon are one machine driven to different stages. What is due is planned from
//! hot's own partitions ([`plan()`]); every window is driven in rounds that ask the data anew, until a round finds nothing
//! to do: that round is the proof. State is facts: a process can stop at any instruction, and the same command started
//! again ends in the same state.

mod batch;
mod dataset_run;
mod deletion;
mod drive;
mod erase;
mod evolution;
mod export;
mod gc;
mod holdings;
mod hot_inventory;
mod journal;
mod load;
mod partitioning;
mod plan;
mod proof;
mod proof_cache;
mod repair;
mod report;
mod requests;
mod retention;
mod row_deduplicator;
mod rows;
mod rows_body;
mod runner;
mod seal;
mod staging;
mod stream;
mod task;
pub mod tasks;
mod time_range;
mod verify;
mod window_attempt;
mod window_status;

use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use gc::{KeptItem, SWEPT_AGE, Sweep, SweepItem, SweepKind, gc};
pub use plan::{Cleanup, CleanupPolicy, Due, PlannedPartition, PlannedWindow, TransferPlan};
pub use repair::{Repaired, Repairs, Unrepaired, repair};
pub use report::{
    DatasetTransferReport, PartitionReport, TransferReport, WindowReport, describe_plan,
};
pub use requests::{OpenRequest, Wish, dataset_of, open_requests, submit};
pub use retention::{ExpiryReport, ExpiryTier, PlannedExpiry, Retention};
pub use task::{Event, JournalEntry, Stage, Status};
pub use time_range::{TimeRange, parse_age, parse_time};
pub use verify::{Against, VerifyReport, verify};
pub use window_status::{
    HotObservations, WindowStage, WindowStatus, WindowStatusReader, gap_before, held_in_hot,
};

use dataset_run::{DatasetRun, TierTable};
use mpsync_archive::{Archive, LeaseWatcher, RowFilter};
use mpsync_clickhouse::Tier;
use mpsync_clickhouse::TierConfig;
use mpsync_config::SyncConfig;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::progress::Progress;
use proof_cache::ProofCache;
use runner::Runner;

/// How far windows are driven, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Hot's rows are in the archive.
    Export,
    /// The archive's rows are in cold; hot is not asked.
    Import,
    /// Hot's rows are in the archive and in cold, proven to be the same; cleanup may follow.
    Sync,
}

impl Goal {
    /// The stage that a window must reach.
    #[must_use]
    pub fn stage(self) -> Stage {
        match self {
            Self::Export => Stage::Archived,
            Self::Import | Self::Sync => Stage::Verified,
        }
    }
}

/// Who asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunTrigger {
    /// The schedule, or a person who named no time: windows that halted are left alone until somebody says otherwise, and
    /// a sync first does what was submitted.
    Routine,
    /// A person who named what is to be transferred: a window that halted is tried again.
    Explicit,
}

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

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct TransferRequest {
    /// How far windows are driven.
    pub goal: Goal,
    /// Who asked for it.
    pub origin: RunTrigger,
    /// Over which event time.
    pub range: TimeRange,
    /// Only some exchanges or symbols: recorded in the manifest, and never cleaned.
    pub filter: Option<RowFilter>,
    /// Whether proven partitions are cleaned out of hot.
    pub cleanup: CleanupPolicy,
    /// What leaves cold and the archive after that, because of its age.
    pub retention: Retention,
    /// How long after its end a window is exported at the earliest, where the range has no end.
    pub grace: SignedDuration,
    /// How many hours of data that are not archived yet one run takes at most, for each dataset; `None` for all.
    pub batch_hours: Option<u32>,
    /// How many windows at once.
    pub jobs: usize,
    /// Now.
    pub now: Timestamp,
}

impl TransferRequest {
    /// A request for everything that is due, as the configuration says; nothing is cleaned.
    #[must_use]
    pub fn new(goal: Goal, sync: &SyncConfig) -> Self {
        Self {
            goal,
            origin: RunTrigger::Routine,
            range: TimeRange::default(),
            filter: None,
            cleanup: CleanupPolicy::Off,
            retention: Retention::default(),
            grace: SignedDuration::try_from(sync.grace).unwrap_or(SignedDuration::MAX),
            batch_hours: None,
            jobs: sync.max_concurrent_transfers,
            now: Timestamp::now(),
        }
    }

    /// What leaves in this run: nothing where not all rows are asked for on their whole way.
    fn retention(&self) -> Retention {
        match self.filter.is_none() && self.goal == Goal::Sync {
            true => self.retention,
            false => Retention::default(),
        }
    }

    fn due(&self) -> Due {
        let whole = self.filter.is_none() && self.goal == Goal::Sync;
        Due {
            now: self.now,
            grace: self.grace,
            cleanup: if whole {
                self.cleanup
            } else {
                CleanupPolicy::Off
            },
        }
    }
}

impl DatasetRun {
    /// Looks at the dataset's tables, and refuses what cannot be transferred with proof.
    async fn open(
        context: &TransferContext,
        dataset: &Dataset,
        request: &TransferRequest,
    ) -> Result<Self> {
        let tier_table = async |tier: &Tier| {
            let schema = tier.describe_existing(&dataset.table).await?;
            schema.check_transferable()?;
            Ok::<_, Error>(TierTable {
                tier: tier.clone(),
                schema,
            })
        };
        let mut run = Self {
            dataset: dataset.clone(),
            hot: None,
            hot_version: String::new(),
            cold: None,
            archive: context.archive.clone(),
            filter: request.filter.clone(),
            holder: holder(),
            progress: context.progress.clone(),
            proof_cache: ProofCache::default(),
        };
        if request.goal != Goal::Import {
            let hot = tier_table(&context.hot).await?;
            rows::check_filter(&hot.schema, request.filter.as_ref())?;
            run.hot_version = context.hot.ping().await?;
            run.hot = Some(hot);
        }
        if request.goal == Goal::Import {
            context.cold.apply_schema(&[dataset]).await?;
        }
        if request.goal != Goal::Export {
            run.cold = Some(tier_table(&context.cold).await?);
        }
        Ok(run)
    }
}

/// For how long proven rows stay in hot all the same: retention days and delay are floors, the longer one holds.
#[must_use]
pub fn stays_in_hot(hot: &TierConfig, sync: &SyncConfig) -> SignedDuration {
    let days = SignedDuration::from_hours(i64::from(hot.retention_days) * 24);
    let delay = SignedDuration::try_from(sync.cleanup_delay).unwrap_or(SignedDuration::MAX);
    days.max(delay)
}

/// Who we are, for people that read leases and journals.
#[must_use]
pub fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "some host".into());
    format!("{}:{}", host.trim(), std::process::id())
}

/// What a run would do, dataset by dataset. Changes nothing.
pub async fn plan(
    context: &TransferContext,
    request: &TransferRequest,
) -> Result<Vec<TransferPlan>> {
    let mut plans = Vec::new();
    for dataset in &context.datasets {
        plans.push(plan_one(context, dataset, request).await?);
    }
    Ok(plans)
}

async fn plan_one(
    context: &TransferContext,
    dataset: &Dataset,
    request: &TransferRequest,
) -> Result<TransferPlan> {
    if request.goal == Goal::Import {
        let windows = archived_windows(context, dataset, request).await?;
        return Ok(TransferPlan::of_archived(&dataset.name, windows));
    }
    let run = DatasetRun::open(context, dataset, request).await?;
    let facts = hot_inventory::hot_inventory(&run, request.range).await?;
    let mut plan = due(&run, &facts, request).await?;
    plan.expiries = retention::plan(&run, request).await?;
    Ok(plan)
}

/// What is due of a dataset, no more than one run takes.
async fn due(
    run: &DatasetRun,
    facts: &plan::HotInventory,
    request: &TransferRequest,
) -> Result<TransferPlan> {
    let mut plan = plan::plan(facts, request.range, request.due())?;
    if let Some(hours) = request.batch_hours {
        batch::limit(&run.archive, &mut plan, hours).await?;
    }
    Ok(plan)
}

async fn archived_windows(
    context: &TransferContext,
    dataset: &Dataset,
    request: &TransferRequest,
) -> Result<Vec<mpsync_core::dataset::Window>> {
    let windows = context
        .archive
        .windows(&dataset.name, request.range.window())
        .await?;
    Ok(windows
        .into_iter()
        .filter(|window| request.range.touches(*window))
        .collect())
}

/// Transfers what is due. One dataset or window that fails stops no other; what failed is in the report
/// ([`Report::take_failure`]).
///
/// Cancelling [`TransferContext::shutdown`] ends it where it stands; starting it again goes on from there.
pub async fn run(context: &TransferContext, request: &TransferRequest) -> TransferReport {
    let started = Instant::now();
    let permits = Arc::new(Semaphore::new(request.jobs.max(1)));
    let mut report = TransferReport::default();
    if request.goal == Goal::Sync && request.origin == RunTrigger::Routine {
        run_requests(context, request, &permits, &mut report).await;
    }
    for dataset in &context.datasets {
        let of_dataset = report_one(context, dataset, request, &permits).await;
        report.datasets.push(of_dataset);
    }
    report.seconds = started.elapsed().as_secs_f64();
    report
}

/// Does what people submitted, for the datasets of this run. What could not be done stays for the next run.
async fn run_requests(
    context: &TransferContext,
    request: &TransferRequest,
    permits: &Arc<Semaphore>,
    report: &mut TransferReport,
) {
    let open = match requests::open_requests(&context.archive).await {
        Ok(open) => open,
        // The same archive fails the run itself.
        Err(e) => return tracing::warn!(error = %e, "what was submitted cannot be listed"),
    };
    for open in open {
        let Some(dataset) = context
            .datasets
            .iter()
            .find(|d| d.name == open.wish.dataset)
        else {
            continue;
        };
        let asked = TransferRequest {
            origin: RunTrigger::Explicit,
            range: open.wish.range(),
            filter: open.wish.filter(),
            batch_hours: None,
            ..request.clone()
        };
        tracing::info!(request = %open.id, dataset = %dataset.name, window = %open.wish.window, "taking up what was submitted");
        let done = report_one(context, dataset, &asked, permits).await;
        // What halted is seen as such; whatever else failed can pass.
        let settled = done.error.is_none()
            && done.windows.iter().all(|w| match &w.error {
                None => w.status != Status::Waiting,
                Some(_) => w.status == Status::Halted,
            });
        if settled && let Err(e) = requests::remove(&context.archive, &open.id).await {
            tracing::warn!(request = %open.id, error = %e, "it was done, and will be looked at again");
        }
        report.datasets.push(done);
    }
}

async fn report_one(
    context: &TransferContext,
    dataset: &Dataset,
    request: &TransferRequest,
    permits: &Arc<Semaphore>,
) -> DatasetTransferReport {
    let begun = Instant::now();
    let mut report = DatasetTransferReport::new(dataset.name.clone());
    let done = run_one(context, dataset, request, permits, &mut report).await;
    report.error = done
        .map_err(|e| e.context(format!("dataset {}", dataset.name)))
        .err();
    report.seconds = begun.elapsed().as_secs_f64();
    report
}

async fn run_one(
    context: &TransferContext,
    dataset: &Dataset,
    request: &TransferRequest,
    permits: &Arc<Semaphore>,
    report: &mut DatasetTransferReport,
) -> Result<()> {
    if context.shutdown.is_cancelled() {
        return Err(Error::new(Cause::Interrupted));
    }
    let archived = match request.goal {
        Goal::Import => archived_windows(context, dataset, request).await?,
        _ => Vec::new(),
    };
    if request.goal == Goal::Import && archived.is_empty() {
        return Ok(());
    }
    let runner = Runner {
        run: Arc::new(DatasetRun::open(context, dataset, request).await?),
        goal: request.goal,
        origin: request.origin,
        watcher: context.watcher.clone(),
        permits: Arc::clone(permits),
        cleanups: Arc::new(Semaphore::new(request.jobs.max(1))),
        shutdown: context.shutdown.clone(),
    };
    if request.goal == Goal::Import {
        context.progress.expect(archived.len() as u64);
        report.windows = runner.windows(archived).await?;
    } else {
        recover_set_aside(&runner, request, report).await?;
        let facts = hot_inventory::hot_inventory(&runner.run, request.range).await?;
        let plan = due(&runner.run, &facts, request).await?;
        report.young = plan.young;
        report.postponed = plan.postponed;
        let cleanups: usize = plan
            .partitions
            .iter()
            .map(|p| match &p.cleanup {
                Cleanup::Clean => 1,
                Cleanup::Delete(windows) => windows.len(),
                Cleanup::Keep(_) => 0,
            })
            .sum();
        context
            .progress
            .expect((plan.windows().count() + cleanups) as u64);
        let (windows, partitions) = runner.partitions(plan.partitions).await?;
        report.windows.extend(windows);
        report.partitions.extend(partitions);
        if let Some(first) = plan.halted.first() {
            return Err(Error::integrity(format!(
                "{} partitions halted: {first}",
                plan.halted.len()
            )));
        }
    }
    let expiry = retention::run(&runner.run, &runner.watcher, request, &mut report.expiries);
    match runner.shutdown.run_until_cancelled(expiry).await {
        Some(done) => done?,
        None => return Err(Error::new(Cause::Interrupted)),
    }
    count_rows(&runner.run, report).await
}

/// Finishes, or gives back to hot, what an interrupted cleanup left in sealed tables; what a living worker is cleaning is
/// left to it.
async fn recover_set_aside(
    runner: &Runner,
    request: &TransferRequest,
    report: &mut DatasetTransferReport,
) -> Result<()> {
    let run = &runner.run;
    for aside_table in seal::tables_set_aside_from_hot(run).await? {
        if !request.range.touches(aside_table.span) {
            continue;
        }
        let what = format!("{} recovering {}", run.dataset.name, aside_table.span);
        let task = run.task(aside_table.span);
        let work = run.progress.begin_task(what, task.clone());
        run.progress.expect(1);
        let finish = plan::may_clean(aside_table.span, request.due());
        let mut of_partition = PartitionReport {
            span: Some(aside_table.span),
            cleaned_rows: 0,
            kept: None,
            error: None,
        };
        let recovered = seal::recover(run, &runner.watcher, &aside_table, finish, &work);
        match recovered.instrument(task).await {
            Ok(None) => continue,
            Ok(Some(cleaned)) => {
                runner::record_cleaned(&mut of_partition, &mut report.windows, cleaned);
            }
            Err(e) if matches!(e.cause(), Cause::Busy(_)) => {
                tracing::info!(table = %aside_table.table, reason = %e, "another worker is cleaning");
                continue;
            }
            Err(e) => {
                of_partition.error = Some(e.context(format!("recovering {}", aside_table.table)))
            }
        }
        report.partitions.push(of_partition);
    }
    Ok(())
}

async fn count_rows(run: &DatasetRun, report: &mut DatasetTransferReport) -> Result<()> {
    let count = async |tier_table: &Option<TierTable>| match tier_table {
        None => Ok(None),
        Some(tier_table) => {
            let partitions = tier_table.tier.partitions(&tier_table.schema.table).await?;
            Ok::<_, Error>(Some(partitions.iter().map(|p| p.rows).sum()))
        }
    };
    report.hot_rows = count(&run.hot).await?;
    report.cold_rows = count(&run.cold).await?;
    Ok(())
}
