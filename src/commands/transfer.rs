//! `mpsync export`, `import`, `sync`: wire, run, print.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{HumanBytes, HumanCount};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::CommandContext;
use crate::cli::{Output, Selection, TransferArgs};
use mpsync_archive::{Archive, LeaseWatcher, RowFilter};
use mpsync_core::dataset::{TierRole, select};
use mpsync_core::error::{Error, Result};
use mpsync_core::progress::Progress;
use mpsync_transfer::{
    self, CleanupPolicy, DatasetTransferReport, Goal, KeepReason, Retention, RunTrigger, TimeRange,
    TransferContext, TransferReport, TransferRequest, describe_plan, parse_time,
};

pub(super) async fn run(context: &CommandContext, args: &TransferArgs, goal: Goal) -> Result<()> {
    let request = request(context, args, goal)?;
    let datasets = select(&context.datasets, &args.selection.datasets)?;
    let archive = if args.dry_run {
        // Nothing may have been archived yet: a plan needs no archive, and makes none.
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
    let shown = CancellationToken::new();
    let show = tokio::spawn(crate::progress::show(
        transfer.progress.clone(),
        shown.clone(),
    ));
    let mut report = mpsync_transfer::run(&transfer, &request).await;
    shown.cancel();
    show.await.map_err(std::io::Error::other)?;
    print(context.output, goal, &report)?;
    match report.take_failure() {
        None => Ok(()),
        Some(e) => Err(e),
    }
}

/// What the flags and the configuration ask for.
fn request(context: &CommandContext, args: &TransferArgs, goal: Goal) -> Result<TransferRequest> {
    let sync = &context.config.sync;
    let mut request = TransferRequest::new(goal, sync);
    request.range = range(&args.selection, request.now)?;
    // `export` and `import` are typed by people, and so is a time.
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
        return Err(Error::usage("only `sync` cleans hot: it proves cold first"));
    }
    if args.cleanup && request.filter.is_some() {
        return Err(Error::usage(
            "a transfer of some exchanges or symbols is no ground for cleanup: leave --cleanup or the filter away",
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
            "--retention is for a `sync` of all that is due: leave --from, --to and the filter away",
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

/// The range that `--from` and `--to` say.
pub(super) fn range(selection: &Selection, now: Timestamp) -> Result<TimeRange> {
    let time = |text: &Option<String>| text.as_ref().map(|t| parse_time(t, now)).transpose();
    let range = TimeRange {
        from: time(&selection.from)?,
        to: time(&selection.to)?,
    };
    match (range.from, range.to) {
        (Some(from), Some(to)) if from >= to => Err(Error::usage(format!(
            "--from must lie before --to, but {from} is not before {to}"
        ))),
        _ => Ok(range),
    }
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
            .for_each(|plan| print!("{}", describe_plan(plan))),
        Output::Json => println!("{}", serde_json::json!({ "plan": plans })),
    }
    Ok(())
}

fn print(output: Output, goal: Goal, report: &TransferReport) -> Result<()> {
    match output {
        Output::Json => {
            let json =
                serde_json::to_string(report).map_err(|e| Error::malformed(e.to_string()))?;
            println!("{json}");
        }
        Output::Text => {
            println!("{}", table(goal, report));
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

/// What the table cannot say.
fn print_remarks(dataset: &DatasetTransferReport) {
    let name = &dataset.dataset;
    if let Some(e) = &dataset.error {
        println!("{e}");
    }
    for window in dataset.windows.iter().filter(|w| w.error.is_some()) {
        if let Some(e) = &window.error {
            println!("{e}");
        }
    }
    for window in &dataset.windows {
        if window.error.is_none() && window.status == mpsync_transfer::Status::Waiting {
            println!(
                "{name} {}: rows keep arriving; {} as far as it was archived, the rest is left to the next run",
                window.window, window.stage
            );
        }
    }
    for partition in &dataset.partitions {
        let span = partition
            .span
            .map_or_else(|| "the table".to_owned(), |s| s.to_string());
        if let Some(e) = &partition.error {
            println!("{e}");
        } else if let Some(why) = partition.kept.filter(|why| *why != KeepReason::CleanupOff) {
            println!("{name} {span} stays in hot: {why}");
        }
    }
    for expiry in &dataset.expiries {
        let (place, span) = (expiry.place, expiry.span);
        match (&expiry.error, &expiry.kept) {
            (Some(e), _) => println!("{e}"),
            (None, Some(why)) => {
                println!("{name} {span} is past its retention and stays in {place}: {why}");
            }
            (None, None) => println!("{name} {span} left {place}: {} rows", expiry.rows),
        }
    }
    if dataset.postponed > 0 {
        println!(
            "{name}: {} windows are left to later runs (sync.batch_hours)",
            dataset.postponed
        );
    }
    if dataset.young > 0 {
        println!(
            "{name}: {} windows are too young and wait (say --to to take them now)",
            dataset.young
        );
    }
}
