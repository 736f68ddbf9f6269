//! The report of a run: a value that is printed, and from which the exit code follows.

use serde::Serialize;

use crate::plan::transfer_plan::{Cleanup, KeepReason, TransferPlan};
use crate::retention::plan::ExpiryReport;
use crate::serialize;
use crate::window::drive::Driven;
use crate::window::holdings::total;
use crate::window::task::{Stage, Status};
use mpsync_archive::Manifest;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Cause, Error, ExitCode};

/// The report of a run.
#[derive(Debug, Default, Serialize)]
pub struct TransferReport {
    /// Each dataset, in the order in which they were asked for.
    pub datasets: Vec<DatasetTransferReport>,
    /// How long it took.
    pub seconds: f64,
}

/// The report of a run for one dataset.
#[derive(Debug, Serialize)]
pub struct DatasetTransferReport {
    /// The dataset.
    pub dataset: DatasetName,
    /// Each window of the run, oldest first.
    pub windows: Vec<WindowReport>,
    /// Windows that were not due yet.
    pub young: u64,
    /// Windows that are due and left to later runs (`sync.max_hours_per_run`).
    pub postponed: u64,
    /// Partitions that were to be cleaned, or were looked at for it.
    pub partitions: Vec<PartitionReport>,
    /// Data that was past its retention in cold and in the archive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "leaving")]
    pub expiries: Vec<ExpiryReport>,
    /// Rows of hot's table after the run; `None` where hot was not asked.
    pub hot_rows: Option<u64>,
    /// Rows of cold's table after the run; `None` where cold was not asked.
    pub cold_rows: Option<u64>,
    /// How long it took.
    pub seconds: f64,
    /// The error of the dataset as a whole.
    #[serde(
        serialize_with = "serialize::error",
        skip_serializing_if = "Option::is_none"
    )]
    pub error: Option<Error>,
}

/// The report of a run for one window.
#[derive(Debug, Serialize)]
pub struct WindowReport {
    /// The window.
    pub window: Window,
    /// Its last proven stage.
    pub stage: Stage,
    /// How the run of it ended.
    pub status: Status,
    /// Generations in the archive.
    pub generations: u64,
    /// How many of them this run made.
    pub new_generations: u64,
    /// Rows of those that this run made.
    pub new_rows: u64,
    /// Bytes of their chunks.
    pub new_bytes: u64,
    /// Whether this run moved any generation into cold.
    pub loaded: bool,
    /// Chunks of all generations.
    pub chunks: u64,
    /// Rows of all generations.
    pub rows: u64,
    /// Bytes of all chunks.
    pub archive_bytes: u64,
    /// Bytes of Arrow that this run read to make its generations.
    pub arrow_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// The error that ended it.
    #[serde(
        serialize_with = "serialize::error",
        skip_serializing_if = "Option::is_none"
    )]
    pub error: Option<Error>,
}

/// The cleanup of a partition of hot.
#[derive(Debug, Serialize)]
pub struct PartitionReport {
    /// Its span; `None` where hot is not partitioned.
    pub span: Option<Window>,
    /// Rows that hot no longer holds.
    pub cleaned_rows: u64,
    /// Why it was not cleaned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeepReason>,
    /// The error that prevented its cleanup.
    #[serde(
        serialize_with = "serialize::error",
        skip_serializing_if = "Option::is_none"
    )]
    pub error: Option<Error>,
}

impl WindowReport {
    /// A window about which nothing is known yet.
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            stage: Stage::Planned,
            status: Status::Queued,
            generations: 0,
            new_generations: 0,
            new_rows: 0,
            new_bytes: 0,
            loaded: false,
            chunks: 0,
            rows: 0,
            archive_bytes: 0,
            arrow_bytes: 0,
            seconds: 0.0,
            error: None,
        }
    }

    /// Takes over how far it came.
    pub(crate) fn record(&mut self, driven: &Driven) {
        self.stage = self.stage.max(driven.stage);
        self.generations = driven.generations.len() as u64;
        self.new_generations += u64::from(driven.made);
        self.loaded |= driven.loaded;
        let made = usize::try_from(driven.made).unwrap_or(usize::MAX);
        for manifest in driven.generations.iter().rev().take(made) {
            self.new_rows += manifest.fingerprint.rows;
            self.new_bytes += manifest.bytes();
        }
        self.chunks = driven
            .generations
            .iter()
            .map(|m| m.chunks.len() as u64)
            .sum();
        self.rows = total(&driven.generations).rows;
        self.archive_bytes = driven.generations.iter().map(Manifest::bytes).sum();
        self.arrow_bytes += driven.arrow_bytes;
    }

    /// Ends it with an error.
    pub(crate) fn halt(&mut self, error: Error) {
        self.status = Status::after(&error);
        self.error = Some(error);
    }
}

impl DatasetTransferReport {
    /// A report of nothing yet.
    pub(crate) fn new(dataset: DatasetName) -> Self {
        Self {
            dataset,
            windows: Vec::new(),
            young: 0,
            postponed: 0,
            partitions: Vec::new(),
            expiries: Vec::new(),
            hot_rows: None,
            cold_rows: None,
            seconds: 0.0,
            error: None,
        }
    }

    /// A sum over its windows.
    #[must_use]
    pub fn sum(&self, count: impl Fn(&WindowReport) -> u64) -> u64 {
        self.windows.iter().map(count).sum()
    }

    /// Whether every window of the run was found to be the same in hot, archive and cold.
    #[must_use]
    pub fn all_verified(&self) -> bool {
        self.error.is_none()
            && self
                .windows
                .iter()
                .all(|w| w.stage >= Stage::Verified && w.error.is_none())
    }

    /// Rows that hot no longer holds.
    #[must_use]
    pub fn cleaned_rows(&self) -> u64 {
        self.partitions.iter().map(|p| p.cleaned_rows).sum()
    }

    fn all_errors(&self) -> impl Iterator<Item = &Error> {
        let windows = self.windows.iter().filter_map(|w| w.error.as_ref());
        let partitions = self.partitions.iter().filter_map(|p| p.error.as_ref());
        let expiry = self.expiries.iter().filter_map(|l| l.error.as_ref());
        let whole = self.error.iter();
        whole.chain(windows).chain(partitions).chain(expiry)
    }

    fn errors(&mut self) -> impl Iterator<Item = Error> {
        let windows = self.windows.iter_mut().filter_map(|w| w.error.take());
        let partitions = self.partitions.iter_mut().filter_map(|p| p.error.take());
        let expiry = self.expiries.iter_mut().filter_map(|l| l.error.take());
        self.error
            .take()
            .into_iter()
            .chain(windows)
            .chain(partitions)
            .chain(expiry)
    }
}

impl TransferReport {
    /// Returns the error of a run that was interrupted and in which nothing else failed.
    #[must_use]
    pub fn interruption(&self) -> Option<Error> {
        let mut errors = self
            .datasets
            .iter()
            .flat_map(DatasetTransferReport::all_errors)
            .peekable();
        errors.peek()?;
        if !errors.all(|e| matches!(e.cause(), Cause::Interrupted)) {
            return None;
        }
        let windows = self.datasets.iter().flat_map(|d| &d.windows);
        let done = windows.clone().filter(|w| w.error.is_none()).count();
        let e = Error::new(Cause::Interrupted).with_hint("run the same command again to continue");
        Some(match windows.count() {
            0 => e,
            all => e.context(format!("{done} of {all} windows done")),
        })
    }

    /// Takes all errors out of the report, and makes one of them: the worst, which is the command's. `None` where all is
    /// well.
    pub fn take_failure(&mut self) -> Option<Error> {
        let interruption = self.interruption();
        let windows: usize = self.datasets.iter().map(|d| d.windows.len()).sum();
        let mut errors: Vec<Error> = self
            .datasets
            .iter_mut()
            .flat_map(DatasetTransferReport::errors)
            .collect();
        if interruption.is_some() {
            return interruption;
        }
        // What was interrupted beside a failure is not one of them.
        errors.retain(|e| !matches!(e.cause(), Cause::Interrupted));
        let count = errors.len();
        let rank = |e: &Error| match e.exit_code() {
            ExitCode::Integrity => 0,
            ExitCode::Usage => 1,
            // A window that another worker holds matters less than a failure.
            ExitCode::Failed if matches!(e.cause(), Cause::Busy(_)) => 3,
            ExitCode::Failed => 2,
        };
        errors.sort_by_key(rank);
        let worst = errors.into_iter().next()?;
        Some(if count == 1 {
            worst
        } else {
            worst.context(format!(
                "{count} things failed in a run of {windows} windows, the worst of them"
            ))
        })
    }
}

/// A plan as sentences for people.
#[must_use]
pub fn describe_plan(plan: &TransferPlan) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}: {} windows, {} rows",
        plan.dataset,
        plan.windows().count(),
        plan.windows().map(|w| w.rows).sum::<u64>()
    );
    for partition in &plan.partitions {
        for window in &partition.windows {
            let archived = if window.archived {
                ", archived before"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  {}  {} rows in hot{archived}",
                window.window, window.rows
            );
        }
        let name = partition
            .span
            .map_or_else(|| "the table".to_owned(), |s| s.to_string());
        let _ = match &partition.cleanup {
            Cleanup::Clean => writeln!(
                text,
                "    then {name} is cleaned out of hot, when all of it is proven"
            ),
            Cleanup::Delete(windows) => writeln!(
                text,
                "    then the rows of {} windows are deleted from {name}, when they are proven",
                windows.len()
            ),
            Cleanup::Keep(why) => writeln!(text, "    then {name} stays in hot: {why}"),
        };
    }
    if plan.young > 0 {
        let _ = writeln!(text, "  {} windows are too young and wait", plan.young);
    }
    for expiry in &plan.expiries {
        let _ = writeln!(text, "  {expiry}");
    }
    if plan.postponed > 0 {
        let _ = writeln!(
            text,
            "  {} windows are left to later runs (sync.max_hours_per_run)",
            plan.postponed
        );
    }
    for halted in &plan.halted {
        let _ = writeln!(text, "  halted: {halted}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_run_is_one_error_unless_something_failed_too() {
        let window = |error: Option<Error>| {
            let mut report = WindowReport::new("2026-01-01T05".parse().unwrap());
            if let Some(e) = error {
                report.halt(e);
            }
            report
        };
        let interrupted = || Error::new(Cause::Interrupted).context("trades 2026-01-01T05");
        let mut dataset = DatasetTransferReport::new("trades".parse().unwrap());
        dataset.windows = vec![window(None), window(Some(interrupted()))];
        dataset.error = Some(Error::new(Cause::Interrupted));
        let mut report = TransferReport {
            datasets: vec![dataset],
            seconds: 1.0,
        };
        let e = report.interruption().unwrap();
        assert!(e.contexts().eq(["1 of 2 windows done"]));
        assert_eq!(e.hint(), Some("run the same command again to continue"));
        assert!(matches!(
            report.take_failure().unwrap().cause(),
            Cause::Interrupted
        ));
        assert!(report.interruption().is_none());

        report.datasets[0].windows = vec![
            window(Some(Error::integrity("rows differ"))),
            window(Some(interrupted())),
        ];
        assert!(report.interruption().is_none());
        let e = report.take_failure().unwrap();
        assert_eq!(e.message(), "rows differ");
    }

    #[test]
    fn the_worst_error_is_the_commands_and_integrity_is_worse_than_failure() {
        let window = |error: Option<Error>| {
            let mut report = WindowReport::new("2026-01-01T05".parse().unwrap());
            if let Some(e) = error {
                report.halt(e);
            }
            report
        };
        let mut dataset = DatasetTransferReport::new("trades".parse().unwrap());
        dataset.windows = vec![
            window(None),
            window(Some(Error::busy("another worker"))),
            window(Some(Error::integrity("rows differ"))),
        ];
        let mut report = TransferReport {
            datasets: vec![dataset],
            seconds: 1.0,
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["datasets"][0]["windows"][1]["status"], "waiting");
        assert_eq!(json["datasets"][0]["windows"][2]["error"], "rows differ");
        let e = report.take_failure().unwrap();
        assert_eq!(e.exit_code(), ExitCode::Integrity);
        assert!(
            e.to_string()
                .contains("2 things failed in a run of 3 windows"),
            "{e}"
        );
        assert!(report.take_failure().is_none());
    }
}
