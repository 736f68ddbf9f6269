//! `mpsync verify`: is the archive what it says, alone or against what a tier holds?

use std::time::Instant;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::maintenance::repair::Repairs;
use crate::rows::columns::check_takes;
use crate::rows::window_rows::Rows;
use crate::time_range::TimeRange;
use crate::window::holdings::total;
use crate::window::proof;
use mpsync_archive::{Archive, Depth, Finding, Manifest, Severity, verify as verify_archive};
use mpsync_clickhouse::{TableSchema, Tier};
use mpsync_core::dataset::{Dataset, Window};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::progress::Progress;

/// A tier to compare the archive with.
#[derive(Debug, Clone)]
pub struct Against {
    /// The tier.
    pub tier: Tier,
    /// The tier may hold nothing of a window that ended before this: hot, which is cleaned, and cold past its retention.
    pub may_lack_before: Option<Timestamp>,
}

/// The result of a check.
#[derive(Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Windows that were looked at.
    pub windows: u64,
    /// Generations of them that are readable.
    pub generations: u64,
    /// Rows of those.
    pub rows: u64,
    /// Bytes of their chunks.
    pub bytes: u64,
    /// Findings in the archive, including files that could not be read.
    pub findings: Vec<Finding>,
    /// Windows whose rows in the tier are not the archive's, each with how they differ.
    pub differences: Vec<String>,
    /// Queries to the tier that failed.
    pub unanswered: Vec<String>,
    /// Windows of which the tier holds no rows, as it may.
    pub absent: u64,
    /// Repairs, if they were requested; the findings are those after them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Repairs>,
    /// How long it took.
    pub seconds: f64,
}

impl VerifyReport {
    /// The command's error: integrity where something is wrong, a failure where something could not be looked at.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let with = |severity| {
            self.findings
                .iter()
                .filter(|f| f.kind.severity() == severity)
                .count()
        };
        let wrong = with(Severity::Damage) + self.differences.len();
        let unknown = with(Severity::Unknown) + self.unanswered.len();
        if wrong > 0 {
            return Some(Error::integrity(format!(
                "{wrong} things are wrong in {} windows{}",
                self.windows,
                if unknown > 0 {
                    format!(", and {unknown} could not be looked at")
                } else {
                    String::new()
                }
            )));
        }
        (unknown > 0).then(|| {
            let text = format!(
                "{unknown} things could not be looked at in {} windows",
                self.windows
            );
            Error::new(Cause::Io(std::io::Error::other(text)))
        })
    }
}

/// Checks the archived windows of these datasets, some of them at once, and collects all findings.
///
/// An error only where the archive could not be listed: everything else is a finding.
pub async fn verify(
    archive: &Archive,
    datasets: &[Dataset],
    range: TimeRange,
    depth: Depth,
    against: Option<&Against>,
    jobs: usize,
    progress: &Progress,
) -> Result<VerifyReport> {
    let started = Instant::now();
    let mut report = VerifyReport::default();
    let mut all = Vec::new();
    for dataset in datasets {
        // Those included whose manifests are all lost, which only their journals know.
        let windows = archive
            .windows_to_verify(&dataset.name, range.window())
            .await?;
        let windows: Vec<_> = windows.into_iter().filter(|w| range.touches(*w)).collect();
        progress.expect(windows.len() as u64);
        all.push((dataset, windows));
    }
    for (dataset, windows) in all {
        if windows.is_empty() {
            continue;
        }
        let schema = match against {
            None => None,
            Some(against) => match against.tier.describe_existing(&dataset.table).await {
                Ok(schema) => Some(schema),
                Err(e) => {
                    report.unanswered.push(e.to_string());
                    None
                }
            },
        };
        let checks = windows.iter().map(|window| {
            let compare = against.zip(schema.as_ref());
            async move {
                let work = progress.begin(format!("{} {window}", dataset.name));
                work.step("verifying", 0);
                let checked = check(archive, dataset, *window, depth, compare).await;
                work.add(checked.rows, checked.bytes);
                checked
            }
        });
        let mut checks = futures_util::stream::iter(checks).buffered(jobs.max(1));
        while let Some(checked) = checks.next().await {
            report.add(checked);
        }
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The result for one window.
#[derive(Default)]
struct Checked {
    findings: Vec<Finding>,
    generations: u64,
    rows: u64,
    bytes: u64,
    compared: Option<Result<Comparison>>,
    window: String,
}

enum Comparison {
    Same,
    Absent,
    Differs(Error),
}

async fn check(
    archive: &Archive,
    dataset: &Dataset,
    window: Window,
    depth: Depth,
    against: Option<(&Against, &TableSchema)>,
) -> Checked {
    let mut checked = Checked {
        findings: verify_archive(archive, &dataset.name, window, depth).await,
        window: format!("{} {window}", dataset.name),
        ..Checked::default()
    };
    // A window whose manifests cannot be read is in the findings already.
    let Ok(generations) = archive.generations(&dataset.name, window).await else {
        return checked;
    };
    checked.generations = generations.len() as u64;
    checked.rows = total(&generations).rows;
    checked.bytes = generations.iter().map(Manifest::bytes).sum();
    let (Some((against, schema)), Some(first)) = (against, generations.first()) else {
        return checked;
    };
    let rows = Rows {
        tier: &against.tier,
        table: &schema.table,
        schema,
        time_column: &dataset.time_column,
        window: Some(window),
        partition: None,
        filter: None,
    };
    let compare = async {
        check_takes(schema, &first.schema.columns)?;
        let held = rows.fingerprint(&first.schema.columns).await?;
        if held == total(&generations) {
            Ok(Comparison::Same)
        } else if held.rows == 0 && against.may_lack_before.is_some_and(|t| window.end() <= t) {
            Ok(Comparison::Absent)
        } else {
            proof::explain(&rows, held, &generations)
                .await
                .map(Comparison::Differs)
        }
    };
    checked.compared = Some(compare.await);
    checked
}

impl VerifyReport {
    fn add(&mut self, checked: Checked) {
        self.windows += 1;
        self.generations += checked.generations;
        self.rows += checked.rows;
        self.bytes += checked.bytes;
        self.findings.extend(checked.findings);
        let of = |e: Error| e.context(checked.window.clone()).to_string();
        match checked.compared {
            None | Some(Ok(Comparison::Same)) => {}
            Some(Ok(Comparison::Absent)) => self.absent += 1,
            Some(Ok(Comparison::Differs(e))) => self.differences.push(of(e)),
            Some(Err(e)) => self.unanswered.push(of(e)),
        }
    }
}
