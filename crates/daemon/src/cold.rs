//! The cold side: what is due is transferred, on schedule and on request; what broken-off runs left is swept in between.

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;

use super::sweep::Sweeper;
use super::{World, last, schedule};
use crate::http::{Desk, Manual, Scope, SyncRun};
use mpsync_archive::{Archive, Observer};
use mpsync_config::SyncSchedule;
use mpsync_core::error::Result;
use mpsync_core::progress::Progress;
use mpsync_transfer::{CleanupPolicy, Goal, Report, Request, Retention, TransferContext};

/// Transfers until the daemon is to end. What was missed while no daemon ran is caught up with at once.
pub(super) async fn run(world: &World) -> Result<()> {
    let Some(desk) = world.state.desk() else {
        return Ok(());
    };
    let context = TransferContext {
        hot: world.hot.clone(),
        cold: world.cold.clone(),
        archive: Archive::open(&world.config.archive).await?,
        datasets: world.datasets.to_vec(),
        progress: Progress::default(),
        shutdown: world.shutdown.clone(),
        observer: Observer::new(world.config.sync.lease),
    };
    world.state.succeeded("transfers", None);
    let mut live = world.live.clone();
    let mut clock = Clock::begin(world, desk, &context.archive).await;
    let mut sweeper = Sweeper::begin(desk, &context.archive).await;
    loop {
        let due = clock.due.min(sweeper.due(world));
        let nap = schedule::nap(due, Timestamp::now());
        let asked = tokio::select! {
            () = world.shutdown.cancelled() => return Ok(()),
            manual = desk.taken() => Some(manual),
            // Another schedule holds at once.
            Ok(()) = live.changed() => {
                clock.reload(world, desk);
                continue;
            }
            () = tokio::time::sleep(nap) => clock.is_due(world).then(Manual::default),
        };
        if let Some(manual) = asked {
            clock.began = one(world, desk, &context, manual).await.or(clock.began);
            clock.wind(world, desk);
        }
        sweeper.sweep_if_due(world, desk, &context).await;
    }
}

/// When the next run is due.
struct Clock {
    /// When the last run of all that was due began.
    began: Option<Timestamp>,
    due: Timestamp,
}

impl Clock {
    async fn begin(world: &World, desk: &Desk, archive: &Archive) -> Self {
        let last = last::read::<SyncRun>(archive).await;
        let began = last.as_ref().map(|run| run.started_at);
        if let Some(last) = last {
            desk.recall(last);
        }
        let schedule = &world.live.borrow().sync.schedule;
        let due = schedule::first(schedule, began, Timestamp::now(), rand::rng().random());
        desk.next_at(schedule.to_string(), due);
        Self { began, due }
    }

    /// After a run.
    fn wind(&mut self, world: &World, desk: &Desk) {
        let schedule = &world.live.borrow().sync.schedule;
        self.due = self.next(schedule);
        desk.next_at(schedule.to_string(), self.due);
    }

    /// After a reload: a shorter interval and another expression hold at once, and what else changed postpones nothing.
    fn reload(&mut self, world: &World, desk: &Desk) {
        let schedule = &world.live.borrow().sync.schedule;
        let next = self.next(schedule);
        self.due = match schedule {
            SyncSchedule::Every(_) => self.due.min(next),
            SyncSchedule::Cron(_) => next,
        };
        desk.next_at(schedule.to_string(), self.due);
    }

    fn next(&self, schedule: &SyncSchedule) -> Timestamp {
        let (now, random) = (Timestamp::now(), rand::rng().random());
        match self.began {
            Some(began) => schedule::next(schedule, began, now, random),
            None => schedule::first(schedule, None, now, random),
        }
    }

    fn is_due(&mut self, world: &World) -> bool {
        let now = Timestamp::now();
        self.due = schedule::not_beyond(&world.live.borrow().sync.schedule, self.due, now);
        self.due <= now
    }
}

/// One run. Gives when it began, where it was one of all that is due.
async fn one(
    world: &World,
    desk: &Desk,
    context: &TransferContext,
    manual: Manual,
) -> Option<Timestamp> {
    let started_at = Timestamp::now();
    let metrics = world.state.metrics().clone();
    let context = TransferContext {
        progress: Progress::telling(move |done| metrics.stepped(done.step, done.seconds)),
        ..context.clone()
    };
    let request = request(world, manual, started_at);
    let scope = match request.range.from {
        None => Scope::Whole,
        Some(_) => Scope::Part,
    };
    desk.began(context.progress.clone());
    let mut report = mpsync_transfer::run(&context, &request).await;
    desk.came_to(&report, scope);
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
    let counts = scope == Scope::Whole && !world.shutdown.is_cancelled();
    if counts {
        last::write(&context.archive, &run).await;
    }
    desk.ended(run);
    counts.then_some(started_at)
}

/// What a run came to, in few numbers. Takes its errors out of the report.
fn summary(report: &mut Report, started_at: Timestamp) -> SyncRun {
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
            .and_then(|e| e.advice().map(ToOwned::to_owned)),
        error: failure.map(|e| e.what()),
    }
}

fn request(world: &World, manual: Manual, now: Timestamp) -> Request {
    let config = world.live.borrow().clone();
    let sync = &config.sync;
    let mut request = Request::new(Goal::Sync, sync);
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
