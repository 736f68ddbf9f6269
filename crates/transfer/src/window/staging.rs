//! Staging tables: filled from the archive's own bytes, proven, and only then moved; and how a sleeper is shut out.

use std::time::{Duration, Instant};

use clickhouse::Row;
use futures_util::TryStreamExt as _;
use serde::Deserialize;

use crate::dataset_run::{DatasetRun, TierTable};
use crate::plan::partitioning::{window_from_name, window_in_name};
use crate::rows::columns::check_takes;
use crate::rows::deletion::stop_deletions;
use crate::rows::insert_body::RowsBody;
use crate::rows::window_rows::Rows;
use crate::window::holdings::total;
use mpsync_archive::{Archive, Chunk, ChunkBatches, ChunkBytes, Manifest};
use mpsync_clickhouse::{Insert, TABLE_ALREADY_EXISTS, Tier, ident};
use mpsync_core::dataset::Window;
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_core::progress::Work;
use mpsync_core::retry::{Backoff, Tries};

/// How long an older attempt's running query is waited for.
const WAIT_FOR_QUERIES: Duration = Duration::from_mins(2);
/// How often it is asked whether it still runs.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How often a sleeper may create a name again between its drop and its occupation before something is wrong.
const OCCUPY_TRIES: u32 = 100;

/// The purpose of a table beside the dataset's own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// To be moved into cold.
    Stage,
    /// To hold the archive's rows beside hot's, for a comparison.
    Check,
}

/// The beginning of the names of a window's tables for a purpose; the attempt's number follows.
fn prefix(table: &str, purpose: Purpose, window: Window) -> String {
    let purpose = match purpose {
        Purpose::Stage => "stage",
        Purpose::Check => "check",
    };
    format!("{table}_{purpose}_{}_a", window_in_name(window))
}

/// The name of an attempt's table.
pub(crate) fn name(table: &str, purpose: Purpose, window: Window, attempt: u64) -> String {
    format!("{}{attempt}", prefix(table, purpose, window))
}

/// The window and the attempt in the name of a table beside the dataset's own; `None` for any other table.
pub(crate) fn parse_name(table: &str, name: &str) -> Option<(Window, u64)> {
    let rest = name.strip_prefix(table)?;
    let rest = rest
        .strip_prefix("_stage_")
        .or_else(|| rest.strip_prefix("_check_"))?;
    let (window, attempt) = rest.rsplit_once("_a")?;
    Some((window_from_name(window)?, attempt.parse().ok()?))
}

/// Creates a table like `side`'s own, under a name that must be free.
pub(crate) async fn create_like(tier_table: &TierTable, name: &str) -> Result<()> {
    let cluster = tier_table
        .tier
        .cluster()
        .map(|c| format!(" ON CLUSTER {}", ident(c)));
    let sql = format!(
        "CREATE TABLE {}{} AS {}",
        tier_table.tier.table(name),
        cluster.unwrap_or_default(),
        tier_table.tier.table(&tier_table.schema.table)
    );
    tier_table.tier.execute(&sql).await
}

/// Creates a table with the columns and the order of a tier's own, on this server alone: for a comparison.
async fn create_local(tier_table: &TierTable, name: &str) -> Result<()> {
    if !tier_table.is_replicated() {
        return create_like(tier_table, name).await;
    }
    let clause = |keyword: &str, key: &str| match key {
        "" => String::new(),
        // The server's own text of its own key.
        key => format!(" {keyword} ({key})"),
    };
    let schema = &tier_table.schema;
    let order = match schema.sorting_key.as_str() {
        "" => " ORDER BY tuple()".to_owned(),
        key => clause("ORDER BY", key),
    };
    let sql = format!(
        "CREATE TABLE {} AS {} ENGINE = MergeTree{}{order} SETTINGS allow_nullable_key = 1",
        tier_table.tier.table(name),
        tier_table.tier.table(&schema.table),
        clause("PARTITION BY", &schema.partition_key),
    );
    tier_table.tier.execute(&sql).await
}

/// Fills an empty table with generations, and proves after each that it holds them.
pub(crate) async fn fill(
    run: &DatasetRun,
    tier_table: &TierTable,
    table: &str,
    generations: &[Manifest],
    work: &Work,
) -> Result<()> {
    for (n, manifest) in generations.iter().enumerate() {
        let started = Instant::now();
        let columns = &manifest.schema.columns;
        check_takes(&tier_table.schema, columns)?;
        for chunk in &manifest.chunks {
            insert_chunk(&run.archive, &tier_table.tier, table, manifest, chunk)
                .await
                .context(|| format!("loading {} of {}", chunk.file, manifest.id()))?;
            run.proof_cache
                .record_whole_chunk(manifest, &chunk.file, &chunk.sha256);
            work.add(chunk.rows, chunk.bytes);
        }
        let rows = Rows {
            tier: &tier_table.tier,
            table,
            schema: &tier_table.schema,
            time_column: &run.dataset.time_column,
            window: None,
            partition: None,
            filter: None,
        };
        let (held, expected) = (rows.fingerprint(columns).await?, total(&generations[..=n]));
        if held != expected {
            return Err(Error::integrity(format!(
                "the chunks of {} load as {held}, their manifests say {expected}",
                manifest.id()
            ))
            .with_hint("nothing was moved into the table; `mpsync verify --deep` looks closer at the archive"));
        }
        tracing::debug!(generation = %manifest.id(), table, rows = manifest.fingerprint.rows, duration = started.elapsed().as_secs_f64(), "loaded and proven");
    }
    Ok(())
}

/// Drops a table that could not be filled: what is in it is in the archive, or is not what the archive says.
pub(crate) async fn keep_if_filled(tier: &Tier, table: &str, filled: Result<()>) -> Result<()> {
    if filled.is_err()
        && let Err(e) = tier.drop_table(table).await
    {
        tracing::warn!(table, error = %e, "a half-filled table is left; the next attempt drops it");
    }
    filled
}

/// Inserts a chunk: its bytes as they are, or its rows where its bytes are encrypted. A damaged chunk lands nothing.
async fn insert_chunk(
    archive: &Archive,
    tier: &Tier,
    table: &str,
    manifest: &Manifest,
    chunk: &Chunk,
) -> Result<()> {
    let columns = manifest.schema.columns.iter();
    let columns: Vec<_> = columns.map(|c| c.name.as_str()).collect();
    let insert = |format| {
        tier.insert(table, &columns, format)
            .with_setting("insert_deduplicate", "0")
            // The rows lie in the table's order: read in it, they need no sorting.
            .with_setting("input_format_parquet_preserve_order", "1")
    };
    match &chunk.key_id {
        None => {
            // The last bytes are held back until all are known to be right, and Parquet cannot be read without its end.
            let bytes = archive.chunk_bytes(&manifest.id(), chunk).await?;
            pass_on(insert("Parquet"), bytes).await
        }
        Some(_) => {
            // Nothing is decrypted before all bytes are known to be right.
            let rows = archive.read_chunk(&manifest.id(), chunk).await?;
            pass_rows(insert("ArrowStream"), rows).await
        }
    }
}

async fn pass_on(mut insert: Insert, mut bytes: ChunkBytes) -> Result<()> {
    while let Some(piece) = bytes.try_next().await? {
        insert.send(piece).await?;
    }
    insert.end().await
}

async fn pass_rows(mut insert: Insert, mut rows: ChunkBatches) -> Result<()> {
    let mut body = RowsBody::default();
    while let Some(batch) = rows.try_next().await? {
        insert.send(body.piece(&batch)?).await?;
    }
    insert.send(body.end()?).await?;
    insert.end().await
}

/// Shuts out every earlier attempt that may be asleep: its staging table is dropped, and its name occupied by a table of
/// another shape, so that neither its CREATE nor its INSERT nor its MOVE can succeed. Then waits for what still runs.
pub(crate) async fn fence(
    tier: &Tier,
    table: &str,
    window: Window,
    attempt: u64,
    asleep: &[u64],
) -> Result<()> {
    let prefix = prefix(table, Purpose::Stage, window);
    let there = tables(tier, &prefix).await?;
    for old in &there {
        let number = old.name[prefix.len()..].parse::<u64>();
        let ours = number.is_ok_and(|n| n < attempt && !asleep.contains(&n));
        if ours && old.engine != OCCUPIED {
            tier.drop_table(&old.name).await?;
        }
    }
    for number in asleep {
        let name = format!("{prefix}{number}");
        let occupied = there.iter().any(|t| t.name == name && t.engine == OCCUPIED);
        if !occupied {
            occupy(tier, &name).await?;
        }
    }
    wait_for_queries(tier, &prefix).await
}

/// Whether a staging table of some attempt is there, other than those that only occupy a name.
pub(crate) async fn left_behind(tier: &Tier, table: &str, window: Window) -> Result<bool> {
    let there = tables(tier, &prefix(table, Purpose::Stage, window)).await?;
    Ok(there.iter().any(|table| table.engine != OCCUPIED))
}

/// The engine of a table that only occupies a name.
const OCCUPIED: &str = "Null";

async fn occupy(tier: &Tier, name: &str) -> Result<()> {
    for _ in 0..OCCUPY_TRIES {
        tier.drop_table(name).await?;
        let created = tier
            .execute(&format!(
                "CREATE TABLE {} (shut_out UInt8) ENGINE = {OCCUPIED} COMMENT 'mpsync: keeps an earlier attempt out; mpsync gc removes it'",
                tier.table(name)
            ))
            .await;
        match created {
            // The sleeper is awake, and was faster.
            Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
            other => return other,
        }
    }
    Err(Error::busy(format!(
        "another process keeps creating {}; it cannot be shut out",
        tier.table(name)
    )))
}

#[derive(Row, Deserialize)]
struct Named {
    name: String,
    engine: String,
}

async fn tables(tier: &Tier, prefix: &str) -> Result<Vec<Named>> {
    tier.query(
        "SELECT name, engine FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String})",
    )
    .param("database", tier.database())
    .param("prefix", prefix)
    .fetch_all()
    .await
    .map_err(|e| tier.error(e).context(format!("listing tables named {prefix}*")))
}

/// Waits until no running insert or move names a table that begins with `prefix`.
pub(crate) async fn wait_for_queries(tier: &Tier, prefix: &str) -> Result<()> {
    let processes = match tier.cluster() {
        Some(cluster) => format!("clusterAllReplicas({}, system.processes)", ident(cluster)),
        None => "system.processes".to_owned(),
    };
    let sql = format!(
        "SELECT count() FROM {processes} WHERE query_kind IN ('Insert', 'Alter') AND position(query, {{prefix:String}}) > 0"
    );
    let deadline = Instant::now() + WAIT_FOR_QUERIES;
    loop {
        let running = tier
            .query(&sql)
            .param("prefix", prefix)
            .fetch_one::<u64>()
            .await
            .map_err(|e| tier.error(e).context("asking for running queries"))?;
        if running == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::busy(format!(
                "{running} queries of an earlier attempt on {prefix}* still run after {} s",
                WAIT_FOR_QUERIES.as_secs()
            ))
            .with_hint("look at system.processes; when they have ended, start again"));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The archived rows of a window in a table of their own beside a tier's, for a comparison.
#[derive(Debug)]
pub(crate) struct Scratch<'a> {
    run: &'a DatasetRun,
    tier_table: &'a TierTable,
    table: String,
}

impl<'a> Scratch<'a> {
    /// Makes and fills it; what an earlier attempt left is dropped.
    pub(crate) async fn fill(
        run: &'a DatasetRun,
        tier_table: &'a TierTable,
        window: Window,
        generations: &[Manifest],
        attempt: u64,
        work: &Work,
    ) -> Result<Self> {
        let prefix = prefix(&tier_table.schema.table, Purpose::Check, window);
        for old in tier_table.tier.tables_with_prefix(&prefix).await? {
            stop_deletions(&tier_table.tier, &old).await?;
            tier_table.tier.drop_table(&old).await?;
        }
        let table = name(&tier_table.schema.table, Purpose::Check, window, attempt);
        create_local(tier_table, &table).await?;
        let filled = fill(run, tier_table, &table, generations, work).await;
        keep_if_filled(&tier_table.tier, &table, filled).await?;
        Ok(Self {
            run,
            tier_table,
            table,
        })
    }

    /// Its rows.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows {
            tier: &self.tier_table.tier,
            table: &self.table,
            schema: &self.tier_table.schema,
            time_column: &self.run.dataset.time_column,
            window: None,
            partition: None,
            filter: None,
        }
    }

    /// Drops it. Tried again while the error can pass: no later step removes it.
    pub(crate) async fn remove(self) -> Result<()> {
        // Not `retry`: of a future with an async closure in it the compiler does not see that threads may pass it on.
        let mut tries = Tries::new("dropping a table of archived rows", Backoff::INTERACTIVE);
        loop {
            match self.tier_table.tier.drop_table(&self.table).await {
                Ok(()) => return Ok(()),
                Err(e) => tries.failed(e).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_beside_the_datasets_own_is_known_by_its_name_and_no_other_is() {
        let window: Window = "2026-01-01T05".parse().unwrap();
        for purpose in [Purpose::Stage, Purpose::Check] {
            let name = name("trades", purpose, window, 12);
            assert_eq!(parse_name("trades", &name), Some((window, 12)));
        }
        for other in [
            "trades",
            "trades_sealed_20260101T05_a1",
            "trades_stage_20260101T05",
            "trades_stage_x_a1",
            "orderbooks_stage_20260101T05_a1",
        ] {
            assert_eq!(parse_name("trades", other), None, "{other}");
        }
    }
}
