//! What hot holds window by window, and where the stream was torn, for `/windows`.

use std::collections::BTreeMap;

use super::DaemonContext;
use super::probes::{EVERY, timed};
use mpsync_core::dataset::{Dataset, DatasetName, Window};
use mpsync_core::error::Result;
use mpsync_ingest::StreamGap;
use mpsync_transfer::{HotObservations, gap_before, held_in_hot};

/// The gaps whose place was found, each with its place.
type Placed = BTreeMap<DatasetName, Vec<(StreamGap, Window)>>;

/// Gathers for ever. Whether hot answers is said elsewhere: what was seen last stays.
pub(super) async fn repeat(context: &DaemonContext) {
    if context.state.sync_control().is_none() {
        return;
    }
    let mut placed = Placed::new();
    loop {
        match timed("hot", check(context, &mut placed)).await {
            Ok((seen, _)) => context.state.data_sources().saw(seen),
            Err(e) => tracing::debug!(error = %e, "windows are shown as they were seen before"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn check(context: &DaemonContext, placed: &mut Placed) -> Result<HotObservations> {
    let mut seen = HotObservations::default();
    for dataset in context.datasets.iter() {
        let held = held_in_hot(&context.hot, dataset).await?;
        seen.in_hot.insert(dataset.name.clone(), held);
        place(context, dataset, placed).await?;
    }
    seen.gaps = placed
        .iter()
        .map(|(name, gaps)| (name.clone(), gaps.iter().map(|(_, span)| *span).collect()))
        .collect();
    Ok(seen)
}

/// Finds out where new gaps of a dataset lie.
async fn place(context: &DaemonContext, dataset: &Dataset, placed: &mut Placed) -> Result<()> {
    let known = placed.entry(dataset.name.clone()).or_default();
    for gap in context.state.gaps(dataset.name.as_str()) {
        if !known.iter().any(|(placed, _)| *placed == gap) {
            let span = gap_before(&context.hot, dataset, gap.before).await?;
            known.push((gap, span));
        }
    }
    Ok(())
}
