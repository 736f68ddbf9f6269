//! What ingest counts: atomics that anyone may read at any time, and their snapshot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::decode::DecodeCounters;
use mpsync_core::error::Error;

/// A number that only grows, readable from anywhere.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long things took: fixed buckets, each counted without a lock.
#[derive(Debug, Default)]
pub(super) struct DurationCounter {
    counts: [Counter; Durations::BOUNDS.len() + 1],
    micros: Counter,
}

impl DurationCounter {
    /// Counts one that took so long.
    pub(super) fn add(&self, took: Duration) {
        let bucket = Durations::BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = self.counts.get(bucket) {
            count.add(1);
        }
        self.micros
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn snapshot(&self) -> Durations {
        Durations {
            counts: std::array::from_fn(|bucket| self.counts[bucket].get()),
            sum: Duration::from_micros(self.micros.get()),
        }
    }
}

/// How long things of one kind took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many fell into each bucket: those up to the bound of the same index (and above the one before), and at the end
    /// those above all bounds. Not cumulative.
    pub counts: [u64; Durations::BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Durations {
    /// The buckets' upper bounds, each within its bucket.
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2500),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(30),
    ];

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Lets something be said seldom: at once, and then at most every ten seconds, with what came meanwhile.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<(Option<Instant>, u64)>);

impl LogThrottle {
    const EVERY: Duration = Duration::from_secs(10);

    /// Adds `n`; how many there were since it was said last, where it is due.
    pub(super) fn due(&self, n: usize) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += n as u64;
        if state.0.is_some_and(|last| last.elapsed() < Self::EVERY) {
            return None;
        }
        let count = state.1;
        *state = (Some(Instant::now()), 0);
        Some(count)
    }
}

/// The counters of one dataset.
#[derive(Debug)]
pub(super) struct DatasetStats {
    pub(super) dataset: String,
    pub(super) messages: Counter,
    pub(super) bytes: Counter,
    pub(super) rows: Counter,
    pub(super) already_held: Counter,
    pub(super) redelivered: Counter,
    pub(super) batches: Counter,
    pub(super) inserts: Counter,
    pub(super) insert_retries: Counter,
    pub(super) insert_durations: DurationCounter,
    /// Microseconds since 1970; 0 where nothing was inserted yet.
    last_insert_micros: Counter,
    pub(super) sessions: Counter,
    pub(super) doubts: Counter,
    pub(super) rewinds: Counter,
    pub(super) gap_sequences: Counter,
    pub(super) lag: Counter,
    pub(super) settled_seq: Counter,
    pub(super) rounded: Counter,
    pub(super) dead_letters_in_files: Counter,
    pub(super) dead_letters_logged: LogThrottle,
    pub(super) files_logged: LogThrottle,
    labelled: Mutex<Labelled>,
}

#[derive(Debug, Default)]
struct Labelled {
    dead_letters: BTreeMap<String, u64>,
    unknown_fields: BTreeMap<String, u64>,
    stalled: Option<String>,
    gaps: Vec<StreamGap>,
}

/// What the stream dropped before it was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamGap {
    /// So many sequences, of this and other datasets.
    pub sequences: u64,
    /// They were stored before this moment, by the server's clock.
    pub before: Timestamp,
}

/// Gaps that are kept of a dataset: the last ones.
const GAPS_MAX: usize = 100;

impl DatasetStats {
    fn new(dataset: &str) -> Self {
        Self {
            dataset: dataset.to_owned(),
            messages: Counter::default(),
            bytes: Counter::default(),
            rows: Counter::default(),
            already_held: Counter::default(),
            redelivered: Counter::default(),
            batches: Counter::default(),
            inserts: Counter::default(),
            insert_retries: Counter::default(),
            insert_durations: DurationCounter::default(),
            last_insert_micros: Counter::default(),
            sessions: Counter::default(),
            doubts: Counter::default(),
            rewinds: Counter::default(),
            gap_sequences: Counter::default(),
            lag: Counter::default(),
            settled_seq: Counter::default(),
            rounded: Counter::default(),
            dead_letters_in_files: Counter::default(),
            dead_letters_logged: LogThrottle::default(),
            files_logged: LogThrottle::default(),
            labelled: Mutex::default(),
        }
    }

    /// Counts an insert that succeeded at a time after so long.
    pub(super) fn inserted(&self, at: Timestamp, took: Duration) {
        self.inserts.add(1);
        self.insert_durations.add(took);
        self.last_insert_micros
            .set(u64::try_from(at.as_microsecond()).unwrap_or_default());
    }

    /// Counts a dead letter under its reason's label.
    pub(super) fn dead_letter(&self, label: &str) {
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        *labelled.dead_letters.entry(label.to_owned()).or_default() += 1;
    }

    /// Adds what a decoder has counted since `before`.
    pub(super) fn decoded(&self, now: &DecodeCounters, before: &DecodeCounters) {
        self.rounded.add(now.rounded - before.rounded);
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        for (field, count) in &now.unknown_fields {
            let counted = before
                .unknown_fields
                .get(field)
                .copied()
                .unwrap_or_default();
            *labelled.unknown_fields.entry(field.clone()).or_default() += count - counted;
        }
    }

    /// Counts what the stream dropped.
    pub(super) fn gap(&self, sequences: u64, before: Timestamp) {
        self.gap_sequences.add(sequences);
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        if labelled.gaps.len() >= GAPS_MAX {
            labelled.gaps.remove(0);
        }
        labelled.gaps.push(StreamGap { sequences, before });
    }

    /// Says that ingest of the dataset is stalled, or that it is not.
    pub(super) fn stalled(&self, why: Option<&Error>) {
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        labelled.stalled = why.map(Error::to_string);
    }

    fn snapshot(&self) -> DatasetIngestReport {
        let labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        DatasetIngestReport {
            dataset: self.dataset.clone(),
            messages: self.messages.get(),
            bytes: self.bytes.get(),
            rows: self.rows.get(),
            already_held: self.already_held.get(),
            redelivered: self.redelivered.get(),
            dead_letters: labelled.dead_letters.clone(),
            dead_letters_in_files: self.dead_letters_in_files.get(),
            batches: self.batches.get(),
            inserts: self.inserts.get(),
            insert_retries: self.insert_retries.get(),
            insert_durations: self.insert_durations.snapshot(),
            last_insert_at: match self.last_insert_micros.get() {
                0 => None,
                micros => i64::try_from(micros)
                    .ok()
                    .and_then(|micros| Timestamp::from_microsecond(micros).ok()),
            },
            sessions: self.sessions.get(),
            doubts: self.doubts.get(),
            rewinds: self.rewinds.get(),
            gap_sequences: self.gap_sequences.get(),
            lag: self.lag.get(),
            settled_seq: self.settled_seq.get(),
            rounded: self.rounded.get(),
            unknown_fields: labelled.unknown_fields.clone(),
            stalled: labelled.stalled.clone(),
            gaps: labelled.gaps.clone(),
        }
    }
}

/// The counters of a running ingest. Shared as an `Arc`; reading them costs the ingest nothing.
#[derive(Debug)]
pub struct IngestStats {
    datasets: Vec<std::sync::Arc<DatasetStats>>,
}

impl IngestStats {
    /// Counters at zero for these datasets.
    pub fn new<'a>(datasets: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            datasets: datasets
                .into_iter()
                .map(|name| std::sync::Arc::new(DatasetStats::new(name)))
                .collect(),
        }
    }

    /// The counters of one dataset.
    pub(super) fn dataset(&self, name: &str) -> Option<std::sync::Arc<DatasetStats>> {
        self.datasets.iter().find(|d| d.dataset == name).cloned()
    }

    /// What has been counted until now.
    #[must_use]
    pub fn snapshot(&self) -> IngestReport {
        IngestReport {
            datasets: self.datasets.iter().map(|d| d.snapshot()).collect(),
        }
    }
}

/// What an ingest counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// Dataset by dataset, in the order in which they were asked for.
    pub datasets: Vec<DatasetIngestReport>,
}

impl IngestReport {
    /// Rows that landed in this run, over all datasets.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.datasets.iter().map(|d| d.rows).sum()
    }

    /// Messages that became dead letters in this run, over all datasets.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.datasets
            .iter()
            .flat_map(|d| d.dead_letters.values())
            .sum()
    }
}

/// What an ingest counted of one dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DatasetIngestReport {
    /// Its name.
    pub dataset: String,
    /// Messages that JetStream delivered, repeats included.
    pub messages: u64,
    /// Their bytes, subjects and headers included.
    pub bytes: u64,
    /// Rows that landed in hot.
    pub rows: u64,
    /// Messages whose rows an earlier life had landed already.
    pub already_held: u64,
    /// Messages that JetStream delivered again within a life; dropped.
    pub redelivered: u64,
    /// Messages that could not be rows, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// How many of them are kept as files, since JetStream refused them.
    pub dead_letters_in_files: u64,
    /// Batches that were settled.
    pub batches: u64,
    /// Inserts that succeeded.
    pub inserts: u64,
    /// Inserts that were tried again.
    pub insert_retries: u64,
    /// How long the inserts that succeeded took.
    #[serde(skip)]
    pub insert_durations: Durations,
    /// When the last insert of this run succeeded, by this machine's clock.
    pub last_insert_at: Option<Timestamp>,
    /// Lives that were begun.
    #[serde(rename = "lives")]
    pub sessions: u64,
    /// Lives that ended in doubt.
    pub doubts: u64,
    /// How often the stream was found to be rewound.
    pub rewinds: u64,
    /// Stream sequences that were gone before they could be delivered.
    pub gap_sequences: u64,
    /// Messages that wait in the stream.
    pub lag: u64,
    /// The last stream sequence that was settled.
    pub settled_seq: u64,
    /// Numbers that were rounded.
    pub rounded: u64,
    /// Fields that no column takes, with how often they came.
    pub unknown_fields: BTreeMap<String, u64>,
    /// Why the dataset is not ingested now, where somebody must help it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// The last gaps of which [`Self::gap_sequences`] is the sum.
    #[serde(skip)]
    pub gaps: Vec<StreamGap>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_bucket_whose_bound_it_does_not_exceed() {
        let stats = DatasetStats::new("trades");
        assert_eq!(stats.snapshot().last_insert_at, None);
        let at = Timestamp::from_second(1_774_590_000).unwrap();
        for millis in [0, 5, 6, 1000, 31_000] {
            stats.inserted(at, Duration::from_millis(millis));
        }
        let report = stats.snapshot();
        assert_eq!(report.last_insert_at, Some(at));
        let durations = report.insert_durations;
        assert_eq!(durations.counts, [2, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!((durations.count(), report.inserts), (5, 5));
        assert_eq!(durations.sum, Duration::from_millis(32_011));
        assert!(Durations::BOUNDS.is_sorted());
    }
}
