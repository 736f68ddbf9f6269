//! Requests to the cold side, and the state of its runs.

use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use mpsync_core::progress::{Progress, WorkSnapshot};
use mpsync_transfer::{Status, TransferReport};
use tokio::sync::Notify;

use super::lock::lock;
use super::runs::{SweepRun, SyncRun};
use super::transfer_results::{RunScope, Transfers};

/// A requested run of the cold side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manual {
    /// Only windows that end within this many hours before now; `None` for all that are due.
    pub lookback_hours: Option<u32>,
}

/// The requests to the cold side, and the state of its runs.
#[derive(Debug)]
pub struct SyncControl {
    inner: Mutex<SyncControlState>,
    requested: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct SyncControlState {
    pub(crate) schedule: String,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) last: Option<SyncRun>,
    pub(crate) running: Option<Progress>,
    pub(crate) transfers: Transfers,
    pub(crate) queued: Option<Manual>,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) last_success_at: Option<Timestamp>,
    pub(crate) sweeps: Sweeps,
}

/// The garbage collections of this process, and the last one of all processes.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    pub(crate) last: Option<SweepRun>,
    pub(crate) last_success_at: Option<Timestamp>,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// The number of deleted objects.
    pub(crate) swept: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Sweeps {
    fn record(&mut self, run: SweepRun) {
        if run.ok {
            self.last_success_at = self.last_success_at.max(Some(run.finished_at));
        }
        self.last = Some(run);
    }
}

impl SyncControl {
    /// Returns the control of a daemon with this schedule.
    pub(crate) fn new(schedule: String) -> Self {
        let state = SyncControlState {
            schedule,
            ..SyncControlState::default()
        };
        Self {
            inner: Mutex::new(state),
            requested: Notify::new(),
        }
    }

    /// Locks the state of the runs.
    pub(crate) fn state(&self) -> MutexGuard<'_, SyncControlState> {
        lock(&self.inner)
    }

    /// Queues a run. Returns `false` if one is queued already.
    pub(crate) fn request(&self, manual: Manual) -> bool {
        let mut state = self.state();
        if state.queued.is_some() {
            return false;
        }
        state.queued = Some(manual);
        drop(state);
        self.requested.notify_one();
        true
    }

    /// Records the schedule and its next run.
    pub fn scheduled(&self, schedule: String, at: Timestamp) {
        let mut state = self.state();
        state.schedule = schedule;
        state.next_at = Some(at);
    }

    /// Waits for a request and removes it from the queue.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn next_request(&self) -> Manual {
        loop {
            let requested = self.requested.notified();
            if let Some(manual) = self.state().queued.take() {
                return manual;
            }
            requested.await;
        }
    }

    /// Records that a run begins.
    pub fn began(&self, progress: Progress) {
        self.state().running = Some(progress);
    }

    /// Records the report of the run that is ending, which must still contain its errors.
    pub fn reported(&self, report: &TransferReport, scope: RunScope) {
        self.state().transfers.record(report, scope);
    }

    /// Records the stored result of a run before the first one of this process.
    pub fn restore(&self, run: SyncRun) {
        let mut state = self.state();
        if state.last.is_none() {
            state.last_success_at = run.ok.then_some(run.finished_at);
            state.last = Some(run);
        }
    }

    /// Records the result of the current run.
    pub fn ended(&self, run: SyncRun) {
        let mut state = self.state();
        state.running = None;
        match run.ok {
            true => {
                state.succeeded += 1;
                state.last_success_at = Some(run.finished_at);
            }
            false => state.failed += 1,
        }
        state.last = Some(run);
    }

    /// Records the stored result of a garbage collection of another process.
    pub fn restore_sweep(&self, run: SweepRun) {
        self.state().sweeps.record(run);
    }

    /// Records the result of a garbage collection of this process.
    pub fn swept(&self, run: SweepRun) {
        let sweeps = &mut self.state().sweeps;
        match run.ok {
            true => sweeps.succeeded += 1,
            false => sweeps.failed += 1,
        }
        sweeps.swept += run.swept;
        sweeps.bytes += run.bytes;
        sweeps.record(run);
    }
}

impl SyncControlState {
    /// Returns how many windows of the current run are queued, and how many are being transferred.
    pub(crate) fn in_progress(&self) -> (u64, u64) {
        let Some(progress) = &self.running else {
            return (0, 0);
        };
        let now = progress.snapshot();
        let waits = |work: &&WorkSnapshot| work.waits;
        let running = (now.active.len() - now.active.iter().filter(waits).count()) as u64;
        (now.total.saturating_sub(now.done + running), running)
    }

    /// Returns the number of windows that halted until the operator acts.
    pub(crate) fn halted(&self) -> u64 {
        self.transfers.with_status(Status::Halted)
    }
}
