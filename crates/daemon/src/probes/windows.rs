//! Observes the windows in hot, and the gaps of the stream, for `/windows`.

use std::collections::BTreeMap;

use super::timing::{INTERVAL, timed};
use crate::context::DaemonContext;
use mpsync_core::dataset::{Dataset, DatasetName, Window};
use mpsync_core::error::Result;
use mpsync_ingest::StreamGap;
use mpsync_transfer::{HotObservations, gap_before, held_in_hot};

/// The gaps with the time range of each.
type LocatedGaps = BTreeMap<DatasetName, Vec<(StreamGap, Window)>>;

/// Observes forever. If hot does not answer, which another probe reports, the last observations stay.
pub(crate) async fn repeat(context: &DaemonContext) {
    if context.state.sync_control().is_none() {
        return;
    }
    let mut located = LocatedGaps::new();
    loop {
        match timed("hot", check(context, &mut located)).await {
            Ok((seen, _)) => context.state.observe_hot(seen),
            Err(e) => {
                tracing::debug!(error = %e, "cannot observe windows; the previous observations stay");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn check(context: &DaemonContext, located: &mut LocatedGaps) -> Result<HotObservations> {
    let mut seen = HotObservations::default();
    for dataset in context.datasets.iter() {
        let held = held_in_hot(&context.hot, dataset).await?;
        seen.in_hot.insert(dataset.name.clone(), held);
        locate_gaps(context, dataset, located).await?;
    }
    seen.gaps = located
        .iter()
        .map(|(name, gaps)| (name.clone(), gaps.iter().map(|(_, span)| *span).collect()))
        .collect();
    Ok(seen)
}

/// Determines the time ranges of new gaps of a dataset.
async fn locate_gaps(
    context: &DaemonContext,
    dataset: &Dataset,
    located: &mut LocatedGaps,
) -> Result<()> {
    let known = located.entry(dataset.name.clone()).or_default();
    for gap in context.state.gaps(dataset.name.as_str()) {
        if !known.iter().any(|(other, _)| *other == gap) {
            let span = gap_before(&context.hot, dataset, gap.before).await?;
            known.push((gap, span));
        }
    }
    Ok(())
}
