//! What broken-off runs left goes by itself, once in an interval.
//!
//! Never beside this process's own transfers: between two runs. One that fails is told, and is tried again when the next one is
//! due; it stops nothing.

use jiff::Timestamp;

use super::{DaemonContext, last_run, schedule};
use crate::http::{SweepRun, SyncControl};
use mpsync_archive::Archive;
use mpsync_core::error::Result;
use mpsync_replay::sweep_insert_gates;
use mpsync_transfer::{SWEPT_AGE, Sweep, TransferContext};

/// When sweeps are due.
pub(super) struct Sweeper {
    /// When the last one began, whichever daemon of this archive made it.
    began: Option<Timestamp>,
}

impl Sweeper {
    pub(super) async fn begin(sync_control: &SyncControl, archive: &Archive) -> Self {
        let mut sweeper = Self { began: None };
        sweeper.recall(sync_control, archive).await;
        sweeper
    }

    async fn recall(&mut self, sync_control: &SyncControl, archive: &Archive) {
        if let Some(run) = last_run::read::<SweepRun>(archive).await {
            self.began = self.began.max(Some(run.started_at));
            sync_control.recall_sweep(run);
        }
    }

    /// When the next one is due, as the configuration stands now.
    pub(super) fn due(&self, context: &DaemonContext) -> Timestamp {
        let interval = context.live.borrow().sync.gc_interval;
        schedule::sweep(interval, self.began, Timestamp::now())
    }

    fn is_due(&self, context: &DaemonContext) -> bool {
        self.due(context) <= Timestamp::now() && !context.shutdown.is_cancelled()
    }

    /// Sweeps, if it is time.
    pub(super) async fn sweep_if_due(
        &mut self,
        context: &DaemonContext,
        sync_control: &SyncControl,
        transfers: &TransferContext,
    ) {
        if !self.is_due(context) {
            return;
        }
        // Another daemon of this archive may have done it meanwhile.
        self.recall(sync_control, &transfers.archive).await;
        if !self.is_due(context) {
            return;
        }
        let started_at = Timestamp::now();
        let swept = sweep(transfers).await;
        if context.shutdown.is_cancelled() {
            // One that the daemon's end broke off is made up for by the next process.
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

/// What it came to, in the log and as a document.
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
    let what = kinds.collect::<Vec<_>>().join(", ");
    let duration = run.finished_at.duration_since(started_at).as_secs_f64();
    match &run.error {
        None => tracing::info!(swept, what, bytes, kept, duration, "sweep done"),
        Some(error) => tracing::error!(
            swept,
            what,
            bytes,
            kept,
            duration,
            error,
            "sweep failed; the next one tries again, and so does mpsync gc"
        ),
    }
    run
}

/// What failed, where anything did: how much, and the first of it. `mpsync gc` names all.
fn failure(failed: &[String]) -> Option<String> {
    let first = failed.first()?;
    let what = first
        .split_once("\n  hint: ")
        .map_or(&**first, |(what, _)| what);
    Some(match failed.len() {
        1 => what.to_owned(),
        n => format!("{n} things could not be swept; the first: {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_failed_in_part_says_how_much_and_the_first_of_it() {
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
        assert_eq!(
            error,
            Some("2 things could not be swept; the first: a: full")
        );
    }
}
