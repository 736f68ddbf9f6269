//! The results of transfers: counters by dataset, and the last status of each examined window. Pure.

use std::collections::BTreeMap;

use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Error};
use mpsync_transfer::{DatasetTransferReport, Status, TransferReport, WindowReport};

/// The possible results of a window.
const RESULTS: [Status; 4] = [
    Status::Done,
    Status::Waiting,
    Status::Halted,
    Status::Cancelled,
];

/// The scope of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunScope {
    /// All due windows.
    Whole,
    /// Some of them: the status of the others is unchanged.
    Part,
}

/// Counters since the process started, and the last status of each window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transfers {
    /// Windows that a run changed or failed to transfer, by dataset and result.
    pub(crate) windows: BTreeMap<(String, &'static str), u64>,
    /// Rows of new generations in the archive, by dataset.
    pub(crate) rows: BTreeMap<String, u64>,
    /// Bytes of their chunks, by dataset.
    pub(crate) bytes: BTreeMap<String, u64>,
    last_status: BTreeMap<(String, Window), Status>,
    /// Halted objects other than windows: a partition whose rows do not match its value.
    halted_others: u64,
}

impl Transfers {
    /// Records the report of a run, which must still contain its errors.
    pub(crate) fn record(&mut self, report: &TransferReport, scope: RunScope) {
        if scope == RunScope::Whole {
            self.last_status.clear();
            self.halted_others = 0;
        }
        for of_dataset in &report.datasets {
            self.count(of_dataset);
            for window in &of_dataset.windows {
                let key = (of_dataset.dataset.to_string(), window.window);
                self.last_status.insert(key, window.status);
            }
            let others = halted_others(of_dataset, &self.last_status);
            self.halted_others = match scope {
                RunScope::Whole => self.halted_others + others,
                RunScope::Part => self.halted_others.max(others),
            };
        }
    }

    fn count(&mut self, of_dataset: &DatasetTransferReport) {
        let name = of_dataset.dataset.to_string();
        for result in RESULTS {
            let key = (name.clone(), label(result));
            *self.windows.entry(key).or_default() += of_dataset
                .windows
                .iter()
                .filter(|w| w.status == result && has_changed(w))
                .count() as u64;
        }
        *self.rows.entry(name.clone()).or_default() += of_dataset.sum(|w| w.new_rows);
        *self.bytes.entry(name).or_default() += of_dataset.sum(|w| w.new_bytes);
    }

    /// Returns the number of windows with this status.
    pub(crate) fn with_status(&self, status: Status) -> u64 {
        let windows = self.last_status.values().filter(|s| **s == status).count() as u64;
        match status {
            Status::Halted => windows + self.halted_others,
            _ => windows,
        }
    }

    /// Returns each status that a window can have after a run, with the number of windows.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.map(|s| (label(s), self.with_status(s))).into_iter()
    }
}

/// Returns whether a run changed the window or failed: most windows need no work.
fn has_changed(window: &WindowReport) -> bool {
    window.new_generations > 0 || window.loaded || window.error.is_some()
}

fn is_integrity(error: &Error) -> bool {
    matches!(error.cause(), Cause::Integrity(_))
}

fn halted_others(
    of_dataset: &DatasetTransferReport,
    last_status: &BTreeMap<(String, Window), Status>,
) -> u64 {
    let name = of_dataset.dataset.to_string();
    let is_counted = |span: Window| last_status.get(&(name.clone(), span)) == Some(&Status::Halted);
    let partitions = of_dataset
        .partitions
        .iter()
        .filter(|p| p.error.as_ref().is_some_and(is_integrity) && !p.span.is_some_and(is_counted));
    let expiry = of_dataset.expiries.iter();
    let expiry = expiry.filter(|l| l.error.as_ref().is_some_and(is_integrity));
    let whole = of_dataset.error.as_ref().is_some_and(is_integrity);
    (partitions.count() + expiry.count()) as u64 + u64::from(whole)
}

/// Returns the value of a label for a status.
pub(crate) fn label(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Running => "running",
        Status::Done => "done",
        Status::Waiting => "waiting",
        Status::Halted => "halted",
        Status::Cancelled => "cancelled",
    }
}
