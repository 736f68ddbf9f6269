//! Archive → cold: the generations that cold does not hold, through a staging table, whole or not at all.

use crate::dataset_run::DatasetRun;
use crate::rows::columns::check_takes;
use crate::window::holdings::held_generations;
use crate::window::holdings::total;
use crate::window::proof;
use crate::window::staging::{self, Purpose};
use crate::window::task::{Event, may_be_asleep};
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::Manifest;
use mpsync_clickhouse::PartSet;
use mpsync_core::dataset::Window;
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::Fingerprint;
use mpsync_core::progress::Work;

/// Loads what cold does not hold of a window; `true` when something was moved into it. `fresh` says that one of the
/// generations was made a moment ago, so that cold need not be asked whether anything is to be done.
///
/// When it returns `false`, cold holds exactly the generations: that is the proof of this side.
pub(crate) async fn load(
    run: &DatasetRun,
    window: Window,
    generations: &[Manifest],
    fresh: bool,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<bool> {
    let cold = run.cold()?;
    if let Some(first) = generations.first() {
        check_takes(&cold.schema, &first.schema.columns)?;
    }
    work.step("asking cold", 0);
    if holds_what_was_moved(run, window, generations).await? {
        return Ok(false);
    }
    // What an attempt left that ended between its move and its clean-up is swept even where nothing is to be loaded.
    if !fresh
        && missing(run, window, generations).await?.1.is_empty()
        && !staging::left_behind(&cold.tier, &cold.schema.table, window).await?
    {
        return Ok(false);
    }
    let attempt = window_attempt.attempt().await?;
    let asleep = may_be_asleep(attempt, &window_attempt.journal().await?);
    staging::fence(&cold.tier, &cold.schema.table, window, attempt, &asleep).await?;
    window_attempt.record(Event::Fenced).await?;
    // Only now is the answer final: no other worker can add to this window any more.
    let (held, missing) = missing(run, window, generations).await?;
    if missing.is_empty() {
        return Ok(false);
    }
    let table = staging::name(&cold.schema.table, Purpose::Stage, window, attempt);
    work.step("loading", total(&missing).rows);
    staging::create_like(cold, &table).await?;
    let filled = staging::fill(run, cold, &table, &missing, work).await;
    staging::keep_if_filled(&cold.tier, &table, filled).await?;
    work.step("moving", 0);
    // A move adds: an attempt that slept until its successor had done the same, and until what kept it out was swept, must
    // not make another.
    if let Err(e) = window_attempt.check_held().await {
        return staging::keep_if_filled(&cold.tier, &table, Err(e))
            .await
            .map(|()| false);
    }
    let moved = move_into_cold(run, &table, window, total(&missing), work).await?;
    cold.tier.drop_table(&table).await?;
    // Not before the table is gone: a run that knows what was moved does not look for tables that are left.
    if let Some(parts) = moved
        && held.rows == 0
    {
        run.proof_cache.record_loaded(window, parts, generations);
    }
    Ok(true)
}

/// Whether cold's rows of the window are those that this run proved in a staging table and moved: its parts are all there,
/// and cold counts no other rows in the window.
async fn holds_what_was_moved(
    run: &DatasetRun,
    window: Window,
    generations: &[Manifest],
) -> Result<bool> {
    let Some(moved) = run.proof_cache.loaded(window, generations) else {
        return Ok(false);
    };
    let cold = run.cold()?;
    let (engine, table) = (&cold.schema.engine, &cold.schema.table);
    let now = cold.tier.parts(engine, table, moved.partition()).await?;
    if !now.is_some_and(|now| now.contain(&moved)) {
        return Ok(false);
    }
    let counted = run.window_rows(cold, window).count().await?;
    Ok(counted == total(generations).rows)
}

/// Returns the fingerprint of cold's rows of the window, and the generations that cold does not hold. An integrity error if its rows
/// are not those of any subset of the generations.
async fn missing(
    run: &DatasetRun,
    window: Window,
    generations: &[Manifest],
) -> Result<(Fingerprint, Vec<Manifest>)> {
    let cold = run.cold()?;
    let rows = run.window_rows(cold, window);
    let held = match generations.first() {
        Some(first) => rows.fingerprint(&first.schema.columns).await?,
        None => Fingerprint {
            rows: rows.count().await?,
            sum: 0,
        },
    };
    let fingerprints: Vec<_> = generations.iter().map(|m| m.fingerprint).collect();
    match held_generations(held, &fingerprints) {
        Some(flags) => {
            let missing = generations.iter().zip(flags).filter(|(_, held)| !held);
            Ok((held, missing.map(|(m, _)| m.clone()).collect()))
        }
        None => Err(proof::explain(&rows, held, generations).await?),
    }
}

/// Moves the staging table's one partition into cold: atomic, and additive. Gives the parts that were moved, where they tell
/// what they hold.
async fn move_into_cold(
    run: &DatasetRun,
    staging: &str,
    window: Window,
    expected: Fingerprint,
    work: &Work,
) -> Result<Option<PartSet>> {
    let cold = run.cold()?;
    let engine = &cold.schema.engine;
    let parts = cold.tier.parts(engine, staging, None).await?;
    let partitions = cold.tier.partitions(staging).await?;
    let [partition] = partitions.as_slice() else {
        return Err(Error::schema(format!(
            "{window} lies in {} partitions of {}, so that it cannot be moved in one step",
            partitions.len(),
            cold.tier.table(&cold.schema.table)
        ))
        .with_hint("partition cold no finer than when the window was archived"));
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
    work.moved(partition.rows, partition.bytes);
    // Only this attempt knows the table; parts that were merged since they were listed will not be found in cold.
    Ok(parts.filter(|parts| parts.rows() == expected.rows))
}
