//! What leaves cold and the archive because of its age, after a sync that cleans.
//!
//! Cold first, since it gives up only what the archive proves to hold; then the archive, the oldest windows first, and only
//! what hot and cold no longer hold. What must stay says why, and is asked again after the next sync.

mod archive;
mod cold;
mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use tracing::Instrument as _;

pub use plan::{LeavingReport, Place, PlannedLeaving, Retention};

use super::road::Road;
use super::{Goal, Range, Request};
use mpsync_archive::{Manifest, Observer};
use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::progress::Work;
use plan::Left;

/// What is past its retention, oldest first: what leaves if nothing speaks against it.
pub(super) async fn plan(road: &Road, request: &Request) -> Result<Vec<PlannedLeaving>> {
    let retention = request.retention();
    let mut planned = Vec::new();
    if let Some(days) = retention.cold {
        let partitions = cold::due(road, request.range, days, request.now).await?;
        planned.extend(partitions.iter().map(|(partition, span)| PlannedLeaving {
            place: Place::InCold,
            span: *span,
            rows: partition.rows,
            bytes: partition.bytes,
        }));
    }
    if let Some(days) = retention.archive {
        for window in archive::due(road, request.range, days, request.now).await? {
            let generations = road.archive.generations(&road.dataset.name, window).await?;
            planned.push(PlannedLeaving {
                place: Place::InArchive,
                span: window,
                rows: super::road::total(&generations).rows,
                bytes: generations.iter().map(Manifest::bytes).sum(),
            });
        }
    }
    Ok(planned)
}

/// Has leave what is past its retention. What fails stops nothing else, and is in the reports.
///
/// Can be cut off anywhere: the next run finds what was left half done.
pub(super) async fn run(
    road: &Arc<Road>,
    observer: &Observer,
    request: &Request,
    reports: &mut Vec<LeavingReport>,
) -> Result<()> {
    if request.goal != Goal::Sync || request.filter.is_some() {
        return Ok(());
    }
    let retention = request.retention;
    // Whatever is configured now, what is aside belongs somewhere.
    cold::recover(road, observer).await?;
    if let Some(days) = retention.cold {
        for (partition, span) in cold::due(road, request.range, days, request.now).await? {
            let work = begin(road, Place::InCold, span);
            let leaving = cold::leave(road, observer, &partition, span, &work);
            let done = leaving.instrument(road.task(span)).await;
            take(reports, Place::InCold, span, done);
        }
    }
    if let Some(days) = retention.archive {
        for window in archive::due(road, request.range, days, request.now).await? {
            let work = begin(road, Place::InArchive, window);
            let leaving = archive::leave(road, observer, window, retention.cold.is_some(), &work);
            let done = leaving.instrument(road.task(window)).await;
            take(reports, Place::InArchive, window, done);
        }
    }
    Ok(())
}

fn begin(road: &Road, place: Place, span: Window) -> Work {
    let what = format!("{} leaving {place} {span}", road.dataset.name);
    road.progress.expect(1);
    road.progress.begin_task(what, road.task(span))
}

fn take(reports: &mut Vec<LeavingReport>, place: Place, span: Window, done: Result<Left>) {
    let mut report = LeavingReport::new(place, span);
    match done {
        Ok(Left::Gone { rows, bytes }) => (report.rows, report.bytes) = (rows, bytes),
        Ok(Left::Kept(why)) => report.kept = Some(why),
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

/// Whether a span ended long enough ago, in a range that a person may have named.
fn is_due(span: Window, range: Range, stays: jiff::SignedDuration, now: Timestamp) -> bool {
    range.touches(span) && plan::is_past(span.end(), stays, now)
}

/// An error for a table that this run has set aside and cannot settle.
fn stuck(table: &str, why: &str) -> Error {
    Error::integrity(format!("{table} holds rows of cold that were set aside, and {why}"))
        .hint("nothing of it was deleted; compare it with cold and the archive, and move its rows back or drop it by hand")
}
