//! The hot side: ingest.

use std::sync::Arc;
use std::time::Duration;

use super::DaemonContext;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Error, Result};
use mpsync_ingest::{IngestOptions, IngestStats};

/// How often is looked whether it ingests.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Ingests until the daemon is to end, or until something cannot be helped.
pub(super) async fn run(context: &DaemonContext, stats: Arc<IngestStats>) -> Result<()> {
    let datasets: Vec<&Dataset> = context.datasets.iter().collect();
    let options = IngestOptions {
        stats: Some(stats.clone()),
        // One stream for all datasets, whichever of them this process ingests.
        stream_subjects: context
            .all
            .iter()
            .flat_map(|d| d.subjects.clone())
            .collect(),
        reloaded: Some(context.live.clone()),
        ..IngestOptions::default()
    };
    let ingest = mpsync_ingest::run(
        &context.config,
        &datasets,
        context.hot.clone(),
        context.shutdown.clone(),
        options,
    );
    tokio::select! {
        ended = ingest => ended.map(drop),
        never = check(context, &stats) => never,
    }
}

/// Says whether it ingests, for ever.
async fn check(context: &DaemonContext, stats: &IngestStats) -> Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let all = stats.snapshot().datasets;
        let stalled = all
            .iter()
            .find_map(|d| Some((&d.dataset, d.stalled.as_ref()?)));
        match stalled {
            Some((dataset, why)) => context
                .state
                .failed("ingest", &format!("{dataset} is stalled: {why}")),
            None if all.iter().all(|d| d.sessions > 0) => context.state.succeeded("ingest", None),
            None => context.state.failed(
                "ingest",
                &Error::nats("not all datasets are ingested yet").to_string(),
            ),
        }
    }
}
