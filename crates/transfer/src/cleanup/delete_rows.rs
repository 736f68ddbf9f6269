//! Cleanup where a window is not whole partitions: its proven rows are deleted one by one, and no others.
//!
//! The archived rows of the window are loaded into a table beside hot's, and proven there. Of a table with positions, exactly the
//! rows are deleted that have an archived row's position and hash: what arrives meanwhile is not among them. Without positions
//! a row that arrives now may look like an archived one, so only the parts that were proven are touched, by their names: a part
//! that was merged in the meantime has another name, and its rows stay for the next try.

use std::time::Instant;

use super::by_position::delete_by_position;
use crate::cleanup::drop_partition::Cleaned;
use crate::dataset_run::{DatasetRun, SourceTable};
use crate::request::Goal;
use crate::rows::columns::have_positions;
use crate::rows::deletion::in_parts;
use crate::rows::window_rows::Rows;
use crate::window::archive_check::check_before_removal;
use crate::window::drive::drive;
use crate::window::staging::Scratch;
use crate::window::task::Stage;
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::{LeaseWatcher, Manifest};
use mpsync_core::dataset::Window;
use mpsync_core::error::{Error, Result};
use mpsync_core::progress::Work;

/// How often the rows of parts that were merged meanwhile are tried again.
const TRIES: u32 = 5;

/// Deletes the proven rows of a window from hot, and looks that they are gone.
///
/// Can be cut off anywhere: what is deleted is in the archive and in cold, whatever becomes of the rest.
pub(crate) async fn delete_rows(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    source: &SourceTable,
    window: Window,
    work: &Work,
) -> Result<Cleaned> {
    let mut window_attempt = WindowAttempt::new(run, window, watcher);
    let done = prove_and_delete(run, source, window, &mut window_attempt, work).await;
    window_attempt.end(done).await
}

async fn prove_and_delete(
    run: &DatasetRun,
    source: &SourceTable,
    window: Window,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Cleaned> {
    let started = Instant::now();
    let attempt = window_attempt.attempt().await?;
    let driven = Box::pin(drive(
        run,
        Some(source),
        window,
        Goal::Sync,
        window_attempt,
        work,
    ))
    .await?;
    if driven.stage != Stage::Verified {
        return Err(Error::busy(format!(
            "rows of {window} keep arriving: it was only {}, which is not enough to delete them",
            driven.stage
        )));
    }
    if run.hot()?.is_replicated() {
        work.step("deleting", 0);
        check_before_removal(run, window).await?;
        let rows = delete_by_position(run, source, window, &driven.generations).await?;
        window_attempt.reached(Stage::Cleaned).await?;
        tracing::info!(dataset = %run.dataset.name, %window, rows, duration = started.elapsed().as_secs_f64(), "hot cleaned by position");
        return Ok(Cleaned {
            rows,
            windows: vec![(window, driven)],
        });
    }
    work.step("comparing", 0);
    let (hot, generations) = (run.hot()?, &driven.generations);
    let scratch = Scratch::fill(run, hot, window, generations, attempt, work).await?;
    work.step("deleting", 0);
    let rows = run.window_rows(hot, window);
    let deleted = async {
        check_before_removal(run, window).await?;
        // Without positions, rows are deleted by the names of their parts, those that no query sees included.
        run.source_rows(source, window)?.check_visible().await?;
        delete(&rows, &scratch.rows(), generations).await
    };
    let deleted = deleted.await;
    // A deletion without an answer may still be running, and needs the table.
    if !matches!(&deleted, Err(e) if is_in_doubt(e)) {
        scratch.remove().await?;
    }
    let mut cleaned = Cleaned {
        rows: deleted?,
        windows: Vec::new(),
    };
    window_attempt.reached(Stage::Cleaned).await?;
    tracing::info!(dataset = %run.dataset.name, %window, rows = cleaned.rows, duration = ?started.elapsed(), "hot cleaned by deletion");
    cleaned.windows.push((window, driven));
    Ok(cleaned)
}

fn is_in_doubt(e: &Error) -> bool {
    use mpsync_core::error::{Cause, Disposition};
    match e.cause() {
        Cause::Transport(_) | Cause::Interrupted => true,
        Cause::Server { .. } => e.disposition() == Disposition::Retry,
        _ => false,
    }
}

/// Deletes the archived ones of the rows; gives how many.
async fn delete(rows: &Rows<'_>, archived: &Rows<'_>, generations: &[Manifest]) -> Result<u64> {
    let Some(first) = generations.first() else {
        return Ok(0);
    };
    let columns = &first.schema.columns;
    let mut deleted = 0;
    for _ in 0..TRIES {
        let proven = if have_positions(columns) {
            rows.archived_condition(archived, columns)
        } else {
            let Some(parts) = rows.proven_parts(archived, columns).await? else {
                continue;
            };
            if parts.is_empty() {
                return Ok(deleted);
            }
            in_parts(&parts)
        };
        let before = rows.count_where(&proven).await?;
        if before == 0 {
            return Ok(deleted);
        }
        rows.delete_where(&proven).await?;
        deleted += before - rows.count_where(&proven).await?.min(before);
    }
    Err(Error::busy(format!(
        "parts of {} are merged faster than the rows in them can be deleted",
        rows.tier.table(rows.table)
    ))
    .with_hint("nothing is lost; the next sync goes on"))
}
