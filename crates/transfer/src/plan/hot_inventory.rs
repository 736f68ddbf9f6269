//! The contents of hot, asked of hot itself: its partitions, and their rows by the hour.

use clickhouse::Row;
use jiff::Timestamp;
use serde::Deserialize;

use crate::dataset_run::DatasetRun;
use crate::plan::facts::{HotInventory, HourFacts, PartitionFacts};
use crate::plan::partitioning::{CalendarUnit, Partitioning, cut};
use crate::rows::columns::{archived_columns, have_positions};
use crate::time_range::TimeRange;
use mpsync_clickhouse::{Tier, ident};
use mpsync_core::dataset::Window;
use mpsync_core::error::Result;

#[derive(Row, Deserialize)]
struct HourRow {
    partition: String,
    rows: u64,
    min_ms: i64,
    max_ms: i64,
}

/// The rows of some partitions of a table, by the hour where a partition has rows in more than one window of this unit.
pub(crate) async fn hours(
    tier: &Tier,
    table: &str,
    time_column: &str,
    partitions: &[String],
    unit: CalendarUnit,
) -> Result<Vec<HourFacts>> {
    // The first and the last time of a partition are in the parts' own indexes: no row is read for them. The times are
    // converted after the aggregation, or the indexes would not answer.
    let time = ident(time_column);
    let whole = format!(
        "SELECT _partition_id AS partition, count() AS rows, {} AS min_ms, {} AS max_ms FROM {} \
         WHERE has({{partitions:Array(String)}}, _partition_id) GROUP BY partition ORDER BY partition",
        milliseconds(&format!("min({time})")),
        milliseconds(&format!("max({time})")),
        tier.table(table)
    );
    let (mut known, mut open) = (Vec::new(), Vec::new());
    for facts in count_times(tier, table, &whole, partitions).await? {
        match in_one_window(&facts, unit) {
            true => known.push(facts),
            false => open.push(facts.partition),
        }
    }
    if !open.is_empty() {
        let ms = milliseconds(&time);
        let by_hour = format!(
            "SELECT _partition_id AS partition, count() AS rows, min({ms}) AS min_ms, max({ms}) AS max_ms FROM {} \
             WHERE has({{partitions:Array(String)}}, _partition_id) \
             GROUP BY partition, intDiv({ms}, 3600000) ORDER BY partition, min_ms",
            tier.table(table)
        );
        known.extend(count_times(tier, table, &by_hour, &open).await?);
    }
    Ok(known)
}

fn milliseconds(expression: &str) -> String {
    format!("toUnixTimestamp64Milli(toDateTime64({expression}, 3))")
}

/// Whether all rows that were counted are in one window.
fn in_one_window(facts: &HourFacts, unit: CalendarUnit) -> bool {
    let window = |ms| unit.window_at(Timestamp::from_millisecond(ms).ok()?).ok();
    let first = window(facts.min_ms);
    first.is_some() && first == window(facts.max_ms)
}

async fn count_times(
    tier: &Tier,
    table: &str,
    sql: &str,
    partitions: &[String],
) -> Result<Vec<HourFacts>> {
    let rows = tier
        .query(sql)
        .param("partitions", partitions)
        .fetch_all::<HourRow>()
        .await
        .map_err(|e| {
            tier.error(e)
                .context(format!("surveying {}", tier.table(table)))
        })?;
    Ok(rows
        .into_iter()
        .map(|row| HourFacts {
            partition: row.partition,
            rows: row.rows,
            min_ms: row.min_ms,
            max_ms: row.max_ms,
        })
        .collect())
}

/// How hot and cold are partitioned, from the live tables; where cold is not asked, from what the dataset says of it.
pub(crate) fn partitionings(run: &DatasetRun) -> Result<(Partitioning, Partitioning)> {
    let time = &run.dataset.time_column;
    let hot = &run.hot()?.schema;
    let cold = if let Some(cold) = &run.cold {
        let table = format!("{}.{}", cold.schema.database, cold.schema.table);
        Partitioning::parse(&cold.schema.partition_key, time, &table)?
    } else {
        let text = &run.dataset.partition.cold;
        Partitioning::parse(text, time, &format!("dataset {}, cold", run.dataset.name))?
    };
    let table = format!("{}.{}", hot.database, hot.table);
    Ok((Partitioning::parse(&hot.partition_key, time, &table)?, cold))
}

/// Everything that a plan for the dataset needs to know. Partitions outside of the range are left out unread.
pub(crate) async fn hot_inventory(run: &DatasetRun, range: TimeRange) -> Result<HotInventory> {
    let hot = run.hot()?;
    let (hot_partitioning, cold_partitioning) = partitionings(run)?;
    let table = &hot.schema.table;
    let mut partitions = hot.tier.partitions(table).await?;
    // A value that cannot be read is kept: the plan says what is wrong with it.
    partitions.retain(|p| {
        hot_partitioning
            .span(&p.value)
            .map_or(true, |span| span.is_none_or(|span| range.touches(span)))
    });
    let ids: Vec<_> = partitions.iter().map(|p| p.id.clone()).collect();
    let unit = cut(hot_partitioning, cold_partitioning);
    let time_column = &run.dataset.time_column;
    let hours = hours(&hot.tier, table, time_column, &ids, unit).await?;
    let archived = match span_of(&hours) {
        Some(span) => run.archive.windows(&run.dataset.name, Some(span)).await?,
        None => Vec::new(),
    };
    Ok(HotInventory {
        dataset: run.dataset.name.clone(),
        hot: hot_partitioning,
        cold: cold_partitioning,
        deletes: !hot.is_replicated() || have_positions(&archived_columns(&hot.schema)),
        sets_aside: !hot.is_replicated(),
        partitions: partitions
            .into_iter()
            .map(|p| PartitionFacts {
                id: p.id,
                value: p.value,
            })
            .collect(),
        hours,
        archived,
    })
}

/// From the first to the last row, with a month on either side: no window is longer, and whatever overlaps one of these
/// rows' windows touches this span.
fn span_of(hours: &[HourFacts]) -> Option<Window> {
    const MONTH_MS: i64 = 31 * 86_400_000;
    let first = hours.iter().map(|h| h.min_ms).min()?;
    let last = hours.iter().map(|h| h.max_ms).max()?;
    let moment = |ms: i64| jiff::Timestamp::from_millisecond(ms).ok();
    Window::new(
        moment(first.saturating_sub(MONTH_MS))?,
        moment(last.saturating_add(MONTH_MS))?,
    )
    .ok()
}
