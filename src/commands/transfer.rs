//! `mpsync export`, `import`, `sync`: wire, run, print.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{HumanBytes, HumanCount};
use jiff::SignedDuration;

use super::archive::check_not_empty;
use super::confirm::{Answer, can_ask, confirm};
use super::context::CommandContext;
use super::selection::time_range;
use crate::cli::{Output, TransferArgs};
use crate::output::{out, outln};
use crate::progress::{Shown, during};
use mpsync_archive::{Archive, LeaseWatcher, RowFilter};
use mpsync_core::dataset::{TierRole, select};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::progress::Progress;
use mpsync_transfer::{
    self, Cleanup, CleanupPolicy, DatasetTransferReport, Goal, KeepReason, Retention, RunTrigger,
    TimeRange, TransferContext, TransferPlan, TransferReport, TransferRequest, describe_plan,
};

pub(super) async fn run(context: &CommandContext, args: &TransferArgs, goal: Goal) -> Result<()> {
    let request = request(context, args, goal)?;
    let datasets = select(&context.datasets, &args.selection.datasets)?;
    let archive = if args.dry_run {
        // The archive may not exist yet: a plan does not need it, and does not create it.
        Archive::open_to_plan(&context.config.archive).await?
    } else {
        Archive::open(&context.config.archive).await?
    };
    let transfer = TransferContext {
        hot: context.tier(TierRole::Hot),
        cold: context.tier(TierRole::Cold),
        archive,
        datasets: datasets.into_iter().cloned().collect(),
        progress: Progress::default(),
        shutdown: context.shutdown.clone(),
        watcher: LeaseWatcher::new(context.config.sync.lease),
    };
    if args.dry_run {
        return show_plan(context.output, &transfer, &request).await;
    }
    if !may_delete(context, args, &transfer, &request).await? {
        outln!("Nothing was transferred or deleted.");
        return Ok(());
    }
    let shown = Shown::windows(context.display, &transfer.progress, request.jobs);
    let run = mpsync_transfer::run(&transfer, &request);
    let mut report = during(shown, run).await;
    let windows: usize = report.datasets.iter().map(|d| d.windows.len()).sum();
    match report.interruption() {
        // One line says it all.
        Some(e) if context.output == Output::Text => return Err(e),
        None if goal == Goal::Import && windows == 0 => {
            check_not_empty(context, &transfer.archive).await?;
        }
        Some(_) | None => {}
    }
    print(context.output, goal, &report)?;
    match report.take_failure() {
        None => Ok(()),
        Some(e) => Err(e),
    }
}

/// Asks before a run that was started with `--cleanup` or `--retention` deletes anything. Without a terminal the flags suffice.
async fn may_delete(
    context: &CommandContext,
    args: &TransferArgs,
    transfer: &TransferContext,
    request: &TransferRequest,
) -> Result<bool> {
    let is_asked = args.cleanup || args.retention;
    if args.yes || !is_asked || context.output == Output::Json || !can_ask() {
        return Ok(true);
    }
    let plans = mpsync_transfer::plan(transfer, request).await?;
    let deletions: Vec<String> = plans.iter().flat_map(deletions).collect();
    if deletions.is_empty() {
        return Ok(true);
    }
    for deletion in &deletions {
        outln!("{deletion}");
    }
    let question = "Delete this data when it is proven to be archived?";
    let answer = confirm(question, false, &context.shutdown).await?;
    Ok(answer != Answer::No)
}

/// Returns a line for each deletion of a plan.
fn deletions(plan: &TransferPlan) -> Vec<String> {
    let name = &plan.dataset;
    let mut lines = Vec::new();
    for partition in &plan.partitions {
        let rows: u64 = match &partition.cleanup {
            Cleanup::Clean => partition.windows.iter().map(|w| w.rows).sum(),
            Cleanup::Delete(due) => {
                let due = partition.windows.iter().filter(|w| due.contains(&w.window));
                due.map(|w| w.rows).sum()
            }
            Cleanup::Keep(_) => continue,
        };
        let span = partition
            .span
            .map_or_else(|| "the table".to_owned(), |s| s.to_string());
        lines.push(format!("{name} {span}: {} rows from hot", HumanCount(rows)));
    }
    for expiry in &plan.expiries {
        lines.push(format!("{name} {expiry}"));
    }
    lines
}

/// Returns the transfer that flags and configuration request.
fn request(context: &CommandContext, args: &TransferArgs, goal: Goal) -> Result<TransferRequest> {
    let sync = &context.config.sync;
    let mut request = TransferRequest::new(goal, sync);
    request.range = time_range(&args.selection, request.now)?;
    // An operator types `export`, `import` and times; the schedule does not.
    let named = request.range != TimeRange::default() || !args.exchange.is_empty();
    if named || !args.symbol.is_empty() || goal != Goal::Sync {
        request.origin = RunTrigger::Explicit;
    }
    if let Some(hours) = args.lookback {
        let from = request.now - SignedDuration::from_hours(i64::from(hours));
        request.range.from = Some(from);
    }
    if !args.exchange.is_empty() || !args.symbol.is_empty() {
        request.filter = Some(RowFilter {
            exchanges: args.exchange.clone(),
            symbols: args.symbol.clone(),
        });
    }
    if args.cleanup && goal != Goal::Sync {
        return Err(Error::usage(
            "--cleanup requires `sync`, which proves cold first",
        ));
    }
    if args.cleanup && request.filter.is_some() {
        return Err(Error::usage(
            "a transfer of some exchanges or symbols does not justify cleanup: remove --cleanup or the filter",
        ));
    }
    request.cleanup = if args.cleanup {
        CleanupPolicy::Now
    } else if sync.cleanup_enabled {
        CleanupPolicy::OlderThan(mpsync_transfer::stays_in_hot(&context.config.hot, sync))
    } else {
        CleanupPolicy::Off
    };
    if args.retention && (goal != Goal::Sync || request.origin != RunTrigger::Routine) {
        return Err(Error::usage(
            "--retention requires a `sync` of all due windows: remove --from, --to and the filter",
        ));
    }
    if args.retention || sync.cleanup_enabled && request.origin == RunTrigger::Routine {
        request.retention = Retention::of(&context.config.cold, &context.config.archive);
    }
    if goal == Goal::Import {
        request.import_within = Retention::of(&context.config.cold, &context.config.archive).cold;
    }
    match args.jobs {
        Some(0) => return Err(Error::usage("--jobs must be at least 1")),
        Some(jobs) => request.jobs = jobs,
        None => {}
    }
    Ok(request)
}

async fn show_plan(
    output: Output,
    transfer: &TransferContext,
    request: &TransferRequest,
) -> Result<()> {
    let plans = mpsync_transfer::plan(transfer, request).await?;
    match output {
        Output::Text => plans
            .iter()
            .for_each(|plan| out!("{}", describe_plan(plan))),
        Output::Json => outln!("{}", serde_json::json!({ "plan": plans })),
    }
    Ok(())
}

fn print(output: Output, goal: Goal, report: &TransferReport) -> Result<()> {
    match output {
        Output::Json => {
            let json =
                serde_json::to_string(report).map_err(|e| Error::malformed(e.to_string()))?;
            outln!("{json}");
        }
        Output::Text => {
            outln!("{}", table(goal, report));
            for dataset in &report.datasets {
                print_remarks(dataset);
            }
        }
    }
    Ok(())
}

fn table(goal: Goal, report: &TransferReport) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "dataset",
        "windows",
        "new generations",
        "chunks",
        "rows",
        "archive",
        "proven",
        "rows hot",
        "rows cold",
        "cleaned",
        "seconds",
    ]);
    for d in &report.datasets {
        let done = d.windows.iter().filter(|w| w.stage >= goal.stage()).count();
        let rows = |count: Option<u64>| {
            count.map_or_else(|| "–".to_owned(), |n| HumanCount(n).to_string())
        };
        table.add_row([
            d.dataset.to_string(),
            d.windows.len().to_string(),
            d.sum(|w| w.new_generations).to_string(),
            d.sum(|w| w.chunks).to_string(),
            HumanCount(d.sum(|w| w.rows)).to_string(),
            HumanBytes(d.sum(|w| w.archive_bytes)).to_string(),
            format!("{done} of {}", d.windows.len()),
            rows(d.hot_rows),
            rows(d.cold_rows),
            HumanCount(d.cleaned_rows()).to_string(),
            format!("{:.1}", d.seconds),
        ]);
    }
    for column in 1..11 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints the facts that have no column in the table.
fn print_remarks(dataset: &DatasetTransferReport) {
    let name = &dataset.dataset;
    if let Some(e) = &dataset.error {
        outln!("{e}");
    }
    let errors = dataset.windows.iter().filter_map(|w| w.error.as_ref());
    for e in errors.filter(|e| !matches!(e.cause(), Cause::Interrupted)) {
        outln!("{e}");
    }
    for window in &dataset.windows {
        if window.error.is_none() && window.status == mpsync_transfer::Status::Waiting {
            outln!(
                "{name} {}: rows keep arriving; {} up to the archived rows, the next run takes the rest",
                window.window,
                window.stage
            );
        }
    }
    for partition in &dataset.partitions {
        let span = partition
            .span
            .map_or_else(|| "the table".to_owned(), |s| s.to_string());
        if let Some(e) = &partition.error {
            outln!("{e}");
        } else if let Some(why) = partition.kept.filter(|why| *why != KeepReason::CleanupOff) {
            outln!("{name} {span} stays in hot: {why}");
        }
    }
    for expiry in &dataset.expiries {
        let (place, span) = (expiry.place, expiry.span);
        match (&expiry.error, &expiry.kept) {
            (Some(e), _) => outln!("{e}"),
            (None, Some(why)) => {
                outln!("{name} {span} is past its retention and is kept in {place}: {why}");
            }
            (None, None) => outln!("{name} {span} deleted from {place}: {} rows", expiry.rows),
        }
    }
    if dataset.postponed > 0 {
        outln!(
            "{name}: {} windows are left to later runs (sync.max_hours_per_run)",
            dataset.postponed
        );
    }
    if dataset.young > 0 {
        outln!(
            "{name}: {} windows are too recent and wait (use --to to transfer them now)",
            dataset.young
        );
    }
}
