//! What the daemon knows of itself: its sides and its gatherer write it, every route reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::data_sources::DataSources;
use super::documents::{ArchiveFigures, Mode, SweepRun, SyncRun, TierFigures};
use super::history::History;
use super::metrics::Metrics;
use super::results::{RunScope, Transfers};
use mpsync_core::dataset::TierRole;
use mpsync_core::progress::{Progress, WorkSnapshot};
use mpsync_ingest::{IngestStats, StreamGap};
use mpsync_transfer::{Status, TransferReport};

/// What the daemon knows of itself. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct DaemonState(pub(super) Arc<StateInner>);

#[derive(Debug)]
pub(super) struct StateInner {
    pub(super) mode: Mode,
    pub(super) started_at: Timestamp,
    pub(super) started: Instant,
    pub(super) ingest: Option<Arc<IngestStats>>,
    pub(super) history: Mutex<History>,
    pub(super) readings: RwLock<BTreeMap<String, Reading>>,
    pub(super) figures: RwLock<Figures>,
    pub(super) sync_control: Option<SyncControl>,
    pub(super) metrics: Metrics,
    pub(super) data_sources: Arc<DataSources>,
}

/// What the tiers and the archive held when they were last asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) hot: Option<TierFigures>,
    pub(super) cold: Option<TierFigures>,
    pub(super) archive: Option<ArchiveFigures>,
}

/// How one dependency or side was when it was last looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    pub(super) latency_seconds: Option<f64>,
    pub(super) last_success_at: Option<Timestamp>,
    /// Since when it fails, and why.
    pub(super) failing: Option<(Instant, Failure)>,
    pub(super) free_bytes: Option<u64>,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error: String,
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn plain(error: String) -> Self {
        Self { error, hint: None }
    }

    /// Takes an error's text apart.
    fn of(text: &str) -> Self {
        match text.split_once("\n  hint: ") {
            Some((error, hint)) => Self {
                error: error.to_owned(),
                hint: Some(hint.to_owned()),
            },
            None => Self::plain(text.to_owned()),
        }
    }
}

impl DaemonState {
    /// Of a daemon that starts now. `ingest` is what its hot side counts in, where it has one.
    #[must_use]
    pub fn new(
        mode: Mode,
        ingest: Option<Arc<IngestStats>>,
        schedule: Option<String>,
        data_sources: DataSources,
    ) -> Self {
        Self(Arc::new(StateInner {
            mode,
            started_at: Timestamp::now(),
            started: Instant::now(),
            ingest,
            history: Mutex::default(),
            readings: RwLock::default(),
            figures: RwLock::default(),
            sync_control: schedule.map(SyncControl::new),
            metrics: Metrics::new(),
            data_sources: Arc::new(data_sources),
        }))
    }

    /// The cold side's desk, where there is a cold side.
    #[must_use]
    pub fn sync_control(&self) -> Option<&SyncControl> {
        self.0.sync_control.as_ref()
    }

    /// Where this daemon's data lies.
    #[must_use]
    pub fn data_sources(&self) -> &Arc<DataSources> {
        &self.0.data_sources
    }

    /// What this process measures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// A dependency answered, or a side runs. `latency_seconds` is how long the answer took.
    pub fn succeeded(&self, name: &str, latency_seconds: Option<f64>) {
        self.change(name, |reading| {
            reading.latency_seconds = latency_seconds;
            reading.last_success_at = Some(Timestamp::now());
            reading.failing = None;
        });
    }

    /// A dependency did not answer, or a side ended. It fails since the first of such calls.
    pub fn failed(&self, name: &str, why: &str) {
        self.change(name, |reading| {
            let since = reading
                .failing
                .take()
                .map_or_else(Instant::now, |(since, _)| since);
            reading.failing = Some((since, Failure::of(why)));
        });
    }

    /// How many bytes are free at a place that fills.
    pub fn free(&self, place: &str, bytes: u64) {
        self.succeeded(&format!("disk:{place}"), None);
        self.change(&format!("disk:{place}"), |reading| {
            reading.free_bytes = Some(bytes);
        });
    }

    /// What a tier holds.
    pub fn tier(&self, role: TierRole, figures: TierFigures) {
        let mut all = self
            .0
            .figures
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match role {
            TierRole::Hot => all.hot = Some(figures),
            TierRole::Cold => all.cold = Some(figures),
        }
    }

    /// What a tier held when it last answered.
    #[must_use]
    pub fn last_of(&self, role: TierRole) -> TierFigures {
        let all = self.figures();
        match role {
            TierRole::Hot => all.hot,
            TierRole::Cold => all.cold,
        }
        .unwrap_or_default()
    }

    /// What the archive holds.
    pub fn archive(&self, figures: ArchiveFigures) {
        self.0
            .figures
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .archive = Some(figures);
    }

    /// Takes a look at ingest's counters, for rates. To be called every five seconds.
    pub fn sample_ingest(&self) {
        if let Some(stats) = &self.0.ingest {
            let now = Timestamp::now().as_millisecond();
            let report = stats.snapshot();
            lock(&self.0.history).sample(now, &report.datasets);
        }
    }

    /// What the stream dropped of a dataset since the daemon started.
    #[must_use]
    pub fn gaps(&self, dataset: &str) -> Vec<StreamGap> {
        let Some(stats) = &self.0.ingest else {
            return Vec::new();
        };
        let of_dataset = stats.snapshot().datasets.into_iter();
        of_dataset
            .filter(|d| d.dataset == dataset)
            .flat_map(|d| d.gaps)
            .collect()
    }

    pub(super) fn figures(&self) -> Figures {
        self.0
            .figures
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn readings(&self) -> BTreeMap<String, Reading> {
        self.0
            .readings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Reading)) {
        let mut all = self
            .0
            .readings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(all.entry(name.to_owned()).or_default());
    }
}

/// A run of the cold side that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manual {
    /// Only windows that end within so many hours before now; all that are due where it is not given.
    pub lookback_hours: Option<u32>,
}

/// Where the cold side takes requests from and says what it does.
#[derive(Debug)]
pub struct SyncControl {
    inner: Mutex<SyncControlState>,
    asked: Notify,
}

#[derive(Debug, Default)]
pub(super) struct SyncControlState {
    pub(super) schedule: String,
    pub(super) next_at: Option<Timestamp>,
    pub(super) last: Option<SyncRun>,
    pub(super) running: Option<Progress>,
    pub(super) transfers: Transfers,
    pub(super) queued: Option<Manual>,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) last_success_at: Option<Timestamp>,
    pub(super) sweeps: Sweeps,
}

/// The sweeps of this process, and the last one of all.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    pub(super) last: Option<SweepRun>,
    pub(super) last_success_at: Option<Timestamp>,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    /// Things that were taken away.
    pub(super) swept: u64,
    /// Their bytes.
    pub(super) bytes: u64,
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
    fn new(schedule: String) -> Self {
        let state = SyncControlState {
            schedule,
            ..SyncControlState::default()
        };
        Self {
            inner: Mutex::new(state),
            asked: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SyncControlState> {
        lock(&self.inner)
    }

    /// Asks for a run. `false` where one waits already.
    pub(super) fn ask(&self, manual: Manual) -> bool {
        let mut state = self.state();
        if state.queued.is_some() {
            return false;
        }
        state.queued = Some(manual);
        drop(state);
        self.asked.notify_one();
        true
    }

    /// Says what the schedule is, and when it runs next.
    pub fn next_at(&self, schedule: String, at: Timestamp) {
        let mut state = self.state();
        state.schedule = schedule;
        state.next_at = Some(at);
    }

    /// Waits for a request and takes it. Cancel-safe.
    pub async fn taken(&self) -> Manual {
        loop {
            let asked = self.asked.notified();
            if let Some(manual) = self.state().queued.take() {
                return manual;
            }
            asked.await;
        }
    }

    /// A run begins.
    pub fn began(&self, progress: Progress) {
        self.state().running = Some(progress);
    }

    /// What the run that is ending came to. Its errors must still be in the report.
    pub fn came_to(&self, report: &TransferReport, scope: RunScope) {
        self.state().transfers.record(report, scope);
    }

    /// A run before this process's first one, as it was written down.
    pub fn recall(&self, run: SyncRun) {
        let mut state = self.state();
        if state.last.is_none() {
            state.last_success_at = run.ok.then_some(run.finished_at);
            state.last = Some(run);
        }
    }

    /// It ended like this.
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

    /// A sweep of an earlier process or of another one, as it was written down.
    pub fn recall_sweep(&self, run: SweepRun) {
        self.state().sweeps.record(run);
    }

    /// A sweep of this process ended like this.
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
    /// How many windows of the run that is under way wait for their turn, and how many have it.
    pub(super) fn under_way(&self) -> (u64, u64) {
        let Some(progress) = &self.running else {
            return (0, 0);
        };
        let now = progress.snapshot();
        let waits = |work: &&WorkSnapshot| work.step.starts_with("waiting");
        let running = (now.active.len() - now.active.iter().filter(waits).count()) as u64;
        (now.total.saturating_sub(now.done + running), running)
    }

    /// Windows that do not go on before somebody helps.
    pub(super) fn halted(&self) -> u64 {
        self.transfers.standing(Status::Halted)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can be left half done by a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
