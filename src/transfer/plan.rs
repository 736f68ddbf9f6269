//! What a run will do, as a value: made from what hot holds, printed by `--dry-run`, carried out by the runner. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::moment::Range;
use super::partitioning::{Partitioning, Unit, cut};
use super::retention::PlannedLeaving;
use crate::dataset::{DatasetName, Window};
use crate::error::{Error, Result};

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

/// The rows of one partition within one hour, as hot counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HourFacts {
    /// The partition's id.
    pub(super) partition: String,
    /// How many rows.
    pub(super) rows: u64,
    /// The earliest event time, in milliseconds since 1970.
    pub(super) min_ms: i64,
    /// The latest event time, in milliseconds since 1970.
    pub(super) max_ms: i64,
}

/// One partition of hot, as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartitionFacts {
    /// Its id.
    pub(super) id: String,
    /// Its value.
    pub(super) value: String,
}

/// What a dataset's tables are and hold, as far as a plan needs it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The dataset.
    pub(super) dataset: DatasetName,
    /// How hot is partitioned.
    pub(super) hot: Partitioning,
    /// How cold is partitioned.
    pub(super) cold: Partitioning,
    /// Hot's partitions.
    pub(super) partitions: Vec<PartitionFacts>,
    /// The rows of each partition by the hour.
    pub(super) hours: Vec<HourFacts>,
    /// The windows that the archive holds already.
    pub(super) archived: Vec<Window>,
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

/// What becomes of a partition when all its windows are proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// It is cleaned.
    Clean,
    /// It stays, for this reason.
    Keep(String),
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
    /// What becomes of it afterwards.
    pub cleanup: Cleanup,
}

/// What a run will do for one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The dataset.
    pub dataset: DatasetName,
    /// Partitions with windows that are due, oldest first.
    pub partitions: Vec<PlannedPartition>,
    /// Windows that are not due yet.
    pub young: u64,
    /// Partitions that are not what their value says, each with the reason: they halt.
    pub halted: Vec<String>,
    /// What is past its retention in cold and in the archive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<PlannedLeaving>,
}

impl Plan {
    /// The plan of an import: windows that the archive holds.
    pub(super) fn of_archived(dataset: &DatasetName, windows: Vec<Window>) -> Self {
        let partition = |window| PlannedPartition {
            id: String::new(),
            span: Some(window),
            windows: vec![PlannedWindow {
                window,
                rows: 0,
                archived: true,
            }],
            cleanup: Cleanup::Keep("hot is not asked".into()),
        };
        Self {
            dataset: dataset.clone(),
            partitions: windows.into_iter().map(partition).collect(),
            young: 0,
            halted: Vec::new(),
            leaving: Vec::new(),
        }
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
pub(super) fn plan(facts: &Facts, range: Range, due: Due) -> Result<Plan> {
    let unit = cut(facts.hot, facts.cold);
    let mut plan = Plan {
        dataset: facts.dataset.clone(),
        partitions: Vec::new(),
        young: 0,
        halted: Vec::new(),
        leaving: Vec::new(),
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
    facts: &Facts,
    partition: &PartitionFacts,
    unit: Unit,
    range: Range,
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
    let cleanup = cleanup_of(span, windows.len() == all, due);
    let planned = PlannedPartition {
        id: partition.id.clone(),
        span,
        windows,
        cleanup,
    };
    Ok((Some(planned), young))
}

/// The windows in which a partition has rows, each with its count; rows outside of the partition's span are an error.
pub(super) fn windows_of<'a>(
    hours: impl Iterator<Item = &'a HourFacts>,
    span: Option<Window>,
    unit: Unit,
    value: &str,
) -> Result<BTreeMap<Window, u64>> {
    let mut windows = BTreeMap::new();
    for hour in hours {
        let moment = |ms| {
            Timestamp::from_millisecond(ms).map_err(|_| {
                Error::integrity(format!(
                    "partition `{value}` has a row {ms} ms from 1970, which is no date"
                ))
            })
        };
        let (min, max) = (moment(hour.min_ms)?, moment(hour.max_ms)?);
        if let Some(span) = span
            && !(span.contains(min) && span.contains(max))
        {
            return Err(Error::integrity(format!(
                "partition `{value}` should hold {span}, but has rows from {min} to {max}"
            ))
            .hint("a 32-bit partition key wraps beyond 2106, and a time zone other than UTC shifts it; nothing of this partition is moved"));
        }
        let window = unit.window_at(min)?;
        if !window.contains(max) {
            return Err(Error::integrity(format!(
                "an hour of partition `{value}` reaches from {min} to {max}"
            )));
        }
        *windows.entry(window).or_default() += hour.rows;
    }
    Ok(windows)
}

fn cleanup_of(span: Option<Window>, complete: bool, due: Due) -> Cleanup {
    let keep = |reason: &str| Cleanup::Keep(reason.to_owned());
    let age = match due.cleanup {
        CleanupPolicy::Off => return keep("cleanup was not asked for"),
        CleanupPolicy::Now => None,
        CleanupPolicy::OlderThan(age) => Some(age),
    };
    let Some(span) = span else {
        return keep("hot is not partitioned, so no part of it can be sealed");
    };
    if !complete {
        return keep("not all windows of its partition are in this run");
    }
    match age {
        Some(_) if !may_clean(span, due) => {
            keep("its retention or the cleanup delay has not passed")
        }
        _ => Cleanup::Clean,
    }
}

/// Whether the policy lets a partition of this span be cleaned, once it is proven.
#[must_use]
pub(super) fn may_clean(span: Window, due: Due) -> bool {
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
fn refuse_overlap(facts: &Facts, window: Window) -> Result<()> {
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
        .hint("the partitioning of hot or cold has changed since; set it back for this span, or start another archive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(hot: Option<Unit>, cold: Option<Unit>) -> Facts {
        Facts {
            dataset: "trades".parse().unwrap(),
            hot: Partitioning(hot),
            cold: Partitioning(cold),
            partitions: Vec::new(),
            hours: Vec::new(),
            archived: Vec::new(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A partition of these hours, each with ten rows.
    fn with(mut facts: Facts, value: &str, hours: &[&str]) -> Facts {
        facts.partitions.push(PartitionFacts {
            id: value.into(),
            value: value.into(),
        });
        for hour in hours {
            let window: Window = hour.parse().unwrap();
            facts.hours.push(HourFacts {
                partition: value.into(),
                rows: 10,
                min_ms: window.start().as_millisecond(),
                max_ms: window.end().as_millisecond() - 1,
            });
        }
        facts
    }

    fn due(now: &str, cleanup: CleanupPolicy) -> Due {
        Due {
            now: at(now),
            grace: SignedDuration::from_mins(10),
            cleanup,
        }
    }

    fn ids(plan: &Plan) -> Vec<String> {
        plan.windows().map(|w| w.window.id()).collect()
    }

    #[test]
    fn windows_that_have_not_ended_for_long_enough_wait_unless_the_user_says_to() {
        let facts = with(
            facts(Some(Unit::Hour), Some(Unit::Day)),
            "2026-01-01 06:00:00",
            &["2026-01-01T06"],
        );
        let facts = with(facts, "2026-01-01 05:00:00", &["2026-01-01T05"]);
        let due = due("2026-01-01T07:09:59Z", CleanupPolicy::Now);
        let waiting = plan(&facts, Range::default(), due).unwrap();
        assert_eq!(ids(&waiting), ["2026-01-01T05"]);
        assert_eq!(waiting.young, 1);
        let to = Range {
            from: None,
            to: Some(at("2026-01-01T06:30:00Z")),
        };
        assert_eq!(
            ids(&plan(&facts, to, due).unwrap()),
            ["2026-01-01T05", "2026-01-01T06"]
        );
        let from = Range {
            from: Some(at("2026-01-01T06:00:00Z")),
            to: None,
        };
        assert!(ids(&plan(&facts, from, due).unwrap()).is_empty());
    }

    #[test]
    fn a_partition_of_several_windows_is_cleaned_only_when_all_of_them_are_in_the_run() {
        let facts = with(
            facts(Some(Unit::Day), Some(Unit::Hour)),
            "2026-01-01",
            &["2026-01-01T05", "2026-01-01T07"],
        );
        let due = due("2026-02-01T00:00:00Z", CleanupPolicy::Now);
        let whole = plan(&facts, Range::default(), due).unwrap();
        assert_eq!(ids(&whole), ["2026-01-01T05", "2026-01-01T07"]);
        assert_eq!(whole.partitions[0].cleanup, Cleanup::Clean);
        let part = Range {
            from: Some(at("2026-01-01T06:00:00Z")),
            to: None,
        };
        let part = plan(&facts, part, due).unwrap();
        assert_eq!(ids(&part), ["2026-01-01T07"]);
        assert!(
            matches!(&part.partitions[0].cleanup, Cleanup::Keep(why) if why.contains("not all windows"))
        );
    }

    #[test]
    fn floors_hold_cleanup_back_and_an_unpartitioned_table_is_never_sealed() {
        let hourly = with(
            facts(Some(Unit::Hour), Some(Unit::Day)),
            "2026-01-01 05:00:00",
            &["2026-01-01T05"],
        );
        let three_days = CleanupPolicy::OlderThan(SignedDuration::from_hours(72));
        let decided = |now| {
            let plan = plan(&hourly, Range::default(), due(now, three_days)).unwrap();
            plan.partitions[0].cleanup.clone()
        };
        assert_eq!(decided("2026-01-04T06:00:00Z"), Cleanup::Clean);
        assert!(matches!(decided("2026-01-04T05:59:59Z"), Cleanup::Keep(_)));
        let whole = with(
            facts(None, Some(Unit::Day)),
            "tuple()",
            &["2026-01-01T05", "2026-01-02T05"],
        );
        let whole = plan(
            &whole,
            Range::default(),
            due("2026-02-01T00:00:00Z", CleanupPolicy::Now),
        )
        .unwrap();
        assert_eq!(ids(&whole), ["2026-01-01", "2026-01-02"]);
        assert!(
            matches!(&whole.partitions[0].cleanup, Cleanup::Keep(why) if why.contains("not partitioned"))
        );
    }

    #[test]
    fn rows_outside_of_what_their_partition_says_halt_it_and_only_it() {
        let wrong = with(
            facts(Some(Unit::Hour), Some(Unit::Day)),
            "2026-01-01 05:00:00",
            &["2026-01-01T06"],
        );
        let both = with(wrong, "2026-01-01 07:00:00", &["2026-01-01T07"]);
        let plan = plan(
            &both,
            Range::default(),
            due("2026-02-01T00:00:00Z", CleanupPolicy::Now),
        )
        .unwrap();
        assert_eq!(ids(&plan), ["2026-01-01T07"]);
        assert!(
            plan.halted[0].contains("should hold 2026-01-01T05"),
            "{:?}",
            plan.halted
        );
    }

    #[test]
    fn an_archive_that_was_cut_otherwise_is_refused() {
        let mut facts = with(
            facts(Some(Unit::Hour), Some(Unit::Day)),
            "2026-01-01 05:00:00",
            &["2026-01-01T05"],
        );
        facts.archived = vec!["2026-01-01".parse().unwrap()];
        let e = plan(
            &facts,
            Range::default(),
            due("2026-02-01T00:00:00Z", CleanupPolicy::Off),
        )
        .unwrap_err();
        assert!(e.to_string().contains("archived twice"), "{e}");
        facts.archived = vec!["2026-01-01T05".parse().unwrap()];
        let plan = plan(
            &facts,
            Range::default(),
            due("2026-02-01T00:00:00Z", CleanupPolicy::Off),
        )
        .unwrap();
        assert!(plan.windows().all(|w| w.archived));
    }
}
