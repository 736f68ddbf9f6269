//! Counters of ingest: atomics that any task may read at any time, and their snapshot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::decode::DecodeCounters;
use mpsync_core::error::Error;

/// A number that any task may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of durations: fixed buckets, each counted without a lock.
#[derive(Debug, Default)]
pub(crate) struct DurationCounter {
    counts: [Counter; Durations::BOUNDS.len() + 1],
    micros: Counter,
}

impl DurationCounter {
    /// Counts one duration.
    pub(crate) fn add(&self, took: Duration) {
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

/// A snapshot of a histogram of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// The count of each bucket: durations up to the bound of the same index and above the bound before it; the last
    /// bucket counts those above all bounds. Not cumulative.
    pub counts: [u64; Durations::BOUNDS.len() + 1],
    /// The sum of all durations.
    pub sum: Duration,
}

impl Durations {
    /// The upper bounds of the buckets, inclusive.
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

    /// Returns the number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Limits a log line to once in ten seconds; the first is due at once. Counts what is logged with the next line.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<(Option<Instant>, u64)>);

impl LogThrottle {
    const EVERY: Duration = Duration::from_secs(10);

    /// Adds `n`. Returns the count since the last line if a line is due.
    pub(crate) fn due(&self, n: usize) -> Option<u64> {
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
pub(crate) struct DatasetStats {
    pub(crate) dataset: String,
    pub(crate) messages: Counter,
    pub(crate) bytes: Counter,
    pub(crate) rows: Counter,
    pub(crate) already_held: Counter,
    pub(crate) redelivered: Counter,
    pub(crate) batches: Counter,
    pub(crate) inserts: Counter,
    pub(crate) insert_retries: Counter,
    pub(crate) insert_durations: DurationCounter,
    /// Microseconds since 1970; 0 if nothing was inserted yet.
    last_insert_micros: Counter,
    pub(crate) sessions: Counter,
    pub(crate) doubts: Counter,
    pub(crate) rewinds: Counter,
    pub(crate) gap_sequences: Counter,
    pub(crate) lag: Counter,
    pub(crate) settled_seq: Counter,
    pub(crate) rounded: Counter,
    pub(crate) dead_letters_in_files: Counter,
    pub(crate) dead_letters_logged: LogThrottle,
    pub(crate) files_logged: LogThrottle,
    labelled: Mutex<Labelled>,
}

#[derive(Debug, Default)]
struct Labelled {
    dead_letters: BTreeMap<String, u64>,
    unknown_fields: BTreeMap<String, u64>,
    stalled: Option<String>,
    gaps: Vec<StreamGap>,
}

/// Messages that the stream dropped before they were delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamGap {
    /// The number of sequences, of this and other datasets.
    pub sequences: u64,
    /// They were stored before this time, by the server's clock.
    pub before: Timestamp,
}

/// How many of the last gaps of a dataset are kept.
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

    /// Counts an insert that succeeded, with its end and duration.
    pub(crate) fn inserted(&self, at: Timestamp, took: Duration) {
        self.inserts.add(1);
        self.insert_durations.add(took);
        self.last_insert_micros
            .set(u64::try_from(at.as_microsecond()).unwrap_or_default());
    }

    /// Counts a dead letter under the label of its reason.
    pub(crate) fn dead_letter(&self, label: &str) {
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        *labelled.dead_letters.entry(label.to_owned()).or_default() += 1;
    }

    /// Adds the counts of a decoder since `before`.
    pub(crate) fn decoded(&self, now: &DecodeCounters, before: &DecodeCounters) {
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

    /// Counts sequences that the stream dropped.
    pub(crate) fn gap(&self, sequences: u64, before: Timestamp) {
        self.gap_sequences.add(sequences);
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        if labelled.gaps.len() >= GAPS_MAX {
            labelled.gaps.remove(0);
        }
        labelled.gaps.push(StreamGap { sequences, before });
    }

    /// Records why ingest of the dataset is stalled; `None`: it is not.
    pub(crate) fn stalled(&self, why: Option<&Error>) {
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

/// The counters of a running ingest, shared as an `Arc`. Reading them does not slow ingest down.
#[derive(Debug)]
pub struct IngestStats {
    datasets: Vec<std::sync::Arc<DatasetStats>>,
}

impl IngestStats {
    /// Returns counters at zero for these datasets.
    pub fn new<'a>(datasets: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            datasets: datasets
                .into_iter()
                .map(|name| std::sync::Arc::new(DatasetStats::new(name)))
                .collect(),
        }
    }

    /// Returns the counters of one dataset.
    pub(crate) fn dataset(&self, name: &str) -> Option<std::sync::Arc<DatasetStats>> {
        self.datasets.iter().find(|d| d.dataset == name).cloned()
    }

    /// Returns the current counts.
    #[must_use]
    pub fn snapshot(&self) -> IngestReport {
        IngestReport {
            datasets: self.datasets.iter().map(|d| d.snapshot()).collect(),
        }
    }
}

/// The counts of an ingest run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// Counts by dataset, in the order of the request.
    pub datasets: Vec<DatasetIngestReport>,
}

impl IngestReport {
    /// Returns the number of rows that landed in this run, over all datasets.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.datasets.iter().map(|d| d.rows).sum()
    }

    /// Returns the number of messages that became dead letters in this run, over all datasets.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.datasets
            .iter()
            .flat_map(|d| d.dead_letters.values())
            .sum()
    }
}

/// The counts of one dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DatasetIngestReport {
    /// The name of the dataset.
    pub dataset: String,
    /// Messages that JetStream delivered, repeats included.
    pub messages: u64,
    /// Their bytes, subjects and headers included.
    pub bytes: u64,
    /// Rows that landed in hot.
    pub rows: u64,
    /// Messages whose rows an earlier session had landed already.
    pub already_held: u64,
    /// Messages that JetStream delivered again within a session; dropped.
    pub redelivered: u64,
    /// Messages that could not be rows, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// How many of the dead letters are stored as files, because JetStream refused them.
    pub dead_letters_in_files: u64,
    /// Batches that were settled.
    pub batches: u64,
    /// Inserts that succeeded.
    pub inserts: u64,
    /// Inserts that were retried.
    pub insert_retries: u64,
    /// Durations of the inserts that succeeded.
    #[serde(skip)]
    pub insert_durations: Durations,
    /// When the last insert of this run succeeded, by this machine's clock.
    pub last_insert_at: Option<Timestamp>,
    /// Sessions that began.
    #[serde(rename = "lives")]
    pub sessions: u64,
    /// Sessions that ended with an unknown outcome.
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
    /// Fields without a column, with the number of messages.
    pub unknown_fields: BTreeMap<String, u64>,
    /// Why the dataset is not ingested now, if it needs operator action.
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
    fn durations_fall_into_the_bucket_of_their_upper_bound() {
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
