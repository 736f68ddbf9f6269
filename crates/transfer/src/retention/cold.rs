//! A partition leaves cold: proven to be in the archive, set aside where no worker adds to it, found to be the same, dropped.
//!
//! The leases of all its windows are held meanwhile, so that no other worker takes the rows that are set aside for rows that cold
//! lacks, and loads them again. A table that a crash left is given back, unless its windows were loaded again since.

use jiff::{SignedDuration, Timestamp};

use super::plan::{Expiry, is_due};
use crate::cleanup::set_aside::{
    SetAsideReason, SetAsideTable, give_back, name, only_partition, refuse_change, rename,
    set_aside,
};
use crate::dataset_run::DatasetRun;
use crate::plan::facts::windows_of;
use crate::plan::hot_inventory::{hours, partitionings};
use crate::plan::partitioning::cut;
use crate::rows::columns::check_takes;
use crate::rows::window_rows::Rows;
use crate::time_range::TimeRange;
use crate::window::archive_check::check_archive;
use crate::window::holdings::held_generations;
use crate::window::proof;
use crate::window::staging::create_like;
use mpsync_archive::{Lease, LeaseWatcher};
use mpsync_clickhouse::Partition;
use mpsync_core::dataset::{TierRole, Window};
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_core::progress::Work;

/// Cold's partitions that are past their retention, oldest first. None of a table that is not partitioned: no part of it can be
/// dropped in one step.
pub(super) async fn due(
    run: &DatasetRun,
    range: TimeRange,
    stays: SignedDuration,
    now: Timestamp,
) -> Result<Vec<(Partition, Window)>> {
    let cold = run.cold()?;
    let (_, by) = partitionings(run)?;
    let mut due = Vec::new();
    for partition in cold.tier.partitions(&cold.schema.table).await? {
        if partition.rows > 0
            && let Some(span) = by.span(&partition.value)?
            && is_due(span, range, stays, now)
        {
            due.push((partition, span));
        }
    }
    due.sort_by_key(|(_, span)| *span);
    Ok(due)
}

/// Drops a partition out of cold, if every row of it is in the archive and the archive's files are whole.
///
/// After an error with an answer the rows are given back to cold; without an answer they stay aside, and the next run finds them.
pub(super) async fn expire(
    run: &DatasetRun,
    watcher: &LeaseWatcher,
    partition: &Partition,
    span: Window,
    work: &Work,
) -> Result<Expiry> {
    work.step("proving", partition.rows);
    let cold = run.cold()?;
    let table = &cold.schema.table;
    let windows = windows(run, table, partition, span).await?;
    // Before any lease: rows that mpsync never moved belong to no task.
    let archived = run.archive.windows(&run.dataset.name, Some(span)).await?;
    if let Some(window) = windows.iter().find(|window| !archived.contains(window)) {
        return Ok(Expiry::Kept(unarchived(*window)));
    }
    let leases = hold(run, watcher, &windows).await?;
    let left = expire_held(run, partition, span, &leases, work).await;
    let_go(leases).await;
    left
}

async fn expire_held(
    run: &DatasetRun,
    partition: &Partition,
    span: Window,
    leases: &[Lease],
    work: &Work,
) -> Result<Expiry> {
    let cold = run.cold()?;
    let (engine, table) = (&cold.schema.engine, &cold.schema.table);
    let parts = cold.tier.parts(engine, table, Some(&partition.id)).await?;
    if let Some(why) = prove(run, table, partition, span).await? {
        return Ok(Expiry::Kept(why));
    }
    work.step("setting aside", 0);
    let attempt = leases.first().map_or(0, |lease| lease.attempt);
    let aside_table = SetAsideTable {
        table: name(table, SetAsideReason::Expiry, span, attempt),
        span,
    };
    create_like(cold, &aside_table.table).await?;
    for lease in leases {
        lease.check().await?;
    }
    let moved = cold
        .tier
        .move_partition(&partition.id, table, &aside_table.table);
    moved.await.context(|| format!("setting {span} aside"))?;
    let finish = async {
        let Some(moved) = only_partition(cold, &aside_table).await? else {
            return Err(stuck(&aside_table.table, "is empty after they were moved"));
        };
        let now = cold.tier.parts(engine, &aside_table.table, None).await?;
        // What was proven is what was moved; where parts cannot tell, the rows are asked again.
        if (now.is_none() || now != parts)
            && let Some(why) = prove(run, &aside_table.table, &moved, span).await?
        {
            return Err(stuck(&aside_table.table, &why));
        }
        refuse_change(cold, &aside_table, &moved).await?;
        work.step("dropping", moved.rows);
        cold.tier.drop_table(&aside_table.table).await?;
        work.moved(moved.rows, moved.bytes);
        Ok(Expiry::Removed {
            rows: moved.rows,
            bytes: moved.bytes,
        })
    };
    let e = match finish.await {
        Err(e) if !matches!(e.cause(), Cause::Transport(_) | Cause::Interrupted) => e,
        finished => return finished,
    };
    match give_back(cold, &aside_table).await {
        Ok(()) => Err(e),
        Err(back) => {
            tracing::error!(table = %aside_table.table, error = %back, "the rows could not be given back to cold; the next run finds them");
            Err(e.with_hint(format!("the rows are in {}", aside_table.table)))
        }
    }
}

/// Settles what a crash left aside; what a living worker has aside is left to it.
pub(super) async fn recover(run: &DatasetRun, watcher: &LeaseWatcher) -> Result<()> {
    for found in set_aside(run.cold()?, SetAsideReason::Expiry).await? {
        match settle(run, watcher, &found).await {
            Err(e) if matches!(e.cause(), Cause::Busy(_)) => {
                tracing::info!(table = %found.table, reason = %e, "another worker has it aside");
            }
            settled => settled.context(|| format!("settling {}", found.table))?,
        }
    }
    Ok(())
}

async fn settle(run: &DatasetRun, watcher: &LeaseWatcher, found: &SetAsideTable) -> Result<()> {
    let cold = run.cold()?;
    let Some(partition) = only_partition(cold, found).await? else {
        // An attempt that was about to move a partition into it finds no table, and fails.
        return cold.tier.drop_table(&found.table).await;
    };
    let windows = windows(run, &found.table, &partition, found.span).await?;
    let leases = hold(run, watcher, &windows).await?;
    let settled = settle_held(run, found, &leases, &windows).await;
    let_go(leases).await;
    settled
}

async fn settle_held(
    run: &DatasetRun,
    found: &SetAsideTable,
    leases: &[Lease],
    windows: &[Window],
) -> Result<()> {
    let cold = run.cold()?;
    let attempt = leases.first().map_or(0, |lease| lease.attempt);
    let Some(ours) = rename(cold, SetAsideReason::Expiry, found, attempt).await? else {
        return Ok(());
    };
    let mut loaded_again = 0;
    for window in windows {
        loaded_again += run.window_rows(cold, *window).count().await?;
    }
    if loaded_again == 0 {
        return give_back(cold, &ours).await;
    }
    let Some(partition) = only_partition(cold, &ours).await? else {
        return cold.tier.drop_table(&ours.table).await;
    };
    match prove(run, &ours.table, &partition, ours.span).await? {
        None => cold.tier.drop_table(&ours.table).await,
        Some(why) => Err(stuck(
            &ours.table,
            &format!("cold holds {loaded_again} rows of the same hours: {why}"),
        )),
    }
}

async fn hold(run: &DatasetRun, watcher: &LeaseWatcher, windows: &[Window]) -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    for window in windows {
        let name = &run.dataset.name;
        match Lease::try_acquire(&run.archive, name, *window, &run.holder, watcher).await {
            Ok(lease) => leases.push(lease),
            Err(e) => {
                let_go(leases).await;
                return Err(e);
            }
        }
    }
    Ok(leases)
}

async fn let_go(leases: Vec<Lease>) {
    for lease in leases {
        if let Err(e) = lease.release().await {
            tracing::warn!(error = %e, "a lease could not be given back; it will expire");
        }
    }
}

/// The windows in which a partition has rows, oldest first.
async fn windows(
    run: &DatasetRun,
    table: &str,
    partition: &Partition,
    span: Window,
) -> Result<Vec<Window>> {
    let cold = run.cold()?;
    let (hot_by, cold_by) = partitionings(run)?;
    let unit = cut(hot_by, cold_by);
    let ids = [partition.id.clone()];
    let hours = hours(&cold.tier, table, &run.dataset.time_column, &ids, unit).await?;
    let counted: u64 = hours.iter().map(|h| h.rows).sum();
    if counted != partition.rows {
        return Err(Error::integrity(format!(
            "{table} has {} rows of {span} in its parts and {counted} when they are read",
            partition.rows
        ))
        .with_hint("rows may be masked by a DELETE or a row policy; mpsync drops nothing that it cannot see"));
    }
    let windows = windows_of(hours.iter(), Some(span), unit, &partition.value)?;
    Ok(windows.into_keys().collect())
}

/// Whether every row of a partition is in the archive, and every file of it is whole: `None` where it is so, else why the partition
/// must stay. An integrity error where the archive and the rows contradict each other, or a file is damaged.
async fn prove(
    run: &DatasetRun,
    table: &str,
    partition: &Partition,
    span: Window,
) -> Result<Option<String>> {
    let cold = run.cold()?;
    for window in windows(run, table, partition, span).await? {
        let generations = run.generations(window).await?;
        let Some(first) = generations.first() else {
            return Ok(Some(unarchived(window)));
        };
        let columns = &first.schema.columns;
        check_takes(&cold.schema, columns)?;
        let rows = Rows {
            partition: Some(&partition.id),
            table,
            ..run.window_rows(cold, window)
        };
        let held = rows.fingerprint(columns).await?;
        let all: Vec<_> = generations.iter().map(|m| m.fingerprint).collect();
        if held_generations(held, &all).is_none() {
            return Err(proof::explain(&rows, held, &generations).await?);
        }
        if let Some(why) = check_archive(run, window, TierRole::Cold).await? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn unarchived(window: Window) -> String {
    format!("{window} is not in the archive")
}

/// An error for a table that this run has set aside and cannot settle.
fn stuck(table: &str, why: &str) -> Error {
    Error::integrity(format!("{table} holds rows of cold that were set aside, and {why}"))
        .with_hint("nothing of it was deleted; compare it with cold and the archive, and move its rows back or drop it by hand")
}
