//! Observes the tiers, NATS and the archive in the background.

use std::path::Path;
use std::time::{Duration, Instant};

use clickhouse::Row;
use jiff::Timestamp;
use serde::Deserialize;

use super::timing::{INTERVAL, timed};
use super::{examination, windows};
use crate::context::DaemonContext;
use crate::state::figures::{ArchiveDataset, ArchiveFigures, TierDataset, TierFigures};
use mpsync_archive::Archive;
use mpsync_clickhouse::{Tier, ident, literal};
use mpsync_core::error::{Context as _, Error, Result};

/// The interval of samples of ingest's counters.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Observes until the shutdown.
pub(crate) async fn repeat(context: &DaemonContext) {
    let shutdown = context.shutdown.clone();
    let samples = async {
        loop {
            context.state.sample_ingest();
            tokio::time::sleep(SAMPLE_INTERVAL).await;
        }
    };
    let tiers = async {
        loop {
            tokio::join!(tier(context, &context.hot), async {
                if context.state.sync_control().is_some() {
                    tier(context, &context.cold).await;
                }
            });
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let all = async {
        tokio::join!(
            samples,
            tiers,
            broker(context),
            archive(context),
            windows::repeat(context),
            examination::repeat(context)
        )
    };
    let _: Option<((), (), (), (), (), ())> = shutdown.run_until_cancelled(all).await;
}

#[derive(Row, Deserialize)]
struct TableRow {
    table: String,
    rows: u64,
    bytes: u64,
    parts: u64,
    /// Empty if the table is not partitioned: then its parts do not record their time range.
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
    let query = async {
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
    match timed(&name, query).await {
        Err(e) => {
            context.state.failed(&name, &e);
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

/// Returns the first and last event time of each table whose parts record it. It reads no rows.
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
    let query = tier.query(&queries.join(" UNION ALL ")).fetch_all();
    query.await.map_err(|e| tier.error(e))
}

fn figures(context: &DaemonContext, tables: &[TableRow], spans: &[SpanRow]) -> TierFigures {
    let datasets: Vec<TierDataset> = context
        .datasets
        .iter()
        .map(|dataset| {
            let table = tables.iter().find(|t| t.table == dataset.table);
            let span = spans.iter().find(|s| s.table == dataset.table);
            let time = |ms: fn(&SpanRow) -> i64| Timestamp::from_millisecond(ms(span?)).ok();
            TierDataset {
                dataset: dataset.name.to_string(),
                rows: table.map_or(0, |t| t.rows),
                bytes: table.map_or(0, |t| t.bytes),
                parts: table.map_or(0, |t| t.parts),
                oldest: time(|s| s.oldest_ms),
                newest: time(|s| s.newest_ms),
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

/// Observes NATS over a persistent connection, forever.
async fn broker(context: &DaemonContext) {
    if context.state.sync_control().is_some() && context.datasets.is_empty() {
        return;
    }
    loop {
        let client = match mpsync_nats::connect(&context.config.nats).await {
            Ok(client) => client,
            Err(e) => {
                context.state.failed("nats", &e);
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
        };
        let jetstream = async_nats::jetstream::new(client);
        loop {
            let query = async { jetstream.query_account().await.map_err(Error::nats) };
            match timed("JetStream", query).await {
                Ok((_, latency)) => context.state.succeeded("nats", Some(latency)),
                Err(e) => {
                    context.state.failed("nats", &e);
                    tokio::time::sleep(INTERVAL).await;
                    break;
                }
            }
            tokio::time::sleep(INTERVAL).await;
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
            Err(e) => context.state.failed("archive", &e),
        }
        // It reads all manifests: an archive of years takes longer, and is observed less often.
        tokio::time::sleep(INTERVAL.max(started.elapsed() * 20)).await;
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
        .context(|| format!("reading the free space of {}", folder.display()))?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}
