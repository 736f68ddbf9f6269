//! `mpsync verify`: wire, run, print.

use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;

use super::Context;
use super::transfer::range;
use crate::archive::{Archive, Depth, Severity};
use crate::cli::{Output, VerifyArgs};
use crate::dataset::{Dataset, TierRole, select};
use crate::error::{Error, Result};
use crate::transfer::{Against, Retention, VerifyReport, verify};

pub(super) async fn run(context: &Context, args: &VerifyArgs) -> Result<()> {
    let now = Timestamp::now();
    let range = range(&args.selection, now)?;
    let datasets: Vec<Dataset> = select(&context.datasets, &args.selection.datasets)?
        .into_iter()
        .cloned()
        .collect();
    let archive = Archive::open_read_only(&context.config.archive).await?;
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
    let checked = verify(&archive, &datasets, range, depth, against.as_ref(), jobs);
    let report = context
        .shutdown
        .run_until_cancelled(checked)
        .await
        .ok_or_else(|| Error::new(crate::error::Cause::Interrupted))??;
    print(context.output, &report)?;
    match report.failure() {
        None => Ok(()),
        Some(e) => Err(e),
    }
}

fn print(output: Output, report: &VerifyReport) -> Result<()> {
    if output == Output::Json {
        let json = serde_json::to_string(report).map_err(|e| Error::malformed(e.to_string()))?;
        println!("{json}");
        return Ok(());
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    for text in report.differences.iter().chain(&report.unanswered) {
        println!("{text}");
    }
    if report.absent > 0 {
        println!("{} windows are no longer in the tier", report.absent);
    }
    let damage = report
        .findings
        .iter()
        .filter(|f| f.kind.severity() == Severity::Damage)
        .count();
    println!(
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
