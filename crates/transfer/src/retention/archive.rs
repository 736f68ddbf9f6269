//! A window leaves the archive.

use jiff::{SignedDuration, Timestamp};

use super::plan::{Expiry, is_due};
use crate::cleanup::set_aside::{SetAsideReason, set_aside};
use crate::dataset_run::DatasetRun;
use crate::time_range::TimeRange;
use crate::window::holdings::total;
use crate::window::task::Event;
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::{LeaseWatcher, Manifest};
use mpsync_core::dataset::Window;
use mpsync_core::error::Result;
use mpsync_core::progress::Work;

/// The windows that are past their retention, oldest first.
pub(super) async fn due(
    run: &DatasetRun,
    range: TimeRange,
    stays: SignedDuration,
    now: Timestamp,
) -> Result<Vec<Window>> {
    let Some(before) = now
        .checked_sub(stays)
        .ok()
        .and_then(|until| Window::new(Timestamp::MIN, until).ok())
    else {
        return Ok(Vec::new());
    };
    // Those too of which an interrupted removal left only files that no manifest names.
    let name = &run.dataset.name;
    let mut windows = run.archive.touched_windows(name, Some(before)).await?;
    windows.retain(|window| is_due(*window, range, stays, now));
    Ok(windows)
}

/// Removes a window, unless rows of it are still elsewhere: what is in hot would be archived anew, and cold could never be proven
/// again.
pub(super) async fn expire(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    window: Window,
    cold_expires: bool,
    work: &Work,
) -> Result<Expiry> {
    work.step("asking hot and cold", 0);
    // Before any lease: what stays may stay for months.
    if let Some(why) = still_held(run, window, cold_expires).await? {
        return Ok(Expiry::Kept(why));
    }
    let mut window_attempt = WindowAttempt::new(run, window, watcher);
    let removed = remove(run, window, cold_expires, &mut window_attempt, work).await;
    window_attempt.end(removed).await
}

/// Returns where rows of a window still are: in a tier with a cleanup of its own, or in a table set aside from one. Rows that were
/// set aside come back if the attempt that did it was interrupted.
async fn still_held(
    run: &DatasetRun,
    window: Window,
    cold_expires: bool,
) -> Result<Option<String>> {
    let tier_tables = [
        (run.hot()?, SetAsideReason::Cleanup, true),
        (run.cold()?, SetAsideReason::Expiry, cold_expires),
    ];
    for (tier_table, why, is_asked) in tier_tables {
        let role = tier_table.tier.role();
        if is_asked {
            let rows = run.window_rows(tier_table, window).count().await?;
            if rows > 0 {
                return Ok(Some(format!("{role} still holds {rows} rows of it")));
            }
        }
        let mut aside_table = set_aside(tier_table, why).await?.into_iter();
        if let Some(aside_table) =
            aside_table.find(|aside_table| aside_table.span.intersection(&window).is_some())
        {
            let table = aside_table.table;
            return Ok(Some(format!(
                "rows of it may be in {table}, set aside from {role}"
            )));
        }
    }
    Ok(None)
}

async fn remove(
    run: &DatasetRun,
    window: Window,
    cold_expires: bool,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Expiry> {
    // From here on no other worker adds to it, or sets rows of it aside.
    window_attempt.attempt().await?;
    if let Some(why) = still_held(run, window, cold_expires).await? {
        return Ok(Expiry::Kept(why));
    }
    let generations = run.archive.generations(&run.dataset.name, window).await?;
    let rows = total(&generations).rows;
    let bytes = generations.iter().map(Manifest::bytes).sum();
    window_attempt.record(Event::Expired).await?;
    work.step("removing", rows);
    run.archive.remove_window(&run.dataset.name, window).await?;
    work.moved(rows, bytes);
    Ok(Expiry::Removed { rows, bytes })
}
