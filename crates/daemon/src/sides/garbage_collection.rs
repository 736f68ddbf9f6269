//! Deletes leftovers of interrupted runs, once in an interval.
//!
//! It runs between two transfer runs of this process, never beside them. A failure is reported and retried when the next garbage
//! collection is due; it stops nothing else.

use jiff::Timestamp;

use super::last_run;
use crate::context::DaemonContext;
use crate::schedule;
use crate::state::runs::SweepRun;
use crate::state::sync_control::SyncControl;
use mpsync_archive::Archive;
use mpsync_core::error::Result;
use mpsync_replay::sweep_insert_gates;
use mpsync_transfer::{SWEPT_AGE, Sweep, TransferContext};

/// Runs garbage collections when they are due.
pub(crate) struct GarbageCollector {
    /// The start of the last garbage collection by any daemon of this archive.
    began: Option<Timestamp>,
}

impl GarbageCollector {
    /// Reads the time of the last garbage collection.
    pub(crate) async fn begin(sync_control: &SyncControl, archive: &Archive) -> Self {
        let mut collector = Self { began: None };
        collector.restore(sync_control, archive).await;
        collector
    }

    async fn restore(&mut self, sync_control: &SyncControl, archive: &Archive) {
        if let Some(run) = last_run::read::<SweepRun>(archive).await {
            self.began = self.began.max(Some(run.started_at));
            sync_control.restore_sweep(run);
        }
    }

    /// Returns the time of the next garbage collection, by the current configuration.
    pub(crate) fn due(&self, context: &DaemonContext) -> Timestamp {
        let interval = context.live.borrow().sync.gc_interval;
        schedule::sweep(interval, self.began, Timestamp::now())
    }

    fn is_due(&self, context: &DaemonContext) -> bool {
        self.due(context) <= Timestamp::now() && !context.shutdown.is_cancelled()
    }

    /// Collects garbage if it is due.
    pub(crate) async fn collect_if_due(
        &mut self,
        context: &DaemonContext,
        sync_control: &SyncControl,
        transfers: &TransferContext,
    ) {
        if !self.is_due(context) {
            return;
        }
        // Another daemon of this archive may have run it meanwhile.
        self.restore(sync_control, &transfers.archive).await;
        if !self.is_due(context) {
            return;
        }
        let started_at = Timestamp::now();
        let swept = sweep(transfers).await;
        if context.shutdown.is_cancelled() {
            // The next process repeats an interrupted one.
            return;
        }
        let run = record(swept, started_at);
        self.began = Some(started_at);
        last_run::write(&transfers.archive, &run).await;
        sync_control.swept(run);
    }
}

async fn sweep(transfers: &TransferContext) -> Result<Sweep> {
    let mut sweep = mpsync_transfer::gc(transfers, SWEPT_AGE, false).await?;
    for tier in [&transfers.hot, &transfers.cold] {
        let gates = sweep_insert_gates(tier, SWEPT_AGE, false).await;
        sweep.add_insert_gates(tier.role(), gates);
    }
    Ok(sweep)
}

/// Logs the result, and returns it as a document.
fn record(swept: Result<Sweep>, started_at: Timestamp) -> SweepRun {
    let (sweep, error) = match swept {
        Ok(sweep) => {
            let error = failure(&sweep.failed);
            (sweep, error)
        }
        Err(e) => (Sweep::default(), Some(e.to_string())),
    };
    let kinds = sweep.kinds().into_iter();
    let run = SweepRun {
        started_at,
        finished_at: Timestamp::now(),
        ok: error.is_none(),
        swept: sweep.swept.len() as u64,
        bytes: sweep.bytes(),
        kinds: kinds.map(|(kind, n)| (kind.to_string(), n)).collect(),
        error,
    };
    let (swept, bytes, kept) = (run.swept, run.bytes, sweep.kept.len());
    let kinds = run.kinds.iter().map(|(kind, n)| format!("{n} {kind}"));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let duration = run.finished_at.duration_since(started_at).as_secs_f64();
    match &run.error {
        None => tracing::info!(
            swept,
            kinds,
            bytes,
            kept,
            duration,
            "garbage collection completed"
        ),
        Some(error) => tracing::error!(
            swept,
            kinds,
            bytes,
            kept,
            duration,
            error,
            "garbage collection failed; the next one retries, as does mpsync gc"
        ),
    }
    run
}

/// Summarizes failures by their number and the first one. `mpsync gc` lists all.
fn failure(failed: &[String]) -> Option<String> {
    let first = failed.first()?;
    let text = first
        .split_once("\n  hint: ")
        .map_or(&**first, |(text, _)| text);
    Some(match failed.len() {
        1 => text.to_owned(),
        n => format!("cannot delete {n} leftovers; the first: {text}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_failures_are_counted_and_the_first_is_named() {
        let started_at: Timestamp = "2026-01-05T14:00:00Z".parse().unwrap();
        let done = record(Ok(Sweep::default()), started_at);
        assert!(done.ok && done.error.is_none());
        let mut sweep = Sweep::default();
        sweep.failed.push("a: full\n  hint: free some".to_owned());
        assert_eq!(failure(&sweep.failed).as_deref(), Some("a: full"));
        sweep.failed.push("b".to_owned());
        let run = record(Ok(sweep), started_at);
        assert!(!run.ok);
        let error = run.error.as_deref();
        assert_eq!(error, Some("cannot delete 2 leftovers; the first: a: full"));
    }
}
