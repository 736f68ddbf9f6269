//! Windows that are due, cleaned, or refused.

use super::*;
use crate::plan::facts::HourFacts;
use crate::plan::partitioning::Partitioning;

fn facts(hot: Option<CalendarUnit>, cold: Option<CalendarUnit>) -> HotInventory {
    HotInventory {
        dataset: "trades".parse().unwrap(),
        hot: Partitioning(hot),
        cold: Partitioning(cold),
        deletes: true,
        sets_aside: true,
        partitions: Vec::new(),
        hours: Vec::new(),
        archived: Vec::new(),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A partition of these hours, each with ten rows.
fn with(mut facts: HotInventory, value: &str, hours: &[&str]) -> HotInventory {
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

fn ids(plan: &TransferPlan) -> Vec<String> {
    plan.windows().map(|w| w.window.id()).collect()
}

#[test]
fn windows_that_have_not_ended_for_long_enough_wait_unless_the_user_says_to() {
    let facts = with(
        facts(Some(CalendarUnit::Hour), Some(CalendarUnit::Day)),
        "2026-01-01 06:00:00",
        &["2026-01-01T06"],
    );
    let facts = with(facts, "2026-01-01 05:00:00", &["2026-01-01T05"]);
    let due = due("2026-01-01T07:09:59Z", CleanupPolicy::Now);
    let waiting = plan(&facts, TimeRange::default(), due).unwrap();
    assert_eq!(ids(&waiting), ["2026-01-01T05"]);
    assert_eq!(waiting.young, 1);
    let to = TimeRange {
        from: None,
        to: Some(at("2026-01-01T06:30:00Z")),
    };
    assert_eq!(
        ids(&plan(&facts, to, due).unwrap()),
        ["2026-01-01T05", "2026-01-01T06"]
    );
    let from = TimeRange {
        from: Some(at("2026-01-01T06:00:00Z")),
        to: None,
    };
    assert!(ids(&plan(&facts, from, due).unwrap()).is_empty());
}

#[test]
fn a_partition_of_several_windows_is_cleaned_only_when_all_of_them_are_in_the_run() {
    let facts = with(
        facts(Some(CalendarUnit::Day), Some(CalendarUnit::Hour)),
        "2026-01-01",
        &["2026-01-01T05", "2026-01-01T07"],
    );
    let due = due("2026-02-01T00:00:00Z", CleanupPolicy::Now);
    let whole = plan(&facts, TimeRange::default(), due).unwrap();
    assert_eq!(ids(&whole), ["2026-01-01T05", "2026-01-01T07"]);
    assert_eq!(whole.partitions[0].cleanup, Cleanup::Clean);
    let part = TimeRange {
        from: Some(at("2026-01-01T06:00:00Z")),
        to: None,
    };
    let part_of = |facts: &HotInventory, due| plan(facts, part, due).unwrap();
    let planned = part_of(&facts, due);
    assert_eq!(ids(&planned), ["2026-01-01T07"]);
    let deleted = Cleanup::Delete(vec!["2026-01-01T07".parse().unwrap()]);
    assert_eq!(planned.partitions[0].cleanup, deleted);
    // A routine run waits for a whole day.
    let old = CleanupPolicy::OlderThan(SignedDuration::from_hours(1));
    let routine = Due {
        cleanup: old,
        ..due
    };
    let kept = |plan: &TransferPlan, why| plan.partitions[0].cleanup == Cleanup::Keep(why);
    assert!(kept(&part_of(&facts, routine), KeepReason::WindowsOutside));
    let replicated = HotInventory {
        deletes: false,
        ..facts
    };
    assert!(kept(&part_of(&replicated, due), KeepReason::NoRowDeletion));
}

#[test]
fn a_replicated_table_is_never_cleaned_by_a_partition_operation() {
    let hourly = facts(Some(CalendarUnit::Hour), Some(CalendarUnit::Day));
    let facts = with(hourly, "2026-01-01 05:00:00", &["2026-01-01T05"]);
    let replicated = HotInventory {
        sets_aside: false,
        ..facts
    };
    let window: Window = "2026-01-01T05".parse().unwrap();
    let without_positions = HotInventory {
        deletes: false,
        ..replicated.clone()
    };
    let hour = SignedDuration::from_hours(1);
    for policy in [CleanupPolicy::Now, CleanupPolicy::OlderThan(hour)] {
        let cleanup = |facts: &HotInventory| {
            let due = due("2026-02-01T00:00:00Z", policy);
            let plan = plan(facts, TimeRange::default(), due).unwrap();
            plan.partitions[0].cleanup.clone()
        };
        assert_eq!(cleanup(&replicated), Cleanup::Delete(vec![window]));
        let kept = Cleanup::Keep(KeepReason::NoRowDeletion);
        assert_eq!(cleanup(&without_positions), kept);
    }
}

#[test]
fn floors_hold_cleanup_back_and_from_an_unpartitioned_table_windows_are_deleted() {
    let hourly = with(
        facts(Some(CalendarUnit::Hour), Some(CalendarUnit::Day)),
        "2026-01-01 05:00:00",
        &["2026-01-01T05"],
    );
    let three_days = CleanupPolicy::OlderThan(SignedDuration::from_hours(72));
    let decided = |now| {
        let plan = plan(&hourly, TimeRange::default(), due(now, three_days)).unwrap();
        plan.partitions[0].cleanup.clone()
    };
    assert_eq!(decided("2026-01-04T06:00:00Z"), Cleanup::Clean);
    assert!(matches!(decided("2026-01-04T05:59:59Z"), Cleanup::Keep(_)));
    let whole = with(
        facts(None, Some(CalendarUnit::Day)),
        "tuple()",
        &["2026-01-01T05", "2026-01-02T05"],
    );
    let decided = |now| {
        let whole = plan(&whole, TimeRange::default(), due(now, three_days)).unwrap();
        assert_eq!(ids(&whole), ["2026-01-01", "2026-01-02"]);
        whole.partitions[0].cleanup.clone()
    };
    let window = |day: &str| day.parse::<Window>().unwrap();
    assert_eq!(
        decided("2026-01-05T00:00:00Z"),
        Cleanup::Delete(vec![window("2026-01-01")])
    );
    assert_eq!(
        decided("2026-01-06T00:00:00Z"),
        Cleanup::Delete(vec![window("2026-01-01"), window("2026-01-02")])
    );
    assert!(matches!(
        decided("2026-01-04T00:00:00Z"),
        Cleanup::Keep(KeepReason::TooYoung)
    ));
}

#[test]
fn rows_outside_of_what_their_partition_says_halt_it_and_only_it() {
    let wrong = with(
        facts(Some(CalendarUnit::Hour), Some(CalendarUnit::Day)),
        "2026-01-01 05:00:00",
        &["2026-01-01T06"],
    );
    let both = with(wrong, "2026-01-01 07:00:00", &["2026-01-01T07"]);
    let plan = plan(
        &both,
        TimeRange::default(),
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
        facts(Some(CalendarUnit::Hour), Some(CalendarUnit::Day)),
        "2026-01-01 05:00:00",
        &["2026-01-01T05"],
    );
    facts.archived = vec!["2026-01-01".parse().unwrap()];
    let e = plan(
        &facts,
        TimeRange::default(),
        due("2026-02-01T00:00:00Z", CleanupPolicy::Off),
    )
    .unwrap_err();
    assert!(e.to_string().contains("archived twice"), "{e}");
    facts.archived = vec!["2026-01-01T05".parse().unwrap()];
    let plan = plan(
        &facts,
        TimeRange::default(),
        due("2026-02-01T00:00:00Z", CleanupPolicy::Off),
    )
    .unwrap();
    assert!(plan.windows().all(|w| w.archived));
}

#[test]
fn what_is_left_to_a_later_run_is_counted_and_its_partition_stays() {
    let facts = with(
        facts(Some(CalendarUnit::Day), Some(CalendarUnit::Hour)),
        "2026-01-01",
        &["2026-01-01T05", "2026-01-01T07"],
    );
    let facts = with(facts, "2026-01-02", &["2026-01-02T05"]);
    let due = due("2026-02-01T00:00:00Z", CleanupPolicy::Now);
    let mut plan = plan(&facts, TimeRange::default(), due).unwrap();
    let later = ["2026-01-01T07", "2026-01-02T05"].map(|w| w.parse().unwrap());
    plan.postpone(&later.into_iter().collect());
    assert_eq!(ids(&plan), ["2026-01-01T05"]);
    assert_eq!((plan.postponed, plan.partitions.len()), (2, 1));
    assert!(matches!(
        &plan.partitions[0].cleanup,
        Cleanup::Keep(KeepReason::WindowsPostponed)
    ));
}
