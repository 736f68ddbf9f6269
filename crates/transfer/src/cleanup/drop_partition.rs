//! Cleanup without a race: a partition is moved aside, where no late row can reach it, proven row by row, and dropped.
//!
//! The name of the set-aside table contains the partition's span and the attempt, and is never used twice. A table that a crash
//! left is taken over under a new name, which fences out its maker, and is then finished or given back.

use std::collections::BTreeMap;
use std::time::Instant;

use super::set_aside::{
    SetAsideReason, SetAsideTable, give_back, name, only_partition, refuse_change, rename,
    tables_set_aside_from_hot,
};
use crate::dataset_run::{DatasetRun, SourceTable};
use crate::plan::facts::windows_of;
use crate::plan::hot_inventory::{hours, partitionings};
use crate::plan::partitioning::cut;
use crate::request::Goal;
use crate::window::archive_check::check_before_removal;
use crate::window::drive::{Driven, drive};
use crate::window::holdings::total;
use crate::window::staging::create_like;
use crate::window::task::Stage;
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::LeaseWatcher;
use mpsync_clickhouse::Partition;
use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_core::progress::Work;

/// The result of a cleanup.
#[derive(Debug, Default)]
pub(crate) struct Cleaned {
    /// Rows that hot no longer holds.
    pub(crate) rows: u64,
    /// How far each window of the partition came, the supplements found on the way included.
    pub(crate) windows: Vec<(Window, Driven)>,
}

/// Cleans a partition, all of whose windows are proven: seal, prove again, drop. What an earlier try at the same partition
/// left behind is finished first.
///
/// After an error with an answer the rows are given back to hot; without an answer the sealed table stays, and the next
/// try finds out what became of it.
pub(crate) async fn clean(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    partition: &str,
    span: Window,
    work: &Work,
) -> Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    for left in tables_set_aside_from_hot(run).await? {
        if left.span == span
            && let Some(more) = recover(run, watcher, &left, true, work).await?
        {
            cleaned.add(more);
        }
    }
    let mut window_attempt = WindowAttempt::new(run, span, watcher);
    let done = set_aside_and_finish(run, watcher, partition, span, &mut window_attempt, work).await;
    let done = window_attempt.end(done).await;
    cleaned.add(done?);
    Ok(cleaned)
}

impl Cleaned {
    fn add(&mut self, more: Self) {
        self.rows += more.rows;
        self.windows.extend(more.windows);
    }
}

async fn set_aside_and_finish(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    partition: &str,
    span: Window,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Cleaned> {
    work.step("sealing", 0);
    let hot = run.hot()?;
    if hot.is_replicated() {
        return Err(Error::schema(format!(
            "{} is replicated: a partition operation would take rows that this replica has not fetched",
            hot.tier.table(&hot.schema.table)
        )));
    }
    let attempt = window_attempt.attempt().await?;
    // Before anything is moved: what the archive does not hold whole stays where it is.
    let archived = run.archive.windows(&run.dataset.name, Some(span)).await?;
    for window in archived {
        check_before_removal(run, window).await?;
    }
    let aside_table = SetAsideTable {
        table: name(&hot.schema.table, SetAsideReason::Cleanup, span, attempt),
        span,
    };
    create_like(hot, &aside_table.table).await?;
    hot.tier
        .move_partition(partition, &hot.schema.table, &aside_table.table)
        .await
        .context(|| format!("sealing {span}"))?;
    finish_or_give_back(run, watcher, &aside_table, window_attempt, work).await
}

async fn finish_or_give_back(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    aside_table: &SetAsideTable,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Cleaned> {
    let finished = finish(run, watcher, aside_table, window_attempt, work).await;
    let Err(e) = finished else { return finished };
    let in_doubt = matches!(e.cause(), Cause::Transport(_) | Cause::Interrupted);
    if in_doubt {
        return Err(e);
    }
    match give_back(run.hot()?, aside_table).await {
        Ok(()) => Err(e),
        Err(back) => {
            tracing::error!(table = %aside_table.table, error = %back, "the sealed rows could not be given back; the next run finds them");
            Err(e.with_hint(format!("the rows are in {}", aside_table.table)))
        }
    }
}

/// Proves every row of a set-aside table and drops it. No other attempt can reach the table.
async fn finish(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    aside_table: &SetAsideTable,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Cleaned> {
    let started = Instant::now();
    let hot = run.hot()?;
    let mut cleaned = Cleaned::default();
    let mut bytes = 0;
    if let Some(partition) = only_partition(hot, aside_table).await? {
        (cleaned.rows, bytes) = (partition.rows, partition.bytes);
        for (window, rows) in windows(run, aside_table, &partition).await? {
            let source = SourceTable {
                table: aside_table.table.clone(),
                partition: partition.id.clone(),
                rows,
            };
            let driven = prove(
                run,
                watcher,
                aside_table,
                &source,
                window,
                window_attempt,
                work,
            )
            .await?;
            check_before_removal(run, window).await?;
            cleaned.windows.push((window, driven));
        }
        check_counts(aside_table, &partition, &cleaned)?;
        refuse_change(hot, aside_table, &partition).await?;
    }
    work.step("dropping", cleaned.rows);
    hot.tier.drop_table(&aside_table.table).await?;
    work.moved(cleaned.rows, bytes);
    window_attempt.reached(Stage::Cleaned).await?;
    tracing::info!(span = %aside_table.span, rows = cleaned.rows, bytes, duration = started.elapsed().as_secs_f64(), "hot cleaned");
    Ok(cleaned)
}

/// Compares the three counts on which a partition is dropped: the rows that the server's metadata lists, those that the proof
/// read and found in the archive, and those that the manifests hold.
fn check_counts(
    aside_table: &SetAsideTable,
    partition: &Partition,
    cleaned: &Cleaned,
) -> Result<()> {
    let matched: u64 = cleaned.windows.iter().map(|(_, d)| d.matched).sum();
    let archived = |driven: &Driven| total(&driven.generations).rows;
    let manifests: u64 = cleaned.windows.iter().map(|(_, d)| archived(d)).sum();
    // Hot may hold less of a window than the archive: rows that came late, after an earlier cleanup.
    let covered = cleaned
        .windows
        .iter()
        .all(|(_, d)| d.matched <= archived(d));
    if matched == partition.rows && covered {
        return Ok(());
    }
    Err(Error::integrity(format!(
        "{} has {} rows by the server's metadata, {matched} were read and found in the archive, and the manifests hold {manifests}",
        aside_table.table, partition.rows
    ))
    .with_hint("nothing was deleted; run `mpsync verify --deep` and look for row policies and limits of the user's profile"))
}

/// Drives one window of a sealed partition to its proof.
async fn prove(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    aside_table: &SetAsideTable,
    source: &SourceTable,
    window: Window,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Driven> {
    let driven = if window == aside_table.span {
        Box::pin(drive(
            run,
            Some(source),
            window,
            Goal::Sync,
            window_attempt,
            work,
        ))
        .await?
    } else {
        let mut own = WindowAttempt::new(run, window, watcher);
        let driven = Box::pin(drive(run, Some(source), window, Goal::Sync, &mut own, work)).await;
        own.end(driven).await?
    };
    if driven.stage == Stage::Verified {
        return Ok(driven);
    }
    Err(Error::integrity(format!(
        "{window} of {} was only {}, which is not enough to drop it",
        aside_table.table, driven.stage
    )))
}

/// The windows in which a sealed partition has rows, all of them within the span that its name says.
async fn windows(
    run: &DatasetRun,
    aside_table: &SetAsideTable,
    partition: &Partition,
) -> Result<BTreeMap<Window, u64>> {
    let hot = run.hot()?;
    let (hot_by, cold_by) = partitionings(run)?;
    let unit = cut(hot_by, cold_by);
    let ids = [partition.id.clone()];
    let time_column = &run.dataset.time_column;
    let hours = hours(&hot.tier, &aside_table.table, time_column, &ids, unit).await?;
    let counted: u64 = hours.iter().map(|h| h.rows).sum();
    if counted != partition.rows {
        return Err(Error::integrity(format!(
            "{} has {} rows in its parts and {counted} when they are read",
            aside_table.table, partition.rows
        ))
        .with_hint("rows may be masked by a DELETE or a row policy; mpsync drops nothing that it cannot see"));
    }
    windows_of(hours.iter(), Some(aside_table.span), unit, &partition.value)
}

/// Takes over a sealed table that was found, and finishes it, or gives it back where hot is not to be cleaned.
///
/// A busy error where its maker is alive. `None` when it was gone by the time that it was ours.
pub(crate) async fn recover(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    found: &SetAsideTable,
    finish: bool,
    work: &Work,
) -> Result<Option<Cleaned>> {
    let mut window_attempt = WindowAttempt::new(run, found.span, watcher);
    let done = take_over(run, watcher, found, finish, &mut window_attempt, work).await;
    window_attempt.end(done).await
}

async fn take_over(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    found: &SetAsideTable,
    finish: bool,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Option<Cleaned>> {
    work.step("recovering", 0);
    let hot = run.hot()?;
    let attempt = window_attempt.attempt().await?;
    let Some(ours) = rename(hot, SetAsideReason::Cleanup, found, attempt).await? else {
        return Ok(None);
    };
    tracing::warn!(from = %found.table, to = %ours.table, finish, "took over what an interrupted cleanup left");
    if finish {
        return finish_or_give_back(run, watcher, &ours, window_attempt, work)
            .await
            .map(Some);
    }
    give_back(hot, &ours).await?;
    Ok(Some(Cleaned::default()))
}
