//! The cold side: what is due is transferred, on schedule and on request.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use tokio::time::Instant;

use super::World;
use crate::archive::{Archive, Observer};
use crate::config::SyncConfig;
use crate::error::{Cause, Result};
use crate::http::{Desk, Manual, SyncRun};
use crate::progress::Progress;
use crate::transfer::{self, CleanupPolicy, Goal, Report, Request, TransferContext};

/// Of the interval, the part by which a run may come later: daemons that were started together spread out.
const JITTER: f64 = 0.05;
/// Between two runs at least.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The schedule, for people.
pub(super) fn describe(sync: &SyncConfig) -> String {
    format!(
        "every {:#}",
        SignedDuration::try_from(sync.interval).unwrap_or(SignedDuration::MAX)
    )
}

/// Transfers until the daemon is to end. The first run begins at once: what was missed while no daemon ran is caught up with.
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
    let mut due = Instant::now();
    loop {
        let manual = tokio::select! {
            () = world.shutdown.cancelled() => return Ok(()),
            manual = desk.taken() => manual,
            // A shorter interval holds at once.
            Ok(()) = live.changed() => {
                due = due.min(next(world, desk));
                continue;
            }
            () = tokio::time::sleep_until(due) => Manual::default(),
        };
        one(world, desk, &context, manual).await;
        due = next(world, desk);
    }
}

/// When the next run is due, if the one before it has just ended; says so to who asks.
fn next(world: &World, desk: &Desk) -> Instant {
    let interval = world.live.borrow().sync.interval.max(PAUSE_MIN);
    let pause = interval.mul_f64(1.0 + JITTER * rand::rng().random::<f64>());
    if let Ok(at) = Timestamp::now().checked_add(pause) {
        desk.next_at(at);
    }
    Instant::now() + pause
}

async fn one(world: &World, desk: &Desk, context: &TransferContext, manual: Manual) {
    let started_at = Timestamp::now();
    let context = TransferContext {
        progress: Progress::default(),
        ..context.clone()
    };
    let request = request(world, manual, started_at);
    desk.began(context.progress.clone());
    let mut report = transfer::run(&context, &request).await;
    let halted = halted(&report);
    let sum = |count: fn(&transfer::WindowReport) -> u64| {
        report.datasets.iter().map(|d| d.sum(count)).sum::<u64>()
    };
    let (rows, bytes) = (sum(|w| w.rows), sum(|w| w.archive_bytes));
    let windows = report.datasets.iter().map(|d| d.windows.len() as u64).sum();
    let failure = report.take_failure();
    let run = SyncRun {
        started_at,
        finished_at: Timestamp::now(),
        ok: failure.is_none(),
        windows,
        rows,
        bytes,
        error: failure.map(|e| e.to_string()),
    };
    match &run.error {
        None => tracing::info!(windows, rows, bytes, "sync done"),
        Some(error) => tracing::error!(
            windows,
            halted,
            error,
            "sync failed; the next run tries again"
        ),
    }
    desk.ended(run, halted);
}

/// Windows that an error ended which does not pass by itself.
fn halted(report: &Report) -> u64 {
    let all = report.datasets.iter().flat_map(|d| &d.windows);
    let stays = |e: &crate::error::Error| !matches!(e.cause(), Cause::Busy(_) | Cause::Interrupted);
    all.filter(|w| w.error.as_ref().is_some_and(stays)).count() as u64
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
    if sync.cleanup_enabled {
        request.cleanup = CleanupPolicy::OlderThan(transfer::stays_in_hot(&config.hot, sync));
    }
    request
}
