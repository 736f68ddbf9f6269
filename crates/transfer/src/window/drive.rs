//! One window on its way: rounds of look, export, load, until a round finds nothing to do. That round is the proof.

use std::time::Instant;

use super::{export, load};
use crate::dataset_run::{DatasetRun, SourceTable};
use crate::request::Goal;
use crate::window::holdings::total;
use crate::window::task::Stage;
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::Manifest;
use mpsync_core::dataset::Window;
use mpsync_core::error::Result;
use mpsync_core::progress::Work;

/// How many rounds one run makes: where rows keep coming, the rest is left to the next run.
const ROUNDS: u32 = 4;

/// How far a window came.
#[derive(Debug)]
pub(crate) struct Driven {
    /// The last proven stage.
    pub(crate) stage: Stage,
    /// Its generations.
    pub(crate) generations: Vec<Manifest>,
    /// How many of them this run made: the last ones.
    pub(crate) made: u32,
    /// Whether this run moved any of them into cold.
    pub(crate) loaded: bool,
    /// Bytes of Arrow that were read for them.
    pub(crate) arrow_bytes: u64,
    /// How many rows of the source the last look read and found in the archive.
    pub(crate) matched: u64,
}

/// Drives a window towards the goal. A mismatch that was found without the lease is checked again under it: it may have been half
/// of the work of another worker.
pub(crate) async fn drive(
    run: &DatasetRun,
    source: Option<&SourceTable>,
    window: Window,
    goal: Goal,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Driven> {
    match advance(run, source, window, goal, window_attempt, work).await {
        Err(e) if window_attempt.is_premature(&e) => {
            tracing::info!(error = %e, "found without the lease; looked at again with it");
            window_attempt.attempt().await?;
            advance(run, source, window, goal, window_attempt, work).await
        }
        found => found,
    }
}

/// Every round asks the data anew. `Verified` is reached by a round in which hot held no row that the archive does not
/// (same position, same hash), and cold held exactly the archive's generations.
async fn advance(
    run: &DatasetRun,
    source: Option<&SourceTable>,
    window: Window,
    goal: Goal,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Driven> {
    let started = Instant::now();
    let mut driven = Driven {
        stage: Stage::Planned,
        generations: Vec::new(),
        made: 0,
        loaded: false,
        arrow_bytes: 0,
        matched: 0,
    };
    for round in 1..=ROUNDS {
        driven.generations = run.generations(window).await?;
        let made_before = driven.made;
        let complete = match source {
            // The last round exports nothing more, so that rows which keep coming do not leave the others unproven.
            Some(_) if round == ROUNDS && !driven.generations.is_empty() => false,
            Some(source) => {
                check_source(run, source, window, &mut driven, window_attempt, work).await?
            }
            None => true,
        };
        if complete && source.is_some() {
            driven.reached(Stage::Archived, window_attempt).await?;
        }
        if goal == Goal::Export || driven.generations.is_empty() {
            if complete {
                break;
            }
            continue;
        }
        let fresh = driven.made > made_before;
        if load::load(
            run,
            window,
            &driven.generations,
            fresh,
            window_attempt,
            work,
        )
        .await?
        {
            driven.loaded = true;
            driven.reached(Stage::Loaded, window_attempt).await?;
            continue;
        }
        let proven = if complete {
            Stage::Verified
        } else {
            Stage::Loaded
        };
        driven.reached(proven, window_attempt).await?;
        if complete {
            break;
        }
    }
    tracing::info!(
        stage = %driven.stage, generations = driven.generations.len(),
        rows = total(&driven.generations).rows, bytes = driven.generations.iter().map(Manifest::bytes).sum::<u64>(),
        duration = started.elapsed().as_secs_f64(), "window driven"
    );
    Ok(driven)
}

impl Driven {
    async fn reached(
        &mut self,
        stage: Stage,
        window_attempt: &mut WindowAttempt<'_>,
    ) -> Result<()> {
        self.stage = self.stage.max(stage);
        window_attempt.reached(stage).await
    }
}

/// One look at the source; whether it held nothing that the archive does not. What it made is among the generations then.
async fn check_source(
    run: &DatasetRun,
    source: &SourceTable,
    window: Window,
    driven: &mut Driven,
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<bool> {
    let exported = export::export(
        run,
        source,
        window,
        &driven.generations,
        window_attempt,
        work,
    )
    .await?;
    driven.made += u32::from(exported.made);
    driven.arrow_bytes += exported.arrow_bytes;
    driven.matched = exported.matched;
    if !exported.complete {
        driven.generations = run.generations(window).await?;
    }
    Ok(exported.complete)
}
