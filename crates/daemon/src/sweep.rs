//! What broken-off runs left goes by itself, once in an interval.
//!
//! Never beside this process's own transfers: between two runs. One that fails is told, and is tried again when the next one is
//! due; it stops nothing.

use jiff::Timestamp;

use super::{World, last, schedule};
use crate::http::{Desk, SweepRun};
use mpsync_archive::Archive;
use mpsync_core::error::Result;
use mpsync_replay::sweep_doors;
use mpsync_transfer::{SWEPT_AGE, Sweep, TransferContext};

/// When sweeps are due.
pub(super) struct Sweeper {
    /// When the last one began, whichever daemon of this archive made it.
    began: Option<Timestamp>,
}

impl Sweeper {
    pub(super) async fn begin(desk: &Desk, archive: &Archive) -> Self {
        let mut sweeper = Self { began: None };
        sweeper.recall(desk, archive).await;
        sweeper
    }

    async fn recall(&mut self, desk: &Desk, archive: &Archive) {
        if let Some(run) = last::read::<SweepRun>(archive).await {
            self.began = self.began.max(Some(run.started_at));
            desk.recall_sweep(run);
        }
    }

    /// When the next one is due, as the configuration stands now.
    pub(super) fn due(&self, world: &World) -> Timestamp {
        let interval = world.live.borrow().sync.gc_interval;
        schedule::sweep(interval, self.began, Timestamp::now())
    }

    fn is_due(&self, world: &World) -> bool {
        self.due(world) <= Timestamp::now() && !world.shutdown.is_cancelled()
    }

    /// Sweeps, if it is time.
    pub(super) async fn sweep_if_due(
        &mut self,
        world: &World,
        desk: &Desk,
        context: &TransferContext,
    ) {
        if !self.is_due(world) {
            return;
        }
        // Another daemon of this archive may have done it meanwhile.
        self.recall(desk, &context.archive).await;
        if !self.is_due(world) {
            return;
        }
        let started_at = Timestamp::now();
        let swept = sweep(context).await;
        if world.shutdown.is_cancelled() {
            // One that the daemon's end broke off is made up for by the next process.
            return;
        }
        let run = told(swept, started_at);
        self.began = Some(started_at);
        last::write(&context.archive, &run).await;
        desk.swept(run);
    }
}

async fn sweep(context: &TransferContext) -> Result<Sweep> {
    let mut sweep = mpsync_transfer::gc(context, SWEPT_AGE, false).await?;
    for tier in [&context.hot, &context.cold] {
        let doors = sweep_doors(tier, SWEPT_AGE, false).await;
        sweep.take_doors(tier.role(), doors);
    }
    Ok(sweep)
}

/// What it came to, in the log and as a document.
fn told(swept: Result<Sweep>, started_at: Timestamp) -> SweepRun {
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
        let done = told(Ok(Sweep::default()), started_at);
        assert!(done.ok && done.error.is_none());
        let mut sweep = Sweep::default();
        sweep.failed.push("a: full\n  hint: free some".to_owned());
        assert_eq!(failure(&sweep.failed).as_deref(), Some("a: full"));
        sweep.failed.push("b".to_owned());
        let run = told(Ok(sweep), started_at);
        assert!(!run.ok);
        let error = run.error.as_deref();
        assert_eq!(
            error,
            Some("2 things could not be swept; the first: a: full")
        );
    }
}
