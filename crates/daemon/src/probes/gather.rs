//! What is said over HTTP without asking anybody: gathered in the background.

use std::path::Path;
use std::time::{Duration, Instant};

use clickhouse::Row;
use jiff::Timestamp;
use serde::Deserialize;

use super::{DaemonContext, windows};
use crate::http::{ArchiveDataset, ArchiveFigures, TierDataset, TierFigures};
use mpsync_archive::Archive;
use mpsync_clickhouse::{Tier, ident, literal};
use mpsync_core::error::{Context as _, Error, Result};

/// How often everything is asked.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often ingest's counters are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Gathers until the daemon is to end.
pub(super) async fn repeat(context: &DaemonContext) {
    let shutdown = context.shutdown.clone();
    let looks = async {
        loop {
            context.state.sample_ingest();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let tiers = async {
        loop {
            tokio::join!(tier(context, &context.hot), async {
                if context.state.sync_control().is_some() {
                    tier(context, &context.cold).await;
                }
            });
            tokio::time::sleep(EVERY).await;
        }
    };
    let all = async {
        tokio::join!(
            looks,
            tiers,
            broker(context),
            archive(context),
            windows::repeat(context)
        )
    };
    let _: Option<((), (), (), (), ())> = shutdown.run_until_cancelled(all).await;
}

/// Within patience, with how long it took.
pub(super) async fn timed<T>(
    what: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, f64)> {
    let started = Instant::now();
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => Ok((done?, started.elapsed().as_secs_f64())),
        Err(_) => Err(Error::busy(format!(
            "{what} did not answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

#[derive(Row, Deserialize)]
struct TableRow {
    table: String,
    rows: u64,
    bytes: u64,
    parts: u64,
    /// Empty where the table is not partitioned: then its parts do not say what times they hold.
    partition_key: String,
}

#[derive(Row, Deserialize)]
struct SpanRow {
    table: String,
    oldest_ms: i64,
    newest_ms: i64,
}

#[derive(Row, Deserialize)]
struct DiskRow {
    name: String,
    free: u64,
}

async fn tier(context: &DaemonContext, tier: &Tier) {
    let name = tier.role().to_string();
    let asked = async {
        let tables = tier
            .query(
                "SELECT p.table AS table, sum(p.rows) AS rows, sum(p.bytes_on_disk) AS bytes, count() AS parts, \
                 any(t.partition_key) AS partition_key FROM system.parts AS p \
                 INNER JOIN system.tables AS t ON t.database = p.database AND t.name = p.table \
                 WHERE p.active AND p.database = {database:String} GROUP BY table",
            )
            .param("database", tier.database())
            .fetch_all::<TableRow>()
            .await
            .map_err(|e| tier.error(e))?;
        let disks = tier
            .query("SELECT name, unreserved_space AS free FROM system.disks WHERE type = 'Local'")
            .fetch_all::<DiskRow>()
            .await
            .map_err(|e| tier.error(e))?;
        let spans = spans(context, tier, &tables).await?;
        Ok((tables, spans, disks))
    };
    match timed(&name, asked).await {
        Err(e) => {
            context.state.failed(&name, &e.to_string());
            let figures = TierFigures {
                reachable: false,
                error: Some(e.message()),
                ..context.state.last_of(tier.role())
            };
            context.state.tier(tier.role(), figures);
        }
        Ok(((tables, spans, disks), latency)) => {
            context.state.succeeded(&name, Some(latency));
            for disk in disks {
                context
                    .state
                    .free(&format!("{name} {}", disk.name), disk.free);
            }
            context
                .state
                .tier(tier.role(), figures(context, &tables, &spans));
        }
    }
}

/// The first and the last event time of each table whose parts know it: no row is read for them.
async fn spans(context: &DaemonContext, tier: &Tier, tables: &[TableRow]) -> Result<Vec<SpanRow>> {
    let known = context.datasets.iter().filter(|dataset| {
        tables.iter().any(|t| {
            t.table == dataset.table && t.rows > 0 && t.partition_key.contains(&dataset.time_column)
        })
    });
    let queries: Vec<String> = known
        .map(|dataset| {
            let time = ident(&dataset.time_column);
            let ms = |of: &str| format!("toUnixTimestamp64Milli(toDateTime64({of}({time}), 3))");
            format!(
                "SELECT {} AS table, {} AS oldest_ms, {} AS newest_ms FROM {}",
                literal(&dataset.table),
                ms("min"),
                ms("max"),
                tier.table(&dataset.table)
            )
        })
        .collect();
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let asked = tier.query(&queries.join(" UNION ALL ")).fetch_all();
    asked.await.map_err(|e| tier.error(e))
}

fn figures(context: &DaemonContext, tables: &[TableRow], spans: &[SpanRow]) -> TierFigures {
    let datasets: Vec<TierDataset> = context
        .datasets
        .iter()
        .map(|dataset| {
            let table = tables.iter().find(|t| t.table == dataset.table);
            let span = spans.iter().find(|s| s.table == dataset.table);
            let moment = |ms: fn(&SpanRow) -> i64| Timestamp::from_millisecond(ms(span?)).ok();
            TierDataset {
                dataset: dataset.name.to_string(),
                rows: table.map_or(0, |t| t.rows),
                bytes: table.map_or(0, |t| t.bytes),
                parts: table.map_or(0, |t| t.parts),
                oldest: moment(|s| s.oldest_ms),
                newest: moment(|s| s.newest_ms),
            }
        })
        .collect();
    TierFigures {
        reachable: true,
        error: None,
        rows: datasets.iter().map(|d| d.rows).sum(),
        bytes: datasets.iter().map(|d| d.bytes).sum(),
        datasets,
    }
}

/// Asks NATS over a connection that lasts, for ever.
async fn broker(context: &DaemonContext) {
    if context.state.sync_control().is_some() && context.datasets.is_empty() {
        return;
    }
    loop {
        let client = match mpsync_nats::connect(&context.config.nats).await {
            Ok(client) => client,
            Err(e) => {
                context.state.failed("nats", &e.to_string());
                tokio::time::sleep(EVERY).await;
                continue;
            }
        };
        let jetstream = async_nats::jetstream::new(client);
        loop {
            let asked = async { jetstream.query_account().await.map_err(Error::nats) };
            match timed("JetStream", asked).await {
                Ok((_, latency)) => context.state.succeeded("nats", Some(latency)),
                Err(e) => {
                    context.state.failed("nats", &e.to_string());
                    tokio::time::sleep(EVERY).await;
                    break;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn archive(context: &DaemonContext) {
    if context.state.sync_control().is_none() {
        return;
    }
    loop {
        let started = Instant::now();
        match archive_figures(context).await {
            Ok(figures) => {
                context
                    .state
                    .succeeded("archive", Some(started.elapsed().as_secs_f64()));
                if let Some(free) = figures.free_bytes {
                    context.state.free("archive", free);
                }
                context.state.archive(figures);
            }
            Err(e) => context.state.failed("archive", &e.to_string()),
        }
        // All manifests are read: an archive of years takes its time, and is asked the less often.
        tokio::time::sleep(EVERY.max(started.elapsed() * 20)).await;
    }
}

async fn archive_figures(context: &DaemonContext) -> Result<ArchiveFigures> {
    let archive = Archive::open_read_only(&context.config.archive).await?;
    let mut figures = ArchiveFigures {
        location: archive.root().map_or_else(
            || "object store".to_owned(),
            |root| root.display().to_string(),
        ),
        free_bytes: archive.root().map(free_bytes).transpose()?,
        ..ArchiveFigures::default()
    };
    for dataset in context.datasets.iter() {
        let mut of_dataset = ArchiveDataset {
            dataset: dataset.name.to_string(),
            ..ArchiveDataset::default()
        };
        for window in archive.windows(&dataset.name, None).await? {
            let generations = archive.generations(&dataset.name, window).await?;
            of_dataset.windows += 1;
            of_dataset.generations += generations.len() as u64;
            for manifest in generations {
                of_dataset.chunks += manifest.chunks.len() as u64;
                of_dataset.rows += manifest.fingerprint.rows;
                of_dataset.bytes += manifest.bytes();
            }
        }
        figures.rows += of_dataset.rows;
        figures.bytes += of_dataset.bytes;
        figures.datasets.push(of_dataset);
    }
    Ok(figures)
}

fn free_bytes(folder: &Path) -> Result<u64> {
    let facts = rustix::fs::statvfs(folder)
        .map_err(std::io::Error::from)
        .context(|| format!("asking how much is free in {}", folder.display()))?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}
