//! How much one scheduled run takes: the oldest hours first, so that a backlog is worked off in pieces, run by run.

use std::collections::BTreeSet;

use crate::plan::transfer_plan::TransferPlan;
use crate::window::journal::Journal;
use crate::window::task::JournalVerdict;
use mpsync_archive::Archive;
use mpsync_core::error::Result;

/// Leaves to later runs what is beyond so many hours of data that are not archived yet.
///
/// Windows that are archived cost little more than a look, and always come along: late rows are found by it. What halted or was
/// cancelled takes nobody's place. One window is taken in any case, however long it is.
pub(crate) async fn limit(archive: &Archive, plan: &mut TransferPlan, hours: u32) -> Result<()> {
    let fresh = plan.windows().filter(|w| !w.archived).map(|w| w.window);
    let mut fresh: Vec<_> = fresh.collect();
    fresh.sort_unstable();
    let mut left = i64::from(hours) * 3600;
    let mut later = BTreeSet::new();
    for window in fresh {
        if left <= 0 {
            later.insert(window);
            continue;
        }
        let journal = Journal::of(archive, &plan.dataset, window);
        if journal.decisive().await?.verdict() == JournalVerdict::Open {
            left -= window.seconds();
        }
    }
    plan.postpone(&later);
    Ok(())
}
