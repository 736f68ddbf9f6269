//! One window on its way: rounds of look, export, load, until a round finds nothing to do. That round is the proof.

use std::time::Instant;

use super::road::{Road, SourceTable, total};
use super::task::Stage;
use super::turn::Turn;
use super::{Goal, export, load};
use mpsync_archive::Manifest;
use mpsync_core::dataset::Window;
use mpsync_core::error::Result;
use mpsync_core::progress::Work;

/// How many rounds one run makes: where rows keep coming, the rest is left to the next run.
const ROUNDS: u32 = 4;

/// How far a window came.
#[derive(Debug)]
pub(super) struct Driven {
    /// What was last proven.
    pub(super) stage: Stage,
    /// Its generations.
    pub(super) generations: Vec<Manifest>,
    /// How many of them this run made: the last ones.
    pub(super) made: u32,
    /// Whether this run moved any of them into cold.
    pub(super) loaded: bool,
    /// Bytes of Arrow that were read for them.
    pub(super) arrow_bytes: u64,
}

/// Drives a window towards the goal. What would halt is looked at again under the lease where nobody was kept out while it was
/// found: it may have been half of what another worker was doing.
pub(super) async fn drive(
    road: &Road,
    source: Option<&SourceTable>,
    window: Window,
    goal: Goal,
    turn: &mut Turn<'_>,
    work: &Work,
) -> Result<Driven> {
    match advance(road, source, window, goal, turn, work).await {
        Err(e) if turn.is_premature(&e) => {
            tracing::info!(error = %e, "found without the lease; looked at again with it");
            turn.attempt().await?;
            advance(road, source, window, goal, turn, work).await
        }
        found => found,
    }
}

/// Every round asks the data anew. `Verified` is reached by a round in which hot held no row that the archive does not
/// (same position, same hash), and cold held exactly the archive's generations.
async fn advance(
    road: &Road,
    source: Option<&SourceTable>,
    window: Window,
    goal: Goal,
    turn: &mut Turn<'_>,
    work: &Work,
) -> Result<Driven> {
    let started = Instant::now();
    let mut driven = Driven {
        stage: Stage::Planned,
        generations: Vec::new(),
        made: 0,
        loaded: false,
        arrow_bytes: 0,
    };
    for round in 1..=ROUNDS {
        driven.generations = road.generations(window).await?;
        let made_before = driven.made;
        let complete = match source {
            // The last round exports nothing more, so that rows which keep coming do not leave the others unproven.
            Some(_) if round == ROUNDS && !driven.generations.is_empty() => false,
            Some(source) => look(road, source, window, &mut driven, turn, work).await?,
            None => true,
        };
        if complete && source.is_some() {
            driven.reached(Stage::Archived, turn).await?;
        }
        if goal == Goal::Export || driven.generations.is_empty() {
            if complete {
                break;
            }
            continue;
        }
        let fresh = driven.made > made_before;
        if load::load(road, window, &driven.generations, fresh, turn, work).await? {
            driven.loaded = true;
            driven.reached(Stage::Loaded, turn).await?;
            continue;
        }
        let proven = if complete {
            Stage::Verified
        } else {
            Stage::Loaded
        };
        driven.reached(proven, turn).await?;
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
    async fn reached(&mut self, stage: Stage, turn: &mut Turn<'_>) -> Result<()> {
        self.stage = self.stage.max(stage);
        turn.reached(stage).await
    }
}

/// One look at the source; whether it held nothing that the archive does not. What it made is among the generations then.
async fn look(
    road: &Road,
    source: &SourceTable,
    window: Window,
    driven: &mut Driven,
    turn: &mut Turn<'_>,
    work: &Work,
) -> Result<bool> {
    let exported = export::export(road, source, window, &driven.generations, turn, work).await?;
    driven.made += u32::from(exported.made);
    driven.arrow_bytes += exported.arrow_bytes;
    if !exported.complete {
        driven.generations = road.generations(window).await?;
    }
    Ok(exported.complete)
}
