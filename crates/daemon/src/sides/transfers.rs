//! The cold side: transfers due windows, on schedule and on request, and collects garbage in between.

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;

use super::garbage_collection::GarbageCollector;
use super::last_run;
use crate::context::DaemonContext;
use crate::doctor::examine::examine_tiers;
use crate::schedule;
use crate::state::runs::SyncRun;
use crate::state::sync_control::{Manual, SyncControl};
use crate::state::transfer_results::RunScope;
use mpsync_archive::{Archive, LeaseWatcher};
use mpsync_config::SyncSchedule;
use mpsync_core::dataset::TierRole;
use mpsync_core::error::{Error, Result};
use mpsync_core::progress::Progress;
use mpsync_transfer::{
    CleanupPolicy, Goal, Retention, TransferContext, TransferReport, TransferRequest,
};

/// Transfers until the shutdown. Runs that were missed while no daemon ran are made up for at once.
pub(crate) async fn run(context: &DaemonContext) -> Result<()> {
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
    let mut collector = GarbageCollector::begin(sync_control, &transfers.archive).await;
    loop {
        let due = clock.due.min(collector.due(context));
        let nap = schedule::nap(due, Timestamp::now());
        let requested = tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            manual = sync_control.next_request() => Some(manual),
            // A changed schedule takes effect at once.
            Ok(()) = live.changed() => {
                clock.reload(context, sync_control);
                continue;
            }
            () = tokio::time::sleep(nap) => clock.is_due(context).then(Manual::default),
        };
        if let Some(manual) = requested {
            clock.began = run_once(context, sync_control, &transfers, manual)
                .await
                .or(clock.began);
            clock.reschedule(context, sync_control);
        }
        collector
            .collect_if_due(context, sync_control, &transfers)
            .await;
    }
}

/// The time of the next run.
struct SyncClock {
    /// The start of the last complete run.
    began: Option<Timestamp>,
    due: Timestamp,
}

impl SyncClock {
    async fn begin(context: &DaemonContext, sync_control: &SyncControl, archive: &Archive) -> Self {
        let last = last_run::read::<SyncRun>(archive).await;
        let began = last.as_ref().map(|run| run.started_at);
        if let Some(last) = last {
            sync_control.restore(last);
        }
        let schedule = &context.live.borrow().sync.schedule;
        let due = schedule::first(schedule, began, Timestamp::now(), rand::rng().random());
        sync_control.scheduled(schedule.to_string(), due);
        Self { began, due }
    }

    /// Computes the time of the next run, after a run.
    fn reschedule(&mut self, context: &DaemonContext, sync_control: &SyncControl) {
        let schedule = &context.live.borrow().sync.schedule;
        self.due = self.next(schedule);
        sync_control.scheduled(schedule.to_string(), self.due);
    }

    /// Computes the time of the next run, after a reload: a shorter interval and another expression take effect at once, and no
    /// other change postpones the run.
    fn reload(&mut self, context: &DaemonContext, sync_control: &SyncControl) {
        let schedule = &context.live.borrow().sync.schedule;
        let next = self.next(schedule);
        self.due = match schedule {
            SyncSchedule::Every(_) => self.due.min(next),
            SyncSchedule::Cron(_) => next,
        };
        sync_control.scheduled(schedule.to_string(), self.due);
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

/// Runs once. Returns the start of the run if it was a complete one.
async fn run_once(
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
    // The profile of a user or a table can change at any time.
    let config = context.live.borrow().clone();
    let roles = [TierRole::Hot, TierRole::Cold];
    let examined = examine_tiers(&config, &context.datasets, &roles);
    let diagnosis = context.shutdown.run_until_cancelled(examined).await;
    // A run that begins during the shutdown ends at once.
    let (run, is_interrupted) = match diagnosis.unwrap_or_default().refuse() {
        Err(e) => (refused_run(&e, started_at), false),
        Ok(()) => {
            let mut report = mpsync_transfer::run(&transfers, &request).await;
            sync_control.reported(&report, scope);
            let is_interrupted = report.interruption().is_some();
            (summary(&mut report, started_at), is_interrupted)
        }
    };
    let SyncRun {
        windows,
        rows,
        bytes,
        ..
    } = run;
    let duration = run.finished_at.duration_since(started_at).as_secs_f64();
    match &run.error {
        // The next process continues it.
        Some(_) if is_interrupted => {
            tracing::info!(windows, rows, bytes, duration, "sync interrupted");
        }
        None => tracing::info!(windows, rows, bytes, duration, "sync completed"),
        Some(error) => tracing::error!(
            windows,
            rows,
            bytes,
            duration,
            error,
            "sync failed; the next run retries"
        ),
    }
    // The next process repeats an interrupted run.
    let is_complete = scope == RunScope::Whole && !context.shutdown.is_cancelled();
    if is_complete {
        last_run::write(&transfers.archive, &run).await;
    }
    sync_control.ended(run);
    is_complete.then_some(started_at)
}

/// Returns the result of a run that was refused.
fn refused_run(error: &Error, started_at: Timestamp) -> SyncRun {
    SyncRun {
        started_at,
        finished_at: Timestamp::now(),
        ok: false,
        windows: 0,
        rows: 0,
        bytes: 0,
        hint: error.hint().map(ToOwned::to_owned),
        error: Some(error.message()),
    }
}

/// Summarizes a run. Moves its errors out of the report.
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
    // A request with a time range includes all of it.
    request.batch_hours = manual
        .lookback_hours
        .is_none()
        .then_some(sync.max_hours_per_run);
    if sync.cleanup_enabled {
        request.cleanup =
            CleanupPolicy::OlderThan(mpsync_transfer::stays_in_hot(&config.hot, sync));
    }
    if sync.retention_enabled {
        request.retention = Retention::of(&config.cold, &config.archive);
    }
    request
}
