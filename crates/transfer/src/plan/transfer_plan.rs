//! The plan of a run, as a value: made from the contents of hot, printed by `--dry-run`, carried out by the runner. Pure.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::plan::facts::{HotInventory, PartitionFacts, windows_of};
use crate::plan::partitioning::{CalendarUnit, cut};
use crate::retention::plan::PlannedExpiry;
use crate::time_range::TimeRange;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// When windows and partitions are due.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// Now.
    pub now: Timestamp,
    /// How long after its end a window is exported at the earliest, where the range does not say otherwise.
    pub grace: SignedDuration,
    /// Whether and how old partitions are cleaned.
    pub cleanup: CleanupPolicy,
}

/// Whether proven partitions are cleaned out of hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// Not in this run.
    Off,
    /// As soon as they are proven: the user said so.
    Now,
    /// As soon as they are proven and their end lies this far back.
    OlderThan(SignedDuration),
}

/// One window that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedWindow {
    /// The window.
    pub window: Window,
    /// Rows that hot holds of it.
    pub rows: u64,
    /// Whether the archive has a generation of it already.
    pub archived: bool,
}

/// The treatment of a partition after all its windows are proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// It is cleaned.
    Clean,
    /// The rows of these windows are deleted from it one by one: it holds others that stay.
    Delete(Vec<Window>),
    /// It stays, for this reason.
    Keep(KeepReason),
}

/// The reason why a partition stays in hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// An import does not ask hot.
    HotNotAsked,
    /// The run does not clean.
    CleanupOff,
    /// `sync.batch_hours` leaves some of its windows to the next run.
    WindowsPostponed,
    /// It is replicated, so that rows can only be deleted by their positions, and it has none.
    NoRowDeletion,
    /// Its retention or the cleanup delay has not passed.
    TooYoung,
    /// Some of its windows are outside of this run.
    WindowsOutside,
    /// Some of its windows are not proven.
    NotProven,
    /// An operator cancelled its cleanup.
    Cancelled,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HotNotAsked => "hot is not asked",
            Self::CleanupOff => "cleanup was not asked for",
            Self::WindowsPostponed => "some of its windows are left to the next run",
            Self::NoRowDeletion => {
                "hot is replicated, where rows are deleted by their positions only, and this table has none"
            }
            Self::TooYoung => "its retention or the cleanup delay has not passed",
            Self::WindowsOutside => "not all windows of its partition are in this run",
            Self::NotProven => "not all of its windows are proven",
            Self::Cancelled => "its cleanup was cancelled",
        })
    }
}

impl Serialize for KeepReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One partition of hot with windows that are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedPartition {
    /// Its id.
    pub id: String,
    /// The span that its value stands for; `None` where hot is not partitioned.
    pub span: Option<Window>,
    /// Its windows that are due, oldest first.
    pub windows: Vec<PlannedWindow>,
    /// Its treatment afterwards.
    pub cleanup: Cleanup,
}

/// The plan of a run for one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransferPlan {
    /// The dataset.
    pub dataset: DatasetName,
    /// Partitions with windows that are due, oldest first.
    pub partitions: Vec<PlannedPartition>,
    /// Windows that are not due yet.
    pub young: u64,
    /// Windows that are due and left to later runs, since one run takes no more (`sync.max_hours_per_run`).
    pub postponed: u64,
    /// Partitions that are not what their value says, each with the reason: they halt.
    pub halted: Vec<String>,
    /// Data past its retention in cold and in the archive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "leaving")]
    pub expiries: Vec<PlannedExpiry>,
}

impl TransferPlan {
    /// The plan of an import: windows that the archive holds.
    pub(crate) fn of_archived(dataset: &DatasetName, windows: Vec<Window>) -> Self {
        let partition = |window| PlannedPartition {
            id: String::new(),
            span: Some(window),
            windows: vec![PlannedWindow {
                window,
                rows: 0,
                archived: true,
            }],
            cleanup: Cleanup::Keep(KeepReason::HotNotAsked),
        };
        Self {
            dataset: dataset.clone(),
            partitions: windows.into_iter().map(partition).collect(),
            young: 0,
            postponed: 0,
            halted: Vec::new(),
            expiries: Vec::new(),
        }
    }

    /// Leaves these windows to a later run; a partition of which some are left is not cleaned as a whole.
    pub(crate) fn postpone(&mut self, later: &BTreeSet<Window>) {
        for partition in &mut self.partitions {
            let all = partition.windows.len();
            partition.windows.retain(|w| !later.contains(&w.window));
            let left = all - partition.windows.len();
            self.postponed += left as u64;
            match &mut partition.cleanup {
                Cleanup::Clean if left > 0 => {
                    partition.cleanup = Cleanup::Keep(KeepReason::WindowsPostponed);
                }
                Cleanup::Delete(windows) => windows.retain(|w| !later.contains(w)),
                Cleanup::Clean | Cleanup::Keep(_) => {}
            }
        }
        self.partitions.retain(|p| !p.windows.is_empty());
    }

    /// Every window that is due.
    pub fn windows(&self) -> impl Iterator<Item = &PlannedWindow> {
        self.partitions.iter().flat_map(|p| &p.windows)
    }
}

/// Plans a run over one dataset.
///
/// A partition whose rows lie outside of what its value says is put aside as halted, and the others go on. An archive
/// that was cut otherwise is refused as a whole: a window that overlaps an archived one would archive rows twice.
pub(crate) fn plan(facts: &HotInventory, range: TimeRange, due: Due) -> Result<TransferPlan> {
    let unit = cut(facts.hot, facts.cold);
    let mut plan = TransferPlan {
        dataset: facts.dataset.clone(),
        partitions: Vec::new(),
        young: 0,
        postponed: 0,
        halted: Vec::new(),
        expiries: Vec::new(),
    };
    for partition in &facts.partitions {
        match plan_partition(facts, partition, unit, range, due) {
            Ok((planned, young)) => {
                plan.young += young;
                plan.partitions.extend(planned);
            }
            Err(e) => plan.halted.push(e.to_string()),
        }
    }
    plan.partitions
        .sort_by_key(|p| p.windows.first().map(|w| w.window));
    for planned in plan.windows() {
        refuse_overlap(facts, planned.window)?;
    }
    Ok(plan)
}

fn plan_partition(
    facts: &HotInventory,
    partition: &PartitionFacts,
    unit: CalendarUnit,
    range: TimeRange,
    due: Due,
) -> Result<(Option<PlannedPartition>, u64)> {
    let span = facts.hot.span(&partition.value)?;
    let hours = facts.hours.iter().filter(|h| h.partition == partition.id);
    let rows = windows_of(hours, span, unit, &partition.value)?;
    let all = rows.len();
    let (mut windows, mut young) = (Vec::new(), 0);
    for (window, rows) in rows {
        if !range.touches(window) {
            continue;
        }
        let ripe = range.to.is_some()
            || window
                .end()
                .checked_add(due.grace)
                .is_ok_and(|ripe| ripe <= due.now);
        if ripe {
            windows.push(PlannedWindow {
                window,
                rows,
                archived: facts.archived.contains(&window),
            });
        } else {
            young += 1;
        }
    }
    if windows.is_empty() {
        return Ok((None, young));
    }
    let cleanup = cleanup_of(span, &windows, windows.len() == all, facts, due);
    let planned = PlannedPartition {
        id: partition.id.clone(),
        span,
        windows,
        cleanup,
    };
    Ok((Some(planned), young))
}

/// A partition that is longer than this is not waited for: its windows are deleted from it as they become due. Rewriting a day
/// again and again costs more than the rows of a day.
const WAITED_FOR_SECONDS: i64 = 2 * 86_400;

fn cleanup_of(
    span: Option<Window>,
    windows: &[PlannedWindow],
    complete: bool,
    facts: &HotInventory,
    due: Due,
) -> Cleanup {
    if due.cleanup == CleanupPolicy::Off {
        return Cleanup::Keep(KeepReason::CleanupOff);
    }
    let is_whole = complete && span.is_some_and(|span| may_clean(span, due));
    if is_whole && facts.sets_aside {
        return Cleanup::Clean;
    }
    let is_waited_for = match (due.cleanup, span) {
        (CleanupPolicy::OlderThan(_), Some(span)) => {
            !is_whole && span.seconds() <= WAITED_FOR_SECONDS
        }
        _ => false,
    };
    let parts = windows.iter().map(|planned| planned.window);
    let old: Vec<_> = parts
        .filter(|window| (Some(*window) != span || is_whole) && may_clean(*window, due))
        .collect();
    if !old.is_empty() && !is_waited_for {
        return if facts.deletes {
            Cleanup::Delete(old)
        } else {
            Cleanup::Keep(KeepReason::NoRowDeletion)
        };
    }
    if complete || span.is_none() {
        Cleanup::Keep(KeepReason::TooYoung)
    } else {
        Cleanup::Keep(KeepReason::WindowsOutside)
    }
}

/// Whether the policy lets a partition of this span be cleaned, once it is proven.
#[must_use]
pub(crate) fn may_clean(span: Window, due: Due) -> bool {
    match due.cleanup {
        CleanupPolicy::Off => false,
        CleanupPolicy::Now => true,
        CleanupPolicy::OlderThan(age) => span
            .end()
            .checked_add(age)
            .is_ok_and(|until| until <= due.now),
    }
}

/// Refuses a window that overlaps an archived one without being the same.
fn refuse_overlap(facts: &HotInventory, window: Window) -> Result<()> {
    let other = facts
        .archived
        .iter()
        .find(|archived| **archived != window && archived.intersection(&window).is_some());
    match other {
        None => Ok(()),
        Some(archived) => Err(Error::schema(format!(
            "dataset {} would be cut into {window}, but the archive holds {archived}: its rows would be archived twice",
            facts.dataset
        ))
        .with_hint("the partitioning of hot or cold has changed since; set it back for this span, or start another archive")),
    }
}

#[cfg(test)]
mod tests;
