//! `mpsync verify`: wire, run, print.

use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;

use super::archive::check_not_empty;
use super::context::CommandContext;
use super::selection::time_range;
use crate::cli::{Output, VerifyArgs};
use crate::output::outln;
use crate::progress::{Shown, during};
use mpsync_archive::{Archive, Depth, LeaseWatcher, Severity};
use mpsync_core::dataset::{Dataset, TierRole, select};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::progress::Progress;
use mpsync_transfer::{Against, Repairs, Retention, TransferContext, VerifyReport, repair, verify};

pub(super) async fn run(context: &CommandContext, args: &VerifyArgs) -> Result<()> {
    let now = Timestamp::now();
    let range = time_range(&args.selection, now)?;
    let datasets: Vec<Dataset> = select(&context.datasets, &args.selection.datasets)?
        .into_iter()
        .cloned()
        .collect();
    let config = &context.config.archive;
    let archive = if args.repair {
        Archive::open(config).await?
    } else {
        Archive::open_read_only(config).await?
    };
    let depth = if args.deep { Depth::Deep } else { Depth::Bytes };
    let against = args.against.map(|role| Against {
        tier: context.tier(role),
        may_lack_before: match role {
            TierRole::Hot => Some(Timestamp::MAX),
            TierRole::Cold => Retention::of(&context.config.cold, &context.config.archive)
                .cold
                .and_then(|stays| now.checked_sub(stays).ok()),
        },
    });
    let jobs = context.config.sync.max_concurrent_transfers;
    let progress = Progress::default();
    let checked = verify(
        &archive,
        &datasets,
        range,
        depth,
        against.as_ref(),
        jobs,
        &progress,
    );
    let shown = Shown::windows(context.display, &progress, jobs);
    let checked = during(shown, async {
        tokio::select! {
            checked = checked => checked,
            // The snapshot is taken before the checks under way are dropped, which counts them as ended.
            () = context.shutdown.cancelled() => {
                let now = progress.snapshot();
                Err(Error::new(Cause::Interrupted).context(format!(
                    "{} of {} windows verified",
                    HumanCount(now.done),
                    HumanCount(now.total)
                )))
            }
        }
    });
    let mut report = checked.await?;
    if report.windows == 0 {
        check_not_empty(context, &archive).await?;
    }
    if args.repair {
        let transfer = TransferContext {
            hot: context.tier(TierRole::Hot),
            cold: context.tier(TierRole::Cold),
            archive,
            datasets,
            progress: Progress::default(),
            shutdown: context.shutdown.clone(),
            watcher: LeaseWatcher::new(context.config.sync.lease),
        };
        report.repairs = Some(repair(&transfer, depth, &mut report.findings).await);
    }
    print(context.output, &report)?;
    if context.shutdown.is_cancelled() {
        return Err(Error::new(Cause::Interrupted));
    }
    match report.failure() {
        None => Ok(()),
        Some(e) => Err(e),
    }
}

fn print(output: Output, report: &VerifyReport) -> Result<()> {
    if output == Output::Json {
        let json = serde_json::to_string(report).map_err(|e| Error::malformed(e.to_string()))?;
        outln!("{json}");
        return Ok(());
    }
    if let Some(repairs) = &report.repairs {
        print_repairs(repairs);
    }
    for finding in &report.findings {
        outln!("{finding}");
    }
    for text in report.differences.iter().chain(&report.unanswered) {
        outln!("{text}");
    }
    if report.absent > 0 {
        outln!("{} windows are no longer in the tier", report.absent);
    }
    let damage = report
        .findings
        .iter()
        .filter(|f| f.kind.severity() == Severity::Damage)
        .count();
    outln!(
        "{} windows, {} generations, {} rows, {}: {} wrong, in {:.1} s",
        report.windows,
        report.generations,
        HumanCount(report.rows),
        HumanBytes(report.bytes),
        damage + report.differences.len(),
        report.seconds
    );
    Ok(())
}

fn print_repairs(repairs: &Repairs) {
    for one in &repairs.repaired {
        outln!(
            "{}: repaired from {}: {} (manifest revision {})",
            one.generation,
            one.from,
            one.files.join(", "),
            one.revision
        );
    }
    for one in &repairs.unrepaired {
        outln!("{}: not repaired: {}", one.generation, one.reason);
    }
    for task in &repairs.halted {
        outln!("{task} is halted: run `mpsync tasks retry {task}` to try it again");
    }
}
