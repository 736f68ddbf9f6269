//! The hot side: ingest.

use std::sync::Arc;
use std::time::Duration;

use crate::context::DaemonContext;
use crate::doctor::examine::examine_tiers;
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_ingest::{IngestOptions, IngestStats};

/// The interval of checks of the progress.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Ingests until the shutdown, or until an unrecoverable error.
pub(crate) async fn run(context: &DaemonContext, stats: Arc<IngestStats>) -> Result<()> {
    let config = context.live.borrow().clone();
    let examined = examine_tiers(&config, &context.datasets, &[TierRole::Hot]);
    match context.shutdown.run_until_cancelled(examined).await {
        Some(diagnosis) => diagnosis.refuse()?,
        None => return Ok(()),
    }
    let datasets: Vec<&Dataset> = context.datasets.iter().collect();
    let options = IngestOptions {
        stats: Some(stats.clone()),
        // The stream is for all datasets, including those that this process does not ingest.
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

/// Checks whether all datasets are ingested, forever.
async fn check(context: &DaemonContext, stats: &IngestStats) -> Result<()> {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let all = stats.snapshot().datasets;
        let stalled = all
            .iter()
            .find_map(|d| Some((&d.dataset, d.stalled.as_ref()?)));
        match stalled {
            Some((dataset, error)) => {
                // The report of ingest has the error as text, with its hint.
                let (message, hint) = match error.split_once("\n  hint: ") {
                    Some((message, hint)) => (message, Some(hint)),
                    None => (error.as_str(), None),
                };
                let stalled = Error::new(Cause::Down(format!("{dataset} is stalled: {message}")));
                let stalled = match hint {
                    Some(hint) => stalled.with_hint(hint.to_owned()),
                    None => stalled,
                };
                context.state.failed("ingest", &stalled);
            }
            None if all.iter().all(|d| d.sessions > 0) => context.state.succeeded("ingest", None),
            None => context
                .state
                .failed("ingest", &Error::nats("not all datasets are ingested yet")),
        }
    }
}
