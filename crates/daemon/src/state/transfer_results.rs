//! What transfers came to, run by run: counters by dataset, and how the windows stand that were looked at. Pure.

use std::collections::BTreeMap;

use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Error};
use mpsync_transfer::{DatasetTransferReport, Status, TransferReport, WindowReport};

/// How a run of a window ends.
const RESULTS: [Status; 4] = [
    Status::Done,
    Status::Waiting,
    Status::Halted,
    Status::Cancelled,
];

/// What a run was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunScope {
    /// All that is due.
    Whole,
    /// Some hours of it: what was known of the others holds.
    Part,
}

/// Counters since the process started, and how each window ended when it was last looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Transfers {
    /// Windows on which a run changed something or failed, by dataset and result.
    pub(super) windows: BTreeMap<(String, &'static str), u64>,
    /// Rows that became generations of the archive, by dataset.
    pub(super) rows: BTreeMap<String, u64>,
    /// Bytes of their chunks, by dataset.
    pub(super) bytes: BTreeMap<String, u64>,
    standing: BTreeMap<(String, Window), Status>,
    /// What halted and is no window: a partition that is not what its value says.
    halted_besides: u64,
}

impl Transfers {
    /// Takes over what a run came to. Its errors must still be in the report.
    pub(super) fn record(&mut self, report: &TransferReport, scope: RunScope) {
        if scope == RunScope::Whole {
            self.standing.clear();
            self.halted_besides = 0;
        }
        for of_dataset in &report.datasets {
            self.count(of_dataset);
            for window in &of_dataset.windows {
                let key = (of_dataset.dataset.to_string(), window.window);
                self.standing.insert(key, window.status);
            }
            let besides = halted_besides(of_dataset, &self.standing);
            self.halted_besides = match scope {
                RunScope::Whole => self.halted_besides + besides,
                RunScope::Part => self.halted_besides.max(besides),
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
                .filter(|w| w.status == result && is_news(w))
                .count() as u64;
        }
        *self.rows.entry(name.clone()).or_default() += of_dataset.sum(|w| w.new_rows);
        *self.bytes.entry(name).or_default() += of_dataset.sum(|w| w.new_bytes);
    }

    /// How many windows stand so.
    pub(super) fn standing(&self, status: Status) -> u64 {
        let windows = self.standing.values().filter(|s| **s == status).count() as u64;
        match status {
            Status::Halted => windows + self.halted_besides,
            _ => windows,
        }
    }

    /// Each way in which a window can stand after a run, with how many do.
    pub(super) fn all_standing(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.map(|s| (label(s), self.standing(s))).into_iter()
    }
}

/// Whether a run did something to the window: most are looked at and found to be as they should.
fn is_news(window: &WindowReport) -> bool {
    window.new_generations > 0 || window.loaded || window.error.is_some()
}

fn is_integrity(error: &Error) -> bool {
    matches!(error.cause(), Cause::Integrity(_))
}

fn halted_besides(
    of_dataset: &DatasetTransferReport,
    standing: &BTreeMap<(String, Window), Status>,
) -> u64 {
    let name = of_dataset.dataset.to_string();
    let is_told = |span: Window| standing.get(&(name.clone(), span)) == Some(&Status::Halted);
    let partitions = of_dataset
        .partitions
        .iter()
        .filter(|p| p.error.as_ref().is_some_and(is_integrity) && !p.span.is_some_and(is_told));
    let expiry = of_dataset.expiries.iter();
    let expiry = expiry.filter(|l| l.error.as_ref().is_some_and(is_integrity));
    let whole = of_dataset.error.as_ref().is_some_and(is_integrity);
    (partitions.count() + expiry.count()) as u64 + u64::from(whole)
}

/// The status in a label's value.
pub(super) fn label(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Running => "running",
        Status::Done => "done",
        Status::Waiting => "waiting",
        Status::Halted => "halted",
        Status::Cancelled => "cancelled",
    }
}
