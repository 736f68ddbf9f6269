//! Cleanup without a race: a partition is moved aside, where no late row can reach it, proven row by row, and dropped.
//!
//! The sealed table's name bears the partition's span and the attempt, and is never used twice. One that a crash left is
//! taken over under a new name, which shuts its maker out, and then finished or given back.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Goal;
use super::dataset_run::{DatasetRun, SourceTable, TierTable};
use super::drive::{Driven, drive};
use super::hot_inventory::{hours, partitionings};
use super::partitioning::{cut, window_from_name, window_in_name};
use super::plan::windows_of;
use super::staging::{create_like, wait_for_queries};
use super::task::Stage;
use super::window_attempt::WindowAttempt;
use mpsync_archive::LeaseWatcher;
use mpsync_clickhouse::{Partition, UNKNOWN_TABLE};
use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_core::progress::Work;

/// A sealed table of the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetAsideTable {
    /// Its name.
    pub(super) table: String,
    /// The span of the partition that was moved into it.
    pub(super) span: Window,
}

/// What came of a cleanup.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    /// Rows that hot no longer holds.
    pub(super) rows: u64,
    /// How far each window of the partition came, the supplements found on the way included.
    pub(super) windows: Vec<(Window, Driven)>,
}

/// Why a partition was moved aside: in its table's name.
#[derive(Debug, Clone, Copy)]
pub(super) enum SetAsideReason {
    /// Hot's, to be cleaned.
    Cleanup,
    /// Cold's, past its retention.
    Expiry,
}

/// The beginning of the names of the tables into which partitions of a table are moved.
fn prefix(table: &str, why: SetAsideReason) -> String {
    match why {
        SetAsideReason::Cleanup => format!("{table}_sealed_"),
        SetAsideReason::Expiry => format!("{table}_retired_"),
    }
}

pub(super) fn name(table: &str, why: SetAsideReason, span: Window, attempt: u64) -> String {
    format!("{}{}_a{attempt}", prefix(table, why), window_in_name(span))
}

/// The span in the name of such a table; `None` for any other table.
fn span_in(table: &str, why: SetAsideReason, name: &str) -> Option<Window> {
    let (span, attempt) = name.strip_prefix(&prefix(table, why))?.rsplit_once("_a")?;
    attempt.parse::<u64>().ok()?;
    window_from_name(span)
}

/// The sealed tables of the dataset: those of a worker that is cleaning now, and those that a crash left.
pub(super) async fn tables_set_aside_from_hot(run: &DatasetRun) -> Result<Vec<SetAsideTable>> {
    set_aside(run.hot()?, SetAsideReason::Cleanup).await
}

/// The tables into which partitions of the dataset's table were moved for this reason, by whomever.
pub(super) async fn set_aside(
    tier_table: &TierTable,
    why: SetAsideReason,
) -> Result<Vec<SetAsideTable>> {
    let own = &tier_table.schema.table;
    let found = tier_table
        .tier
        .tables_with_prefix(&prefix(own, why))
        .await?;
    Ok(found
        .into_iter()
        .filter_map(|table| {
            let span = span_in(own, why, &table)?;
            Some(SetAsideTable { table, span })
        })
        .collect())
}

/// Cleans a partition, all of whose windows are proven: seal, prove again, drop. What an earlier try at the same partition
/// left behind is finished first.
///
/// After an error with an answer the rows are given back to hot; without an answer the sealed table stays, and the next
/// try finds out what became of it.
pub(super) async fn clean(
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
    let attempt = window_attempt.attempt().await?;
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

/// Proves every row of a sealed table and drops it. Nobody but this attempt can reach the table.
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
            cleaned.windows.push((window, driven));
        }
        refuse_change(hot, aside_table, &partition).await?;
    }
    work.step("dropping", cleaned.rows);
    hot.tier.drop_table(&aside_table.table).await?;
    work.moved(cleaned.rows, bytes);
    window_attempt.reached(Stage::Cleaned).await?;
    tracing::info!(span = %aside_table.span, rows = cleaned.rows, bytes, duration = started.elapsed().as_secs_f64(), "hot cleaned");
    Ok(cleaned)
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
        "{window} of {} was only {}, which is no ground for dropping it",
        aside_table.table, driven.stage
    )))
}

/// The one partition of a sealed table; `None` where it is empty.
///
/// A partition that was moved away is listed with no rows for a while: the server puts an empty part in its place.
pub(super) async fn only_partition(
    hot: &TierTable,
    aside_table: &SetAsideTable,
) -> Result<Option<Partition>> {
    let mut partitions = hot.tier.partitions(&aside_table.table).await?;
    partitions.retain(|p| p.rows > 0);
    match partitions.len() {
        0 => Ok(None),
        1 => Ok(partitions.pop()),
        n => Err(Error::integrity(format!(
            "{} has {n} partitions, and one was moved into it",
            aside_table.table
        ))
        .with_hint("somebody else wrote to it; move its rows back by hand")),
    }
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

/// A last look before the drop: what was proven is what is there.
pub(super) async fn refuse_change(
    hot: &TierTable,
    aside_table: &SetAsideTable,
    proven: &Partition,
) -> Result<()> {
    match only_partition(hot, aside_table).await? {
        Some(now) if now.rows == proven.rows && now.id == proven.id => Ok(()),
        now => Err(Error::integrity(format!(
            "{} had {} rows when it was proven, and has {} now",
            aside_table.table,
            proven.rows,
            now.map_or(0, |p| p.rows)
        ))),
    }
}

/// Moves a partition that was set aside back to where it came from.
pub(super) async fn give_back(hot: &TierTable, aside_table: &SetAsideTable) -> Result<()> {
    if let Some(partition) = only_partition(hot, aside_table).await? {
        hot.tier
            .move_partition(&partition.id, &aside_table.table, &hot.schema.table)
            .await?;
    }
    if let Some(left) = only_partition(hot, aside_table).await? {
        return Err(Error::integrity(format!(
            "{} still has {} rows after they were moved back",
            aside_table.table, left.rows
        )));
    }
    tracing::warn!(table = %aside_table.table, "the rows that were set aside were given back");
    hot.tier.drop_table(&aside_table.table).await
}

/// Takes over a sealed table that was found, and finishes it, or gives it back where hot is not to be cleaned.
///
/// A busy error where its maker is alive. `None` when it was gone by the time that it was ours.
pub(super) async fn recover(
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

/// Gives a table that an interrupted attempt left the name of this attempt: from here on its maker finds none of the old
/// name, neither to move into, nor to drop, nor to give back. `None` where somebody else was faster.
pub(super) async fn rename(
    tier_table: &TierTable,
    why: SetAsideReason,
    found: &SetAsideTable,
    attempt: u64,
) -> Result<Option<SetAsideTable>> {
    let ours = SetAsideTable {
        table: name(&tier_table.schema.table, why, found.span, attempt),
        span: found.span,
    };
    let sql = format!(
        "RENAME TABLE {} TO {}",
        tier_table.tier.table(&found.table),
        tier_table.tier.table(&ours.table)
    );
    match tier_table.tier.execute(&sql).await {
        Err(e) if e.server_code() == Some(UNKNOWN_TABLE) => return Ok(None),
        renamed => renamed?,
    }
    wait_for_queries(&tier_table.tier, &found.table).await?;
    Ok(Some(ours))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_table_is_known_by_its_name_and_no_other_is() {
        for id in [
            "2026-01-01T05",
            "2026-01-01",
            "2026-02-01T00:00:00Z_2026-03-01T00:00:00Z",
        ] {
            let span: Window = id.parse().unwrap();
            for why in [SetAsideReason::Cleanup, SetAsideReason::Expiry] {
                let named = name("trades", why, span, 12);
                assert_eq!(span_in("trades", why, &named), Some(span));
            }
        }
        for other in [
            "trades",
            "trades_sealed_",
            "trades_sealed_20260101T05",
            "trades_sealed_x_a1",
            "trades_sealed_20260101T05_ab",
            "trades_retired_20260101T05_a1",
        ] {
            assert_eq!(
                span_in("trades", SetAsideReason::Cleanup, other),
                None,
                "{other}"
            );
        }
    }
}
