//! The cold side: what is due is transferred, on schedule and on request; what broken-off runs left is swept in between.

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;

use super::sweep::Sweeper;
use super::{DaemonContext, last_run, schedule};
use crate::http::{Manual, RunScope, SyncControl, SyncRun};
use mpsync_archive::{Archive, LeaseWatcher};
use mpsync_config::SyncSchedule;
use mpsync_core::error::Result;
use mpsync_core::progress::Progress;
use mpsync_transfer::{
    CleanupPolicy, Goal, Retention, TransferContext, TransferReport, TransferRequest,
};

/// Transfers until the daemon is to end. What was missed while no daemon ran is caught up with at once.
pub(super) async fn run(context: &DaemonContext) -> Result<()> {
    let Some(sync_control) = context.state.sync_control() else {
        return Ok(());
    };
    let transfers = TransferContext {
        hot: context.hot.clone(),
        cold: context.cold.clone(),
        archive: Archive::open(&context.config.archive).await?,
        datasets: context.datasets.to_vec(),
        progress: Progress::default(),
        shutdown: context.shutdown.clone(),
        watcher: LeaseWatcher::new(context.config.sync.lease),
    };
    context.state.succeeded("transfers", None);
    let mut live = context.live.clone();
    let mut clock = SyncClock::begin(context, sync_control, &transfers.archive).await;
    let mut sweeper = Sweeper::begin(sync_control, &transfers.archive).await;
    loop {
        let due = clock.due.min(sweeper.due(context));
        let nap = schedule::nap(due, Timestamp::now());
        let asked = tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            manual = sync_control.taken() => Some(manual),
            // Another schedule holds at once.
            Ok(()) = live.changed() => {
                clock.reload(context, sync_control);
                continue;
            }
            () = tokio::time::sleep(nap) => clock.is_due(context).then(Manual::default),
        };
        if let Some(manual) = asked {
            clock.began = one(context, sync_control, &transfers, manual)
                .await
                .or(clock.began);
            clock.reschedule(context, sync_control);
        }
        sweeper
            .sweep_if_due(context, sync_control, &transfers)
            .await;
    }
}

/// When the next run is due.
struct SyncClock {
    /// When the last run of all that was due began.
    began: Option<Timestamp>,
    due: Timestamp,
}

impl SyncClock {
    async fn begin(context: &DaemonContext, sync_control: &SyncControl, archive: &Archive) -> Self {
        let last = last_run::read::<SyncRun>(archive).await;
        let began = last.as_ref().map(|run| run.started_at);
        if let Some(last) = last {
            sync_control.recall(last);
        }
        let schedule = &context.live.borrow().sync.schedule;
        let due = schedule::first(schedule, began, Timestamp::now(), rand::rng().random());
        sync_control.next_at(schedule.to_string(), due);
        Self { began, due }
    }

    /// After a run.
    fn reschedule(&mut self, context: &DaemonContext, sync_control: &SyncControl) {
        let schedule = &context.live.borrow().sync.schedule;
        self.due = self.next(schedule);
        sync_control.next_at(schedule.to_string(), self.due);
    }

    /// After a reload: a shorter interval and another expression hold at once, and what else changed postpones nothing.
    fn reload(&mut self, context: &DaemonContext, sync_control: &SyncControl) {
        let schedule = &context.live.borrow().sync.schedule;
        let next = self.next(schedule);
        self.due = match schedule {
            SyncSchedule::Every(_) => self.due.min(next),
            SyncSchedule::Cron(_) => next,
        };
        sync_control.next_at(schedule.to_string(), self.due);
    }

    fn next(&self, schedule: &SyncSchedule) -> Timestamp {
        let (now, random) = (Timestamp::now(), rand::rng().random());
        match self.began {
            Some(began) => schedule::next(schedule, began, now, random),
            None => schedule::first(schedule, None, now, random),
        }
    }

    fn is_due(&mut self, context: &DaemonContext) -> bool {
        let now = Timestamp::now();
        self.due = schedule::not_beyond(&context.live.borrow().sync.schedule, self.due, now);
        self.due <= now
    }
}

/// One run. Gives when it began, where it was one of all that is due.
async fn one(
    context: &DaemonContext,
    sync_control: &SyncControl,
    transfers: &TransferContext,
    manual: Manual,
) -> Option<Timestamp> {
    let started_at = Timestamp::now();
    let metrics = context.state.metrics().clone();
    let transfers = TransferContext {
        progress: Progress::telling(move |done| metrics.stepped(done.step, done.seconds)),
        ..transfers.clone()
    };
    let request = request(context, manual, started_at);
    let scope = match request.range.from {
        None => RunScope::Whole,
        Some(_) => RunScope::Part,
    };
    sync_control.began(transfers.progress.clone());
    let mut report = mpsync_transfer::run(&transfers, &request).await;
    sync_control.came_to(&report, scope);
    let run = summary(&mut report, started_at);
    let SyncRun {
        windows,
        rows,
        bytes,
        ..
    } = run;
    let duration = run.finished_at.duration_since(started_at).as_secs_f64();
    match &run.error {
        None => tracing::info!(windows, rows, bytes, duration, "sync done"),
        Some(error) => tracing::error!(
            windows,
            rows,
            bytes,
            duration,
            error,
            "sync failed; the next run tries again"
        ),
    }
    // One that the daemon's end broke off is made up for by the next process.
    let counts = scope == RunScope::Whole && !context.shutdown.is_cancelled();
    if counts {
        last_run::write(&transfers.archive, &run).await;
    }
    sync_control.ended(run);
    counts.then_some(started_at)
}

/// What a run came to, in few numbers. Takes its errors out of the report.
fn summary(report: &mut TransferReport, started_at: Timestamp) -> SyncRun {
    let sum = |count: fn(&mpsync_transfer::WindowReport) -> u64| {
        report.datasets.iter().map(|d| d.sum(count)).sum::<u64>()
    };
    let (rows, bytes) = (sum(|w| w.rows), sum(|w| w.archive_bytes));
    let windows = report.datasets.iter().map(|d| d.windows.len() as u64).sum();
    let failure = report.take_failure();
    SyncRun {
        started_at,
        finished_at: Timestamp::now(),
        ok: failure.is_none(),
        windows,
        rows,
        bytes,
        hint: failure
            .as_ref()
            .and_then(|e| e.hint().map(ToOwned::to_owned)),
        error: failure.map(|e| e.message()),
    }
}

fn request(context: &DaemonContext, manual: Manual, now: Timestamp) -> TransferRequest {
    let config = context.live.borrow().clone();
    let sync = &config.sync;
    let mut request = TransferRequest::new(Goal::Sync, sync);
    request.now = now;
    request.range.from = manual.lookback_hours.and_then(|hours| {
        now.checked_sub(SignedDuration::from_hours(hours.into()))
            .ok()
    });
    // A person who names a time means all of it.
    request.batch_hours = manual.lookback_hours.is_none().then_some(sync.batch_hours);
    if sync.cleanup_enabled {
        request.cleanup =
            CleanupPolicy::OlderThan(mpsync_transfer::stays_in_hot(&config.hot, sync));
        request.retention = Retention::of(&config.cold, &config.archive);
    }
    request
}
