//! Archive → cold: the generations that cold does not hold, through a staging table, whole or not at all.

use std::time::Instant;

use super::holdings::held_generations;
use super::proof;
use super::road::{Road, total};
use super::rows::check_takes;
use super::staging::{self, Purpose};
use super::task::{Event, may_be_asleep};
use super::turn::Turn;
use crate::archive::Manifest;
use crate::clickhouse::Fingerprint;
use crate::dataset::Window;
use crate::error::{Error, Result};
use crate::progress::Work;

/// Loads what cold does not hold of a window; `true` when something was moved into it.
///
/// When it returns `false`, cold holds exactly the generations: that is the proof of this side.
pub(super) async fn load(
    road: &Road,
    window: Window,
    generations: &[Manifest],
    turn: &mut Turn<'_>,
    work: &Work,
) -> Result<bool> {
    let cold = road.cold()?;
    if let Some(first) = generations.first() {
        check_takes(&cold.schema, &first.schema.columns)?;
    }
    work.step("asking cold", 0);
    if missing(road, window, generations).await?.is_empty() {
        return Ok(false);
    }
    let attempt = turn.attempt().await?;
    let asleep = may_be_asleep(attempt, &turn.journal().await?);
    staging::fence(&cold.tier, &cold.schema.table, window, attempt, &asleep).await?;
    turn.note(Event::Fenced).await?;
    // Only now is the answer final: nobody else can add to this window any more.
    let missing = missing(road, window, generations).await?;
    if missing.is_empty() {
        return Ok(false);
    }
    let table = staging::name(&cold.schema.table, Purpose::Stage, window, attempt);
    work.step("loading", total(&missing).rows);
    staging::create_like(cold, &table).await?;
    let filled = staging::fill(road, cold, &table, &missing, work).await;
    staging::keep_if_filled(&cold.tier, &table, filled).await?;
    work.step("moving", 0);
    move_into_cold(road, &table, window, total(&missing)).await?;
    cold.tier.drop_table(&table).await?;
    Ok(true)
}

/// The generations that cold does not hold; an integrity error where what it holds is no choice of generations.
async fn missing(road: &Road, window: Window, generations: &[Manifest]) -> Result<Vec<Manifest>> {
    let cold = road.cold()?;
    let rows = road.window_rows(cold, window);
    let held = match generations.first() {
        Some(first) => rows.fingerprint(&first.schema.columns).await?,
        None => Fingerprint {
            rows: rows.count().await?,
            sum: 0,
        },
    };
    let fingerprints: Vec<_> = generations.iter().map(|m| m.fingerprint).collect();
    match held_generations(held, &fingerprints) {
        Some(flags) => Ok(generations
            .iter()
            .zip(flags)
            .filter(|(_, held)| !held)
            .map(|(m, _)| m.clone())
            .collect()),
        None => Err(proof::explain(&rows, held, generations).await?),
    }
}

/// Moves the staging table's one partition into cold: atomic, and additive.
async fn move_into_cold(
    road: &Road,
    staging: &str,
    window: Window,
    expected: Fingerprint,
) -> Result<()> {
    let started = Instant::now();
    let cold = road.cold()?;
    let partitions = cold.tier.partitions(staging).await?;
    let [partition] = partitions.as_slice() else {
        return Err(Error::schema(format!(
            "{window} lies in {} partitions of {}, so that it cannot be moved in one step",
            partitions.len(),
            cold.tier.table(&cold.schema.table)
        ))
        .hint("partition cold no finer than when the window was archived"));
    };
    if partition.rows != expected.rows {
        return Err(Error::integrity(format!(
            "the staging table {staging} has {} rows in its parts, and was proven to have {}",
            partition.rows, expected.rows
        )));
    }
    cold.tier
        .move_partition(&partition.id, staging, &cold.schema.table)
        .await?;
    tracing::info!(%window, staging, rows = partition.rows, duration = ?started.elapsed(), "moved into cold");
    Ok(())
}
