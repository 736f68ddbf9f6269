//! A window leaves the archive.

use jiff::{SignedDuration, Timestamp};

use super::super::Range;
use super::super::road::{Road, total};
use super::super::task::Event;
use super::super::turn::Turn;
use super::is_due;
use super::plan::Left;
use crate::archive::{Manifest, Observer};
use crate::dataset::Window;
use crate::error::Result;
use crate::progress::Work;

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

/// Removes a window, unless a tier that is cleaned by itself still holds rows of it: what is in hot would be archived anew, and cold
/// could never be proven again.
pub(super) async fn leave(
    road: &Road,
    observer: &Observer,
    window: Window,
    cold_leaves: bool,
    work: &Work,
) -> Result<Left> {
    work.step("asking hot and cold", 0);
    for (side, is_asked) in [(road.hot()?, true), (road.cold()?, cold_leaves)] {
        if !is_asked {
            continue;
        }
        let rows = road.window_rows(side, window).count().await?;
        if rows > 0 {
            return Ok(Left::Kept(format!(
                "{} still holds {rows} rows of it",
                side.tier.role()
            )));
        }
    }
    let mut turn = Turn::new(road, window, observer);
    let removed = remove(road, window, &mut turn, work).await;
    turn.end(removed.as_ref().err()).await;
    removed
}

async fn remove(road: &Road, window: Window, turn: &mut Turn<'_>, work: &Work) -> Result<Left> {
    // From here on nobody else adds to it.
    turn.attempt().await?;
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
