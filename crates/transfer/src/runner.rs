//! Carries plans out: several windows at once, each retried while its errors can pass; one that halts stops no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::cleanup::delete_rows::delete_rows;
use crate::cleanup::drop_partition::{self, Cleaned};
use crate::dataset_run::{DatasetRun, SourceTable};
use crate::plan::transfer_plan::{Cleanup, KeepReason, PlannedPartition};
use crate::report::{PartitionReport, WindowReport};
use crate::request::{Goal, RunTrigger};
use crate::tasks::TaskId;
use crate::window::drive::drive;
use crate::window::journal::Journal;
use crate::window::task::{JournalVerdict, Stage, Status};
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::LeaseWatcher;
use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_core::progress::Work;
use mpsync_core::retry::{Backoff, Tries};

/// How many times as long as it takes for a dead worker's lease to expire another one's is waited for.
const BUSY_PATIENCES: f64 = 1.5;
/// How often a window that another worker has is asked for.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// One dataset's run.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    pub(crate) run: Arc<DatasetRun>,
    pub(crate) goal: Goal,
    pub(crate) origin: RunTrigger,
    pub(crate) watcher: LeaseWatcher,
    /// How many windows of an import are under way at a time.
    pub(crate) at_once: usize,
    /// One for each window that may be under way.
    pub(crate) permits: Arc<Semaphore>,
    /// One for each cleanup that may be under way: it does not queue behind all the windows that are to be transferred.
    pub(crate) cleanups: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

impl Runner {
    /// Carries out the partitions of a plan, as many windows at once as there are permits.
    pub(crate) async fn partitions(
        &self,
        planned: Vec<PlannedPartition>,
    ) -> Result<(Vec<WindowReport>, Vec<PartitionReport>)> {
        let mut running = JoinSet::new();
        for partition in planned {
            let runner = self.clone();
            running.spawn(async move { runner.partition(partition).await });
        }
        let (mut windows, mut partitions) = (Vec::new(), Vec::new());
        while let Some(done) = running.join_next().await {
            let (of_windows, of_partition) = done.map_err(std::io::Error::other)??;
            windows.extend(of_windows);
            partitions.push(of_partition);
        }
        windows.sort_by_key(|w| w.window);
        partitions.sort_by_key(|p| p.span);
        Ok((windows, partitions))
    }

    /// Carries out windows that only the archive holds, in the order in which they are given. No window is asked for before its turn.
    pub(crate) async fn windows(&self, windows: Vec<Window>) -> Result<Vec<WindowReport>> {
        let mut left = windows.into_iter();
        let (mut running, mut reports) = (JoinSet::new(), Vec::new());
        loop {
            while running.len() < self.at_once
                && let Some(window) = left.next()
            {
                let runner = self.clone();
                running.spawn(async move { runner.window(None, window).await });
            }
            let Some(done) = running.join_next().await else {
                break;
            };
            reports.push(done.map_err(std::io::Error::other)?);
        }
        reports.sort_by_key(|w| w.window);
        Ok(reports)
    }

    async fn partition(
        &self,
        planned: PlannedPartition,
    ) -> Result<(Vec<WindowReport>, PartitionReport)> {
        let table = &self.run.hot()?.schema.table;
        let mut running = JoinSet::new();
        for planned_window in &planned.windows {
            let source = SourceTable {
                table: table.clone(),
                partition: planned.id.clone(),
                rows: planned_window.rows,
            };
            let (runner, window) = (self.clone(), planned_window.window);
            running.spawn(async move { runner.window(Some(source), window).await });
        }
        let mut windows = Vec::new();
        while let Some(done) = running.join_next().await {
            windows.push(done.map_err(std::io::Error::other)?);
        }
        let partition = self.cleanup(&planned, &mut windows).await;
        Ok((windows, partition))
    }

    /// Deletes the rows of windows that are proven from a partition that holds others.
    async fn delete(
        &self,
        planned: &PlannedPartition,
        due: &[Window],
        windows: &mut Vec<WindowReport>,
    ) -> Result<PartitionReport> {
        let table = &self.run.hot()?.schema.table;
        let mut report = PartitionReport {
            span: planned.span,
            cleaned_rows: 0,
            kept: None,
            error: None,
        };
        for planned_window in planned.windows.iter().filter(|w| due.contains(&w.window)) {
            let window = planned_window.window;
            let proven = windows
                .iter()
                .any(|w| w.window == window && w.stage >= Stage::Verified && w.error.is_none());
            if !proven || !self.may_work_on(window).await? {
                report.kept = Some(KeepReason::NotProven);
                continue;
            }
            let source = SourceTable {
                table: table.clone(),
                partition: planned.id.clone(),
                rows: planned_window.rows,
            };
            let name = &self.run.dataset.name;
            let work = self.run.progress.begin(format!("{name} deleting {window}"));
            let job = Job::Delete {
                source: &source,
                window,
            };
            let task = self.run.task(window);
            match self.run_with_retries(job, &work).instrument(task).await {
                Ok(done) => record_cleaned(&mut report, windows, done),
                // One that fails leaves the others their turn.
                Err(e) => report.error = Some(e),
            }
        }
        Ok(report)
    }

    /// Cleans a partition whose windows are all proven.
    async fn cleanup(
        &self,
        planned: &PlannedPartition,
        windows: &mut Vec<WindowReport>,
    ) -> PartitionReport {
        let mut report = PartitionReport {
            span: planned.span,
            cleaned_rows: 0,
            kept: None,
            error: None,
        };
        let span = match (&planned.cleanup, planned.span) {
            (Cleanup::Keep(why), _) => {
                report.kept = Some(*why);
                return report;
            }
            (Cleanup::Delete(due), _) => {
                return match self.delete(planned, due, windows).await {
                    Ok(report) => report,
                    Err(e) => {
                        report.error = Some(e);
                        report
                    }
                };
            }
            (Cleanup::Clean, None) => return report,
            (Cleanup::Clean, Some(span)) => span,
        };
        if windows
            .iter()
            .any(|w| w.stage < Stage::Verified || w.error.is_some())
        {
            report.kept = Some(KeepReason::NotProven);
            return report;
        }
        match self.may_work_on(span).await {
            Ok(true) => {}
            Ok(false) => {
                report.kept = Some(KeepReason::Cancelled);
                return report;
            }
            Err(e) => {
                report.error = Some(e);
                return report;
            }
        }
        let task = self.run.task(span);
        let what = format!("{} cleaning {span}", self.run.dataset.name);
        let work = self.run.progress.begin_task(what, task.clone());
        let job = Job::Clean {
            partition: &planned.id,
            span,
        };
        let cleaned = self.run_with_retries(job, &work).instrument(task).await;
        match cleaned {
            Ok(done) => record_cleaned(&mut report, windows, done),
            Err(e) => report.error = Some(e),
        }
        report
    }

    /// Drives one window to the goal.
    async fn window(&self, source: Option<SourceTable>, window: Window) -> WindowReport {
        let started = Instant::now();
        let task = self.run.task(window);
        let what = format!("{} {window}", self.run.dataset.name);
        let work = self.run.progress.begin_task(what, task.clone());
        work.plan(source.as_ref().map_or(0, |source| source.rows));
        let mut report = WindowReport::new(window);
        let job = Job::Drive {
            source: source.as_ref(),
            window,
        };
        let driven = match self.may_work_on(window).await {
            Ok(true) => {
                self.run_with_retries(job, &work)
                    .instrument(task.clone())
                    .await
            }
            Ok(false) => {
                report.status = Status::Cancelled;
                return report;
            }
            Err(e) => Err(e),
        };
        let _entered = task.enter();
        match driven {
            // An operator ended it, which is not a failure.
            Err(e) if matches!(e.cause(), Cause::Cancelled(_)) => {
                tracing::info!(dataset = %self.run.dataset.name, %window, "cancelled");
                report.status = Status::Cancelled;
            }
            Ok(done) => {
                for (_, driven) in &done.windows {
                    report.record(driven);
                }
                report.status = if report.stage >= self.goal.stage() || report.generations == 0 {
                    Status::Done
                } else {
                    Status::Waiting
                };
            }
            // The next run continues: an interruption is not a failure.
            Err(e) if matches!(e.cause(), Cause::Interrupted) => {
                tracing::info!("window interrupted");
                report.halt(e);
            }
            Err(e) => {
                match Status::after(&e) {
                    Status::Halted => tracing::error!(error = %e, "window halted"),
                    Status::Cancelled => tracing::info!(error = %e, "window interrupted"),
                    _ => tracing::warn!(error = %e, "window waiting"),
                }
                report.halt(e);
            }
        }
        report.seconds = started.elapsed().as_secs_f64();
        report
    }

    /// Whether a window is to be worked on: `false` where a person has cancelled it, and the integrity error again where
    /// it has halted and this is a routine run, which tries nothing that cannot pass.
    async fn may_work_on(&self, window: Window) -> Result<bool> {
        let name = &self.run.dataset.name;
        let journal = Journal::of(&self.run.archive, name, window);
        match journal.decisive().await?.verdict() {
            JournalVerdict::Open => Ok(true),
            JournalVerdict::Halted { .. } if self.origin == RunTrigger::Explicit => Ok(true),
            JournalVerdict::Cancelled => Ok(false),
            JournalVerdict::Halted { error, .. } => {
                let id = TaskId::new(name.clone(), window);
                Err(Error::integrity(format!("it halted before, and was not tried again: {error}"))
                    .with_hint(format!(
                        "`mpsync tasks show {id}` says more; when the cause is mended, `mpsync tasks retry {id}`"
                    ))
                    .context(format!("{name} {window}")))
            }
        }
    }

    /// One try at a job, under a lease of its own.
    async fn attempt(&self, job: Job<'_>, work: &Work) -> Result<Cleaned> {
        let (run, watcher) = (&*self.run, &self.watcher);
        match job {
            Job::Drive { source, window } => {
                let mut window_attempt = WindowAttempt::new(run, window, watcher);
                let driven = Box::pin(drive(
                    run,
                    source,
                    window,
                    self.goal,
                    &mut window_attempt,
                    work,
                ));
                let driven = self.or_interrupted(driven).await;
                let driven = window_attempt.end(driven).await;
                let driven = driven.context(|| format!("{} {window}", run.dataset.name))?;
                Ok(Cleaned {
                    rows: 0,
                    windows: vec![(window, driven)],
                })
            }
            Job::Clean { partition, span } => {
                let cleaned = Box::pin(drop_partition::clean(run, watcher, partition, span, work));
                self.or_interrupted(cleaned)
                    .await
                    .context(|| format!("cleaning {} {span}", run.dataset.name))
            }
            Job::Delete { source, window } => {
                let erased = Box::pin(delete_rows(run, watcher, source, window, work));
                self.or_interrupted(erased)
                    .await
                    .context(|| format!("deleting {} {window} from hot", run.dataset.name))
            }
        }
    }

    /// Ends a piece of work where it stands when the user says so. Every step can be cut off and repeated.
    async fn or_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.shutdown.run_until_cancelled(work).await {
            Some(done) => done,
            None => Err(Error::new(Cause::Interrupted)),
        }
    }

    /// Does a job under a permit: again where an error can pass, and after a while where another worker has what it needs.
    async fn run_with_retries(&self, job: Job<'_>, work: &Work) -> Result<Cleaned> {
        let what = job.to_string();
        let mut tries = Tries::new(&what, Backoff::INTERACTIVE);
        let busy_patience = self.watcher.ttl().mul_f64(BUSY_PATIENCES);
        // Waiting for a permit does not count as waiting for another worker.
        let mut busy_since = None;
        loop {
            let permits = match job {
                Job::Drive { .. } => &self.permits,
                Job::Clean { .. } | Job::Delete { .. } => &self.cleanups,
            };
            let permit = permits.acquire().await.map_err(std::io::Error::other)?;
            if self.shutdown.is_cancelled() {
                return Err(Error::new(Cause::Interrupted));
            }
            let done = self.attempt(job, work).await;
            drop(permit);
            match done {
                Ok(done) => {
                    tries.succeeded();
                    return Ok(done);
                }
                Err(e)
                    if matches!(e.cause(), Cause::Busy(_))
                        && busy_since.get_or_insert_with(Instant::now).elapsed()
                            < busy_patience =>
                {
                    work.wait("waiting for another worker");
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(e) => match self.shutdown.run_until_cancelled(tries.failed(e)).await {
                    Some(waited) => waited?,
                    None => return Err(Error::new(Cause::Interrupted)),
                },
            }
        }
    }
}

/// The work for which a permit is taken.
#[derive(Debug, Clone, Copy)]
enum Job<'a> {
    /// Driving a window to the goal.
    Drive {
        source: Option<&'a SourceTable>,
        window: Window,
    },
    /// Cleaning a partition whose windows are proven.
    Clean { partition: &'a str, span: Window },
    /// Deleting the rows of a window that is proven.
    Delete {
        source: &'a SourceTable,
        window: Window,
    },
}

impl std::fmt::Display for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drive { window, .. } => write!(f, "transferring {window}"),
            Self::Clean { span, .. } => write!(f, "cleaning {span}"),
            Self::Delete { window, .. } => write!(f, "deleting {window}"),
        }
    }
}

/// Takes over what a cleanup came to, supplements that it found included.
pub(crate) fn record_cleaned(
    report: &mut PartitionReport,
    windows: &mut Vec<WindowReport>,
    cleaned: Cleaned,
) {
    report.cleaned_rows += cleaned.rows;
    for (window, driven) in cleaned.windows {
        if !windows.iter().any(|w| w.window == window) {
            windows.push(WindowReport::new(window));
        }
        if let Some(of_window) = windows.iter_mut().find(|w| w.window == window) {
            of_window.record(&driven);
            of_window.stage = Stage::Cleaned;
            of_window.status = Status::Done;
        }
    }
}
