//! A window leaves the archive.

use jiff::{SignedDuration, Timestamp};

use super::super::Range;
use super::super::road::{Road, total};
use super::super::seal::{Aside, set_aside};
use super::super::task::Event;
use super::super::turn::Turn;
use super::is_due;
use super::plan::Left;
use mpsync_archive::{Manifest, Observer};
use mpsync_core::dataset::Window;
use mpsync_core::error::Result;
use mpsync_core::progress::Work;

/// The windows that are past their retention, oldest first.
pub(super) async fn due(
    road: &Road,
    range: Range,
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
    let name = &road.dataset.name;
    let mut windows = road.archive.touched_windows(name, Some(before)).await?;
    windows.retain(|window| is_due(*window, range, stays, now));
    Ok(windows)
}

/// Removes a window, unless rows of it are still elsewhere: what is in hot would be archived anew, and cold could never be proven
/// again.
pub(super) async fn leave(
    road: &Road,
    observer: &Observer,
    window: Window,
    cold_leaves: bool,
    work: &Work,
) -> Result<Left> {
    work.step("asking hot and cold", 0);
    // Before any lease: what stays may stay for months.
    if let Some(why) = still_held(road, window, cold_leaves).await? {
        return Ok(Left::Kept(why));
    }
    let mut turn = Turn::new(road, window, observer);
    let removed = remove(road, window, cold_leaves, &mut turn, work).await;
    turn.end(removed).await
}

/// Where rows of a window still are: in a tier that is cleaned by itself, or set aside from one. Those come back where whoever set
/// them aside was broken off.
async fn still_held(road: &Road, window: Window, cold_leaves: bool) -> Result<Option<String>> {
    let sides = [
        (road.hot()?, Aside::Sealed, true),
        (road.cold()?, Aside::Retired, cold_leaves),
    ];
    for (side, why, is_asked) in sides {
        let role = side.tier.role();
        if is_asked {
            let rows = road.window_rows(side, window).count().await?;
            if rows > 0 {
                return Ok(Some(format!("{role} still holds {rows} rows of it")));
            }
        }
        let mut aside = set_aside(side, why).await?.into_iter();
        if let Some(aside) = aside.find(|aside| aside.span.intersection(&window).is_some()) {
            let table = aside.table;
            return Ok(Some(format!(
                "rows of it may be in {table}, set aside from {role}"
            )));
        }
    }
    Ok(None)
}

async fn remove(
    road: &Road,
    window: Window,
    cold_leaves: bool,
    turn: &mut Turn<'_>,
    work: &Work,
) -> Result<Left> {
    // From here on nobody else adds to it, or sets rows of it aside.
    turn.attempt().await?;
    if let Some(why) = still_held(road, window, cold_leaves).await? {
        return Ok(Left::Kept(why));
    }
    let generations = road.archive.generations(&road.dataset.name, window).await?;
    let rows = total(&generations).rows;
    let bytes = generations.iter().map(Manifest::bytes).sum();
    turn.note(Event::Expired).await?;
    work.step("removing", rows);
    road.archive
        .remove_window(&road.dataset.name, window)
        .await?;
    work.moved(rows, bytes);
    Ok(Left::Gone { rows, bytes })
}
