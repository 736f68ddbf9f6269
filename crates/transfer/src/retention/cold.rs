//! A partition leaves cold: proven to be in the archive, set aside where nobody adds to it, found to be the same, dropped.
//!
//! The leases of all its windows are held meanwhile, so that no other worker takes the rows that are set aside for rows that cold
//! lacks, and loads them again. A table that a crash left is given back, unless its windows were loaded again since.

use jiff::{SignedDuration, Timestamp};

use super::super::Range;
use super::super::holdings::held_generations;
use super::super::partitioning::cut;
use super::super::plan::windows_of;
use super::super::proof;
use super::super::road::Road;
use super::super::rows::{Rows, check_takes};
use super::super::seal::{
    Aside, Sealed, give_back, name, only_partition, refuse_change, rename, set_aside,
};
use super::super::staging::create_like;
use super::super::survey::{hours, partitionings};
use super::plan::Left;
use super::{is_due, stuck};
use mpsync_archive::{Depth, Lease, Observer, Severity, verify};
use mpsync_clickhouse::Partition;
use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_core::progress::Work;

/// Cold's partitions that are past their retention, oldest first. None of a table that is not partitioned: no part of it can be
/// dropped in one step.
pub(super) async fn due(
    road: &Road,
    range: Range,
    stays: SignedDuration,
    now: Timestamp,
) -> Result<Vec<(Partition, Window)>> {
    let cold = road.cold()?;
    let (_, by) = partitionings(road)?;
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
pub(super) async fn leave(
    road: &Road,
    observer: &Observer,
    partition: &Partition,
    span: Window,
    work: &Work,
) -> Result<Left> {
    work.step("proving", partition.rows);
    let cold = road.cold()?;
    let table = &cold.schema.table;
    let windows = windows(road, table, partition, span).await?;
    // Before any lease: rows that mpsync never moved are no task of anybody's.
    let archived = road.archive.windows(&road.dataset.name, Some(span)).await?;
    if let Some(window) = windows.iter().find(|window| !archived.contains(window)) {
        return Ok(Left::Kept(unarchived(*window)));
    }
    let leases = hold(road, observer, &windows).await?;
    let left = leave_held(road, partition, span, &leases, work).await;
    let_go(leases).await;
    left
}

async fn leave_held(
    road: &Road,
    partition: &Partition,
    span: Window,
    leases: &[Lease],
    work: &Work,
) -> Result<Left> {
    let cold = road.cold()?;
    let (engine, table) = (&cold.schema.engine, &cold.schema.table);
    let parts = cold.tier.parts(engine, table, Some(&partition.id)).await?;
    if let Some(why) = prove(road, table, partition, span).await? {
        return Ok(Left::Kept(why));
    }
    work.step("setting aside", 0);
    let attempt = leases.first().map_or(0, |lease| lease.attempt);
    let aside = Sealed {
        table: name(table, Aside::Retired, span, attempt),
        span,
    };
    create_like(cold, &aside.table).await?;
    for lease in leases {
        lease.check().await?;
    }
    let moved = cold.tier.move_partition(&partition.id, table, &aside.table);
    moved.await.doing(|| format!("setting {span} aside"))?;
    let finish = async {
        let Some(moved) = only_partition(cold, &aside).await? else {
            return Err(stuck(&aside.table, "is empty after they were moved"));
        };
        let now = cold.tier.parts(engine, &aside.table, None).await?;
        // What was proven is what was moved; where parts cannot tell, the rows are asked again.
        if (now.is_none() || now != parts)
            && let Some(why) = prove(road, &aside.table, &moved, span).await?
        {
            return Err(stuck(&aside.table, &why));
        }
        refuse_change(cold, &aside, &moved).await?;
        work.step("dropping", moved.rows);
        cold.tier.drop_table(&aside.table).await?;
        work.moved(moved.rows, moved.bytes);
        Ok(Left::Gone {
            rows: moved.rows,
            bytes: moved.bytes,
        })
    };
    let e = match finish.await {
        Err(e) if !matches!(e.cause(), Cause::Transport(_) | Cause::Interrupted) => e,
        finished => return finished,
    };
    match give_back(cold, &aside).await {
        Ok(()) => Err(e),
        Err(back) => {
            tracing::error!(table = %aside.table, error = %back, "the rows could not be given back to cold; the next run finds them");
            Err(e.hint(format!("the rows are in {}", aside.table)))
        }
    }
}

/// Settles what a crash left aside; what a living worker has aside is left to it.
pub(super) async fn recover(road: &Road, observer: &Observer) -> Result<()> {
    for found in set_aside(road.cold()?, Aside::Retired).await? {
        match settle(road, observer, &found).await {
            Err(e) if matches!(e.cause(), Cause::Busy(_)) => {
                tracing::info!(table = %found.table, reason = %e, "another worker has it aside");
            }
            settled => settled.doing(|| format!("settling {}", found.table))?,
        }
    }
    Ok(())
}

async fn settle(road: &Road, observer: &Observer, found: &Sealed) -> Result<()> {
    let cold = road.cold()?;
    let Some(partition) = only_partition(cold, found).await? else {
        // Whoever was about to move a partition into it finds no table, and says so.
        return cold.tier.drop_table(&found.table).await;
    };
    let windows = windows(road, &found.table, &partition, found.span).await?;
    let leases = hold(road, observer, &windows).await?;
    let settled = settle_held(road, found, &leases, &windows).await;
    let_go(leases).await;
    settled
}

async fn settle_held(
    road: &Road,
    found: &Sealed,
    leases: &[Lease],
    windows: &[Window],
) -> Result<()> {
    let cold = road.cold()?;
    let attempt = leases.first().map_or(0, |lease| lease.attempt);
    let Some(ours) = rename(cold, Aside::Retired, found, attempt).await? else {
        return Ok(());
    };
    let mut loaded_again = 0;
    for window in windows {
        loaded_again += road.window_rows(cold, *window).count().await?;
    }
    if loaded_again == 0 {
        return give_back(cold, &ours).await;
    }
    let Some(partition) = only_partition(cold, &ours).await? else {
        return cold.tier.drop_table(&ours.table).await;
    };
    match prove(road, &ours.table, &partition, ours.span).await? {
        None => cold.tier.drop_table(&ours.table).await,
        Some(why) => Err(stuck(
            &ours.table,
            &format!("cold holds {loaded_again} rows of the same hours: {why}"),
        )),
    }
}

async fn hold(road: &Road, observer: &Observer, windows: &[Window]) -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    for window in windows {
        let name = &road.dataset.name;
        match Lease::try_acquire(&road.archive, name, *window, &road.holder, observer).await {
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
    road: &Road,
    table: &str,
    partition: &Partition,
    span: Window,
) -> Result<Vec<Window>> {
    let cold = road.cold()?;
    let (hot_by, cold_by) = partitionings(road)?;
    let unit = cut(hot_by, cold_by);
    let ids = [partition.id.clone()];
    let hours = hours(&cold.tier, table, &road.dataset.time_column, &ids, unit).await?;
    let counted: u64 = hours.iter().map(|h| h.rows).sum();
    if counted != partition.rows {
        return Err(Error::integrity(format!(
            "{table} has {} rows of {span} in its parts and {counted} when they are read",
            partition.rows
        ))
        .hint("rows may be masked by a DELETE or a row policy; mpsync drops nothing that it cannot see"));
    }
    let windows = windows_of(hours.iter(), Some(span), unit, &partition.value)?;
    Ok(windows.into_keys().collect())
}

/// Whether every row of a partition is in the archive, and every file of it is whole: `None` where it is so, else why the partition
/// must stay. An integrity error where the archive and the rows contradict each other, or a file is damaged.
async fn prove(
    road: &Road,
    table: &str,
    partition: &Partition,
    span: Window,
) -> Result<Option<String>> {
    let cold = road.cold()?;
    for window in windows(road, table, partition, span).await? {
        let generations = road.generations(window).await?;
        let Some(first) = generations.first() else {
            return Ok(Some(unarchived(window)));
        };
        let columns = &first.schema.columns;
        check_takes(&cold.schema, columns)?;
        let rows = Rows {
            partition: Some(&partition.id),
            table,
            ..road.window_rows(cold, window)
        };
        let held = rows.fingerprint(columns).await?;
        let all: Vec<_> = generations.iter().map(|m| m.fingerprint).collect();
        if held_generations(held, &all).is_none() {
            return Err(proof::explain(&rows, held, &generations).await?);
        }
        if let Some(why) = damage(road, window).await? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn unarchived(window: Window) -> String {
    format!("{window} is not in the archive")
}

/// Why the archived files of a window cannot be relied upon now; an integrity error where one is damaged.
async fn damage(road: &Road, window: Window) -> Result<Option<String>> {
    let findings = verify(&road.archive, &road.dataset.name, window, Depth::Bytes).await;
    for finding in findings {
        match finding.kind.severity() {
            Severity::Info => {}
            Severity::Unknown => return Ok(Some(finding.to_string())),
            Severity::Damage => {
                return Err(Error::integrity(format!(
                    "{}: {}; cold keeps its rows",
                    finding.generation, finding.text
                ))
                .hint(finding.remedy));
            }
        }
    }
    Ok(None)
}
