//! The hot side: ingest.

use std::sync::Arc;
use std::time::Duration;

use super::World;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Error, Result};
use mpsync_ingest::{IngestStats, Options};

/// How often is looked whether it ingests.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Ingests until the daemon is to end, or until something cannot be helped.
pub(super) async fn run(world: &World, stats: Arc<IngestStats>) -> Result<()> {
    let datasets: Vec<&Dataset> = world.datasets.iter().collect();
    let options = Options {
        stats: Some(stats.clone()),
        // One stream for all datasets, whichever of them this process ingests.
        stream_subjects: world.all.iter().flat_map(|d| d.subjects.clone()).collect(),
        reloaded: Some(world.live.clone()),
        ..Options::default()
    };
    let ingest = mpsync_ingest::run(
        &world.config,
        &datasets,
        world.hot.clone(),
        world.shutdown.clone(),
        options,
    );
    tokio::select! {
        ended = ingest => ended.map(drop),
        never = look(world, &stats) => never,
    }
}

/// Says whether it ingests, for ever.
async fn look(world: &World, stats: &IngestStats) -> Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let all = stats.snapshot().datasets;
        let stalled = all
            .iter()
            .find_map(|d| Some((&d.dataset, d.stalled.as_ref()?)));
        match stalled {
            Some((dataset, why)) => world
                .state
                .failed("ingest", &format!("{dataset} is stalled: {why}")),
            None if all.iter().all(|d| d.lives > 0) => world.state.succeeded("ingest", None),
            None => world.state.failed(
                "ingest",
                &Error::nats("not all datasets are ingested yet").to_string(),
            ),
        }
    }
}
