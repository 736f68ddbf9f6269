//! The shared state of the daemon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::doctor::diagnosis::Diagnosis;

use super::dead_letter_share::{DeadLetterShare, UnusualDeadLetters};
use super::figures::{ArchiveFigures, Figures, TierFigures};
use super::history::History;
use super::lock::lock;
use super::metrics::Metrics;
use super::mode::Mode;
use super::sync_control::SyncControl;
use mpsync_core::dataset::TierRole;
use mpsync_core::error::Error;
use mpsync_ingest::{IngestReport, IngestStats, StreamGap};
use mpsync_transfer::HotObservations;

/// The shared state of the daemon: its sides and probes write it, every route reads it. Clones share it.
#[derive(Debug, Clone)]
pub struct DaemonState(Arc<StateInner>);

#[derive(Debug)]
struct StateInner {
    mode: Mode,
    started_at: Timestamp,
    started: Instant,
    ingest: Option<Arc<IngestStats>>,
    history: Mutex<History>,
    dead_letter_share: Mutex<DeadLetterShare>,
    readings: RwLock<BTreeMap<String, Reading>>,
    figures: RwLock<Figures>,
    sync_control: Option<SyncControl>,
    metrics: Metrics,
    hot_observations: RwLock<Arc<HotObservations>>,
    diagnosis: RwLock<Diagnosis>,
}

/// The last reading of a dependency or side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) latency_seconds: Option<f64>,
    pub(crate) last_success_at: Option<Timestamp>,
    /// The start of the current failure, and its latest error.
    pub(crate) failing: Option<(Instant, Failure)>,
    pub(crate) free_bytes: Option<u64>,
}

/// An error and the recommended action.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Returns a failure without a hint.
    pub(crate) fn plain(error: String) -> Self {
        Self { error, hint: None }
    }

    /// Returns the message and the hint of an error.
    pub(crate) fn of(error: &Error) -> Self {
        Self {
            error: error.message(),
            hint: error.hint().map(ToOwned::to_owned),
        }
    }
}

impl DaemonState {
    /// Returns the state of a daemon that starts now. `ingest` are the counters of its hot side, if it has one.
    #[must_use]
    pub fn new(mode: Mode, ingest: Option<Arc<IngestStats>>, schedule: Option<String>) -> Self {
        Self(Arc::new(StateInner {
            mode,
            started_at: Timestamp::now(),
            started: Instant::now(),
            ingest,
            history: Mutex::default(),
            dead_letter_share: Mutex::default(),
            readings: RwLock::default(),
            figures: RwLock::default(),
            sync_control: schedule.map(SyncControl::new),
            metrics: Metrics::new(),
            hot_observations: RwLock::default(),
            diagnosis: RwLock::default(),
        }))
    }

    /// Returns the control of the cold side, if this daemon has one.
    #[must_use]
    pub fn sync_control(&self) -> Option<&SyncControl> {
        self.0.sync_control.as_ref()
    }

    /// Returns the sides that this daemon runs.
    pub(crate) fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Returns the time at which the daemon started.
    pub(crate) fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// Returns the time since the daemon started.
    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Returns the counters of ingest; `None` if this daemon does not ingest.
    pub(crate) fn ingest_report(&self) -> Option<IngestReport> {
        self.0.ingest.as_ref().map(|stats| stats.snapshot())
    }

    /// Returns the recent rates of ingest.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.0.history)
    }

    /// Returns the last observations of hot, and of deleted messages of the stream.
    pub(crate) fn hot_observations(&self) -> Arc<HotObservations> {
        let observations = self.0.hot_observations.read();
        Arc::clone(&observations.unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the last diagnosis of the doctor; empty before the first one.
    pub(crate) fn diagnosis(&self) -> Diagnosis {
        let diagnosis = self.0.diagnosis.read();
        diagnosis.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a diagnosis of the doctor.
    pub(crate) fn diagnosed(&self, diagnosis: Diagnosis) {
        let current = self.0.diagnosis.write();
        *current.unwrap_or_else(PoisonError::into_inner) = diagnosis;
    }

    /// Records observations of hot, and of deleted messages of the stream.
    pub(crate) fn observe_hot(&self, observations: HotObservations) {
        let current = self.0.hot_observations.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(observations);
    }

    /// Returns the metrics that the daemon counts itself.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Records that a dependency answered, or that a side runs. `latency_seconds` is the duration of the response.
    pub fn succeeded(&self, name: &str, latency_seconds: Option<f64>) {
        self.change(name, |reading| {
            reading.latency_seconds = latency_seconds;
            reading.last_success_at = Some(Timestamp::now());
            reading.failing = None;
        });
    }

    /// Records that a dependency did not answer, or that a side ended. The failure began with the first of consecutive calls.
    pub fn failed(&self, name: &str, error: &Error) {
        self.change(name, |reading| {
            let since = reading
                .failing
                .take()
                .map_or_else(Instant::now, |(since, _)| since);
            reading.failing = Some((since, Failure::of(error)));
        });
    }

    /// Records the free bytes of a disk.
    pub fn free(&self, place: &str, bytes: u64) {
        self.succeeded(&format!("disk:{place}"), None);
        self.change(&format!("disk:{place}"), |reading| {
            reading.free_bytes = Some(bytes);
        });
    }

    /// Records the contents of a tier.
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

    /// Returns the contents of a tier at its last response.
    #[must_use]
    pub fn last_of(&self, role: TierRole) -> TierFigures {
        let all = self.figures();
        match role {
            TierRole::Hot => all.hot,
            TierRole::Cold => all.cold,
        }
        .unwrap_or_default()
    }

    /// Records the contents of the archive.
    pub fn archive(&self, figures: ArchiveFigures) {
        self.0
            .figures
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .archive = Some(figures);
    }

    /// Samples the counters of ingest, for rates. Must be called every five seconds.
    pub fn sample_ingest(&self) {
        if let Some(stats) = &self.0.ingest {
            let now = Timestamp::now().as_millisecond();
            let report = stats.snapshot();
            lock(&self.0.history).sample(now, &report.datasets);
            lock(&self.0.dead_letter_share).sample(now, &report.datasets);
        }
    }

    /// Returns the datasets with an unusual number of dead letters.
    pub(crate) fn unusual_dead_letters(&self) -> Vec<UnusualDeadLetters> {
        match self.ingest_report() {
            Some(report) => lock(&self.0.dead_letter_share).unusual(&report.datasets),
            None => Vec::new(),
        }
    }

    /// Returns the messages of a dataset that the stream deleted before delivery since the daemon started.
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

    /// Returns the contents of the tiers and of the archive.
    pub(crate) fn figures(&self) -> Figures {
        self.0
            .figures
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the last readings of all dependencies and sides.
    pub(crate) fn readings(&self) -> BTreeMap<String, Reading> {
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
