//! `mpsync gc`: wire, run, print.

use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};

use super::confirm::{Answer, can_ask, confirm};
use super::context::CommandContext;
use crate::cli::{GcArgs, Output};
use crate::output::outln;
use mpsync_archive::{Archive, LeaseWatcher};
use mpsync_core::dataset::{Dataset, TierRole, select};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::progress::Progress;
use mpsync_replay::sweep_insert_gates;
use mpsync_transfer::{Sweep, TransferContext, gc, parse_age};

/// Leftovers below this age may belong to a worker that is suspended.
const SAFE_AGE: Duration = Duration::from_hours(1);

pub(super) async fn run(context: &CommandContext, args: &GcArgs) -> Result<()> {
    let age = parse_age(&args.older_than)?;
    if age < SAFE_AGE {
        tracing::warn!(
            older_than = args.older_than,
            "leftovers younger than an hour may belong to a suspended worker"
        );
    }
    let datasets: Vec<Dataset> = select(&context.datasets, &args.datasets)?
        .into_iter()
        .cloned()
        .collect();
    let config = &context.config.archive;
    let transfer = TransferContext {
        hot: context.tier(TierRole::Hot),
        cold: context.tier(TierRole::Cold),
        archive: if args.dry_run {
            Archive::open_to_plan(config).await?
        } else {
            Archive::open(config).await?
        },
        datasets,
        progress: Progress::default(),
        shutdown: context.shutdown.clone(),
        watcher: LeaseWatcher::new(context.config.sync.lease),
    };
    // On a terminal the leftovers are shown before they are removed.
    if !args.dry_run && !args.yes && context.output == Output::Text && can_ask() {
        let found = sweep(&transfer, age, true).await?;
        print(context.output, &found)?;
        if found.swept.is_empty() {
            return ended(context, &found);
        }
        let question = format!("Remove these {} leftovers?", found.swept.len());
        if confirm(&question, false, &context.shutdown).await? == Answer::No {
            outln!("Nothing was removed.");
            return Ok(());
        }
    }
    let swept = sweep(&transfer, age, args.dry_run).await?;
    print(context.output, &swept)?;
    ended(context, &swept)
}

/// Removes leftovers, or only lists them.
async fn sweep(transfer: &TransferContext, age: Duration, dry_run: bool) -> Result<Sweep> {
    let mut sweep = gc(transfer, age, dry_run).await?;
    for tier in [&transfer.hot, &transfer.cold] {
        let gates = sweep_insert_gates(tier, age, dry_run).await;
        sweep.add_insert_gates(tier.role(), gates);
    }
    Ok(sweep)
}

fn ended(context: &CommandContext, sweep: &Sweep) -> Result<()> {
    if context.shutdown.is_cancelled() {
        return Err(Error::new(Cause::Interrupted));
    }
    match sweep.failure() {
        None => Ok(()),
        Some(e) => Err(e),
    }
}

fn print(output: Output, sweep: &Sweep) -> Result<()> {
    if output == Output::Json {
        let json = serde_json::to_string(sweep).map_err(|e| Error::malformed(e.to_string()))?;
        outln!("{json}");
        return Ok(());
    }
    for item in &sweep.swept {
        let age = HumanDuration(Duration::from_secs(item.age_seconds));
        let size = item
            .bytes
            .map_or_else(String::new, |bytes| format!(", {}", HumanBytes(bytes)));
        outln!("{} {} ({age} old{size})", item.kind, item.name);
    }
    for kept in &sweep.kept {
        outln!("{} is kept: {}", kept.name, kept.reason);
    }
    for text in &sweep.failed {
        outln!("{text}");
    }
    outln!(
        "{} leftovers, {}, {} in {:.1} s",
        sweep.swept.len(),
        HumanBytes(sweep.bytes()),
        if sweep.dry_run {
            "would be removed; checked"
        } else {
            "removed"
        },
        sweep.seconds
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};
    use mpsync_transfer::SWEPT_AGE;

    #[test]
    fn the_default_age_is_that_of_the_daemon() {
        let cli = Cli::try_parse_from(["mpsync", "gc"]).unwrap();
        let Command::Gc(args) = cli.command else {
            panic!("another command");
        };
        assert_eq!(parse_age(&args.older_than).unwrap(), SWEPT_AGE);
    }
}
