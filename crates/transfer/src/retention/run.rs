//! Removal of data past its retention from cold and from the archive, after a sync that cleans.
//!
//! Cold first, since it gives up only what the archive proves to hold; then the archive, the oldest windows first, and only
//! what hot and cold no longer hold. What must stay says why, and is asked again after the next sync.

use std::sync::Arc;

use tracing::Instrument as _;

use super::plan::Expiry;
use super::plan::{ExpiryReport, ExpiryTier, PlannedExpiry};
use super::{archive, cold};
use crate::dataset_run::DatasetRun;
use crate::request::{Goal, TransferRequest};
use crate::window::holdings::total;
use mpsync_archive::{LeaseWatcher, Manifest};
use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Result};
use mpsync_core::progress::Work;

/// Lists the spans past their retention, oldest first.
pub(crate) async fn plan(
    run: &DatasetRun,
    request: &TransferRequest,
) -> Result<Vec<PlannedExpiry>> {
    let retention = request.retention();
    let mut planned = Vec::new();
    if let Some(days) = retention.cold {
        let partitions = cold::due(run, request.range, days, request.now).await?;
        planned.extend(partitions.iter().map(|(partition, span)| PlannedExpiry {
            place: ExpiryTier::InCold,
            span: *span,
            rows: partition.rows,
            bytes: partition.bytes,
        }));
    }
    if let Some(days) = retention.archive {
        for window in archive::due(run, request.range, days, request.now).await? {
            let generations = run.archive.generations(&run.dataset.name, window).await?;
            planned.push(PlannedExpiry {
                place: ExpiryTier::InArchive,
                span: window,
                rows: total(&generations).rows,
                bytes: generations.iter().map(Manifest::bytes).sum(),
            });
        }
    }
    Ok(planned)
}

/// Removes spans past their retention. A failure stops no other removal, and is in the reports.
///
/// Can be cut off anywhere: the next run finds what was left half done.
pub(crate) async fn run(
    run: &Arc<DatasetRun>,
    watcher: &LeaseWatcher,
    request: &TransferRequest,
    reports: &mut Vec<ExpiryReport>,
) -> Result<()> {
    if request.goal != Goal::Sync || request.filter.is_some() {
        return Ok(());
    }
    let retention = request.retention;
    // Whatever is configured now, what is aside belongs somewhere.
    cold::recover(run, watcher).await?;
    if let Some(days) = retention.cold {
        for (partition, span) in cold::due(run, request.range, days, request.now).await? {
            let work = begin(run, ExpiryTier::InCold, span);
            let expiry = cold::expire(run, watcher, &partition, span, &work);
            let done = expiry.instrument(run.task(span)).await;
            record(reports, ExpiryTier::InCold, span, done);
        }
    }
    if let Some(days) = retention.archive {
        for window in archive::due(run, request.range, days, request.now).await? {
            let work = begin(run, ExpiryTier::InArchive, window);
            let expiry = archive::expire(run, watcher, window, retention.cold.is_some(), &work);
            let done = expiry.instrument(run.task(window)).await;
            record(reports, ExpiryTier::InArchive, window, done);
        }
    }
    Ok(())
}

fn begin(run: &DatasetRun, place: ExpiryTier, span: Window) -> Work {
    let what = format!("{} leaving {place} {span}", run.dataset.name);
    run.progress.expect(1);
    run.progress.begin_task(what, run.task(span))
}

fn record(reports: &mut Vec<ExpiryReport>, place: ExpiryTier, span: Window, done: Result<Expiry>) {
    let mut report = ExpiryReport::new(place, span);
    match done {
        Ok(Expiry::Removed { rows, bytes }) => (report.rows, report.bytes) = (rows, bytes),
        Ok(Expiry::Kept(why)) => report.kept = Some(why),
        Err(e) if matches!(e.cause(), Cause::Busy(_)) => {
            report.kept = Some(format!("another worker has it: {e}"));
        }
        Err(e) => report.error = Some(e),
    }
    match (&report.kept, &report.error) {
        (Some(why), _) => tracing::debug!(%place, %span, why, "past its retention, and stays"),
        (_, Some(e)) => tracing::error!(%place, %span, error = %e, "past its retention, and stays"),
        (None, None) => {
            let (rows, bytes) = (report.rows, report.bytes);
            tracing::info!(%place, %span, rows, bytes, "past its retention, and gone");
        }
    }
    reports.push(report);
}
