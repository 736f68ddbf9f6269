//! Tables into which a partition is moved, where no late row can reach it: their names, and the moves.

use crate::dataset_run::{DatasetRun, TierTable};
use crate::plan::partitioning::{window_from_name, window_in_name};
use crate::window::staging::wait_for_queries;
use mpsync_clickhouse::{Partition, UNKNOWN_TABLE};
use mpsync_core::dataset::Window;
use mpsync_core::error::{Error, Result};

/// A table of the dataset into which a partition was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetAsideTable {
    /// Its name.
    pub(crate) table: String,
    /// The span of the partition that was moved into it.
    pub(crate) span: Window,
}

/// The reason why a partition was set aside; part of its table's name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SetAsideReason {
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

pub(crate) fn name(table: &str, why: SetAsideReason, span: Window, attempt: u64) -> String {
    format!("{}{}_a{attempt}", prefix(table, why), window_in_name(span))
}

/// The span in the name of such a table; `None` for any other table.
fn span_in(table: &str, why: SetAsideReason, name: &str) -> Option<Window> {
    let (span, attempt) = name.strip_prefix(&prefix(table, why))?.rsplit_once("_a")?;
    attempt.parse::<u64>().ok()?;
    window_from_name(span)
}

/// The sealed tables of the dataset: those of a worker that is cleaning now, and those that a crash left.
pub(crate) async fn tables_set_aside_from_hot(run: &DatasetRun) -> Result<Vec<SetAsideTable>> {
    set_aside(run.hot()?, SetAsideReason::Cleanup).await
}

/// The tables into which partitions of the dataset's table were moved for this reason, by any worker.
pub(crate) async fn set_aside(
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

/// The one partition of a sealed table; `None` where it is empty.
///
/// A partition that was moved away is listed with no rows for a while: the server puts an empty part in its place.
pub(crate) async fn only_partition(
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
        .with_hint("another program wrote to it; move its rows back by hand")),
    }
}

/// A last look before the drop: what was proven is what is there.
pub(crate) async fn refuse_change(
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
pub(crate) async fn give_back(hot: &TierTable, aside_table: &SetAsideTable) -> Result<()> {
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

/// Gives a table that an interrupted attempt left the name of this attempt: from here on its maker finds none of the old
/// name, neither to move into, nor to drop, nor to give back. `None` if another worker was faster.
pub(crate) async fn rename(
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
