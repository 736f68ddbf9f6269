//! Planning and running the transfer of datasets: the crate's entry points.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::cleanup::{drop_partition, set_aside};
use crate::context::TransferContext;
use crate::dataset_run::{DatasetRun, TierTable};
use crate::plan::batch_limit;
use crate::plan::facts::HotInventory;
use crate::plan::hot_inventory::hot_inventory;
use crate::plan::transfer_plan::{self, Cleanup, TransferPlan};
use crate::report::{DatasetTransferReport, PartitionReport, TransferReport};
use crate::request::{Goal, RunTrigger, TransferRequest};
use crate::retention::run as retention;
use crate::runner::{self, Runner};
use crate::tasks::requests;
use crate::window::task::Status;
use mpsync_core::dataset::{Dataset, Window};
use mpsync_core::error::{Cause, Error, Result};

/// Plans a run, dataset by dataset. Changes nothing.
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
    let facts = hot_inventory(&run, request.range).await?;
    let mut plan = due(&run, &facts, request).await?;
    plan.expiries = retention::plan(&run, request).await?;
    Ok(plan)
}

/// Plans the windows of a dataset that are due, no more than one run takes.
async fn due(
    run: &DatasetRun,
    facts: &HotInventory,
    request: &TransferRequest,
) -> Result<TransferPlan> {
    let mut plan = transfer_plan::plan(facts, request.range, request.due())?;
    if let Some(hours) = request.batch_hours {
        batch_limit::limit(&run.archive, &mut plan, hours).await?;
    }
    Ok(plan)
}

async fn archived_windows(
    context: &TransferContext,
    dataset: &Dataset,
    request: &TransferRequest,
) -> Result<Vec<Window>> {
    let windows = context
        .archive
        .windows(&dataset.name, request.range.window())
        .await?;
    let all = windows
        .into_iter()
        .filter(|window| request.range.touches(*window));
    let (mut windows, left_out): (Vec<_>, Vec<_>) =
        all.partition(|window| request.imports(*window));
    if let (Some(first), Some(last)) = (left_out.first(), left_out.last()) {
        tracing::info!(
            dataset = %dataset.name, windows = left_out.len(), from = %first.start(), to = %last.end(),
            "not importing windows that are past cold's retention; name their time with --from to import them"
        );
    }
    // The newest data is wanted first.
    windows.sort_unstable();
    windows.reverse();
    Ok(windows)
}

/// Transfers what is due. One dataset or window that fails stops no other; what failed is in the report
/// ([`TransferReport::take_failure`]).
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
        at_once: request.jobs.max(1),
        permits: Arc::clone(permits),
        cleanups: Arc::new(Semaphore::new(request.jobs.max(1))),
        shutdown: context.shutdown.clone(),
    };
    let transferred = match request.goal {
        Goal::Import => {
            context.progress.expect(archived.len() as u64);
            runner
                .windows(archived)
                .await
                .map(|windows| report.windows = windows)
        }
        Goal::Export | Goal::Sync => transfer_due(&runner, request, report).await,
    };
    if runner.shutdown.is_cancelled() {
        return Err(transferred
            .err()
            .unwrap_or_else(|| Error::new(Cause::Interrupted)));
    }
    // Data past its retention is removed even if something else of the dataset halted.
    let expiry = retention::run(&runner.run, &runner.watcher, request, &mut report.expiries);
    let expired = match runner.shutdown.run_until_cancelled(expiry).await {
        Some(done) => done,
        None => Err(Error::new(Cause::Interrupted)),
    };
    transferred.and(expired)?;
    count_rows(&runner.run, report).await
}

/// Transfers the windows of a dataset that are due.
async fn transfer_due(
    runner: &Runner,
    request: &TransferRequest,
    report: &mut DatasetTransferReport,
) -> Result<()> {
    recover_set_aside(runner, request, report).await?;
    let facts = hot_inventory(&runner.run, request.range).await?;
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
    let pieces = plan.windows().count() + cleanups;
    runner.run.progress.expect(pieces as u64);
    // Exported, and then loaded.
    let passes = match request.goal {
        Goal::Export => 1,
        Goal::Import | Goal::Sync => 2,
    };
    let rows = plan.windows().map(|window| window.rows).sum();
    runner.run.progress.expect_rows(rows, passes);
    let (windows, partitions) = runner.partitions(plan.partitions).await?;
    report.windows.extend(windows);
    report.partitions.extend(partitions);
    match plan.halted.first() {
        None => Ok(()),
        Some(first) => Err(Error::integrity(format!(
            "{} partitions halted: {first}",
            plan.halted.len()
        ))),
    }
}

/// Finishes, or gives back to hot, what an interrupted cleanup left in sealed tables; what a living worker is cleaning is
/// left to it.
async fn recover_set_aside(
    runner: &Runner,
    request: &TransferRequest,
    report: &mut DatasetTransferReport,
) -> Result<()> {
    let run = &runner.run;
    for aside_table in set_aside::tables_set_aside_from_hot(run).await? {
        if !request.range.touches(aside_table.span) {
            continue;
        }
        let what = format!("{} recovering {}", run.dataset.name, aside_table.span);
        let task = run.task(aside_table.span);
        let work = run.progress.begin_task(what, task.clone());
        run.progress.expect(1);
        // Of a replicated table, dropping it would take rows that this replica has not fetched.
        let finish = !run.hot()?.is_replicated()
            && transfer_plan::may_clean(aside_table.span, request.due());
        let mut of_partition = PartitionReport {
            span: Some(aside_table.span),
            cleaned_rows: 0,
            kept: None,
            error: None,
        };
        let recovered = drop_partition::recover(run, &runner.watcher, &aside_table, finish, &work);
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
                of_partition.error = Some(e.context(format!("recovering {}", aside_table.table)));
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
