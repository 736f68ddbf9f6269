//! The progress of a long command: the library counts, the binary chooses how it is displayed.
//!
//! Bars, log lines and the document at the end all read the same [`Snapshot`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Counts what a command does. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Shared>);

/// A step of some piece of work, at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepDone {
    /// Which.
    pub step: &'static str,
    /// Rows that it moved.
    pub rows: u64,
    /// Bytes that it moved.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// The function that receives the end of every step.
struct Listener(Box<dyn Fn(&StepDone) + Send + Sync>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

#[derive(Debug)]
struct Shared {
    listener: Option<Listener>,
    started: Instant,
    total: AtomicU64,
    done: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    active: Mutex<Active>,
}

#[derive(Debug, Default)]
struct Active {
    next: u64,
    work: BTreeMap<u64, WorkSnapshot>,
}

/// One piece of work that is under way.
#[derive(Debug, Clone, Serialize)]
pub struct WorkSnapshot {
    /// Its subject: a dataset and a window.
    pub what: String,
    /// Which step is under way.
    pub step: &'static str,
    /// Rows that the step has moved.
    pub rows: u64,
    /// Bytes that the step has moved.
    pub bytes: u64,
    /// Rows that the step will move; 0 if that is unknown.
    pub expected: u64,
    /// How long the step has taken.
    pub seconds: f64,
    /// Further details, such as the event time reached; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Whether the work waits: for its turn, or for another worker.
    #[serde(skip)]
    pub waits: bool,
    #[serde(skip)]
    since: Instant,
}

impl WorkSnapshot {
    fn now(&self) -> Self {
        Self {
            seconds: self.since.elapsed().as_secs_f64(),
            ..self.clone()
        }
    }
}

/// The progress at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Pieces of work in all.
    pub total: u64,
    /// Pieces of work that have ended, well or not.
    pub done: u64,
    /// Rows moved, over all steps.
    pub rows: u64,
    /// Bytes moved, over all steps.
    pub bytes: u64,
    /// Seconds since the start.
    pub seconds: f64,
    /// The pieces of work under way.
    pub active: Vec<WorkSnapshot>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Progress {
    fn new(listener: Option<Listener>) -> Self {
        Self(Arc::new(Shared {
            listener,
            started: Instant::now(),
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            active: Mutex::default(),
        }))
    }

    /// Returns a counter that reports the end of every step to `listener`.
    #[must_use]
    pub fn telling(listener: impl Fn(&StepDone) + Send + Sync + 'static) -> Self {
        Self::new(Some(Listener(Box::new(listener))))
    }

    /// Adds to the number of pieces of work in all.
    pub fn expect(&self, pieces: u64) {
        self.0.total.fetch_add(pieces, Ordering::Relaxed);
    }

    /// Begins a piece of work; it ends when the returned value is dropped.
    #[must_use]
    pub fn begin(&self, what: String) -> Work {
        self.begin_with(what, None)
    }

    /// The same for a task: the end of each of its steps is logged within the span.
    #[must_use]
    pub fn begin_task(&self, what: String, span: tracing::Span) -> Work {
        self.begin_with(what, Some(span))
    }

    fn begin_with(&self, what: String, span: Option<tracing::Span>) -> Work {
        let mut active = self.active();
        let id = active.next;
        active.next += 1;
        let snapshot = WorkSnapshot {
            what,
            step: "waiting",
            rows: 0,
            bytes: 0,
            expected: 0,
            seconds: 0.0,
            note: String::new(),
            waits: true,
            since: Instant::now(),
        };
        active.work.insert(id, snapshot);
        drop(active);
        Work {
            progress: self.clone(),
            id,
            span,
        }
    }

    /// Returns the progress of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            total: count(&self.0.total),
            done: count(&self.0.done),
            rows: count(&self.0.rows),
            bytes: count(&self.0.bytes),
            seconds: self.0.started.elapsed().as_secs_f64(),
            active: self.active().work.values().map(WorkSnapshot::now).collect(),
        }
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        // Nothing in here can be left half done by a panic elsewhere.
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of work that is under way. Dropping it ends it.
#[derive(Debug)]
pub struct Work {
    progress: Progress,
    id: u64,
    span: Option<tracing::Span>,
}

impl Work {
    /// Ends the step before, and begins one that will move about so many rows.
    pub fn step(&self, step: &'static str, expected: u64) {
        self.begin_step(step, expected, false);
    }

    /// Ends the step before, and begins one that only waits.
    pub fn wait(&self, step: &'static str) {
        self.begin_step(step, 0, true);
    }

    fn begin_step(&self, step: &'static str, expected: u64, waits: bool) {
        let mut ended = None;
        self.change(|work| {
            let next = WorkSnapshot {
                what: work.what.clone(),
                step,
                rows: 0,
                bytes: 0,
                expected,
                seconds: 0.0,
                note: String::new(),
                waits,
                since: Instant::now(),
            };
            ended = Some(std::mem::replace(work, next));
        });
        if let Some(ended) = ended {
            self.tell(&ended);
        }
    }

    /// Counts rows and bytes that were moved.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.progress.0.rows.fetch_add(rows, Ordering::Relaxed);
        self.progress.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.change(|work| {
            work.rows += rows;
            work.bytes += bytes;
        });
    }

    /// Sets the totals of a step that cannot count on its way, such as the move of a whole partition.
    pub fn moved(&self, rows: u64, bytes: u64) {
        self.change(|work| {
            work.rows = rows;
            work.bytes = bytes;
        });
    }

    /// Reports the end of the step under way. A step that moved no rows is logged at a lower level.
    fn tell(&self, work: &WorkSnapshot) {
        let done = StepDone {
            step: work.step,
            rows: work.rows,
            bytes: work.bytes,
            seconds: work.since.elapsed().as_secs_f64(),
        };
        if let Some(listener) = &self.progress.0.listener {
            listener.0(&done);
        }
        let Some(span) = &self.span else { return };
        let StepDone {
            step,
            rows,
            bytes,
            seconds: duration,
        } = done;
        if rows > 0 {
            tracing::info!(parent: span, step, duration, rows, bytes, "step ended");
        } else {
            tracing::debug!(parent: span, step, duration, rows, bytes, "step ended");
        }
    }

    /// Replaces the further details.
    pub fn say(&self, note: String) {
        self.change(|work| work.note = note);
    }

    fn change(&self, change: impl FnOnce(&mut WorkSnapshot)) {
        if let Some(work) = self.progress.active().work.get_mut(&self.id) {
            change(work);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let last = self.progress.active().work.remove(&self.id);
        if let Some(last) = last {
            self.tell(&last);
        }
        self.progress.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_step_goes_with_it() {
        let progress = Progress::default();
        let work = progress.begin("replay".into());
        work.step("replaying", 10);
        work.say("2026-01-01T00:00:00Z, 0.5 s behind".into());
        assert!(progress.snapshot().active[0].note.ends_with("behind"));
        work.step("ending", 0);
        assert_eq!(progress.snapshot().active[0].note, "");
    }

    #[test]
    fn work_counts_until_it_is_dropped_and_then_counts_as_done() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&steps);
        let progress = Progress::telling(move |done| {
            told.lock()
                .unwrap()
                .push((done.step, done.rows, done.bytes));
        });
        progress.expect(2);
        let work = progress.begin("trades 2026-01-01T05".into());
        work.step("exporting", 100);
        work.add(40, 1000);
        work.add(2, 1);
        let now = progress.snapshot();
        assert_eq!((now.total, now.done, now.rows, now.bytes), (2, 0, 42, 1001));
        assert_eq!((now.active[0].step, now.active[0].rows), ("exporting", 42));
        work.step("loading", 42);
        assert_eq!(progress.snapshot().active[0].rows, 0);
        work.moved(42, 7);
        drop(work);
        let now = progress.snapshot();
        assert_eq!((now.done, now.active.len(), now.rows), (1, 0, 42));
        assert_eq!(
            *steps.lock().unwrap(),
            [
                ("waiting", 0, 0),
                ("exporting", 42, 1001),
                ("loading", 42, 7)
            ]
        );
    }
}
