//! Cleanup where a window is not whole partitions deletes proven rows, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::engine::until;
use crate::support::transfer::World;

/// A world whose hot table of trades is partitioned so.
fn world(partition: &str) -> World {
    let world = World::new();
    world.sql(&format!(
        "CREATE TABLE hot.other AS hot.trades ENGINE = MergeTree {partition} PRIMARY KEY symbol ORDER BY (symbol, timestamp, stream_seq)"
    ));
    world.sql("DROP TABLE hot.trades");
    world.sql("RENAME TABLE hot.other TO hot.trades");
    world
}

const CLEAN: [&str; 4] = ["sync", "--dataset", "trades", "--cleanup"];

#[test]
fn rows_that_arrive_while_others_are_deleted_are_not_lost() {
    let world = world("");
    for day in 1..4 {
        world.insert_trades(
            "trades",
            &format!("2026-01-0{day} 05"),
            day * 1_000_000,
            2_000,
        );
    }
    let done = AtomicBool::new(false);
    let late = std::thread::scope(|scope| {
        let inserting = scope.spawn(|| {
            let mut rows = 0;
            while !done.load(Ordering::Relaxed) && rows < 4_000 {
                let day = 1 + rows / 20 % 3;
                world.insert_trades(
                    "trades",
                    &format!("2026-01-0{day} 05"),
                    10_000_000 + rows,
                    20,
                );
                rows += 20;
            }
            rows
        });
        for _ in 0..3 {
            world.run(&CLEAN);
        }
        done.store(true, Ordering::Relaxed);
        inserting.join().unwrap()
    });
    world.succeed(&CLEAN);
    assert!(late > 0);
    let all = 6_000 + late;
    assert_eq!(world.number("SELECT count() FROM cold.trades"), all);
    assert_eq!(
        world.number("SELECT uniqExact(stream_seq) FROM cold.trades"),
        all
    );
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    world.succeed(&["verify", "--deep", "--against", "cold"]);
    // Rows that ingest brings again are recognised and go again, however late.
    world.insert_trades("trades", "2026-01-02 05", 2_000_000, 50);
    world.insert_trades("trades", "2026-01-02 05", 20_000_000, 5);
    world.succeed(&CLEAN);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), all + 5);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}

#[test]
fn of_a_day_only_the_hours_that_were_named_are_deleted_and_a_plan_says_so() {
    let world = world("PARTITION BY toDate(timestamp)");
    world.sql("CREATE TABLE cold.other AS cold.trades ENGINE = MergeTree PARTITION BY toStartOfHour(timestamp) PRIMARY KEY symbol ORDER BY (symbol, timestamp, stream_seq)");
    world.sql("DROP TABLE cold.trades");
    world.sql("RENAME TABLE cold.other TO cold.trades");
    for hour in 5..8 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 300);
    }
    let some = [
        &CLEAN[..],
        &["--from", "2026-01-01T06", "--to", "2026-01-01T07"],
    ]
    .concat();
    let plan = world.succeed(&[&some[..], &["--dry-run"]].concat());
    assert!(
        plan.contains("the rows of 1 windows are deleted from 2026-01-01"),
        "{plan}"
    );
    let report = world.report(&some);
    assert_eq!(report["partitions"][0]["cleaned_rows"], 300, "{report}");
    let left = world.sql("SELECT groupUniqArray(toHour(timestamp)) FROM hot.trades");
    assert!(left == "[5,7]" || left == "[7,5]", "{left}");
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 600);
    // The rest goes as a whole partition.
    world.succeed(&CLEAN);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 900);
    world.succeed(&["verify", "--against", "cold"]);
}

#[test]
fn what_cold_or_the_archive_does_not_hold_is_not_deleted() {
    let world = world("");
    world.insert_trades("trades", "2026-01-01 05", 1, 500);
    world.insert_trades("trades", "2026-01-02 05", 10_001, 500);
    world.succeed(&["sync", "--dataset", "trades"]);
    world.sql("ALTER TABLE cold.trades DELETE WHERE stream_seq = 7 SETTINGS mutations_sync = 2");
    world.sql("ALTER TABLE hot.trades UPDATE price = 1 WHERE stream_seq = 10007 SETTINGS mutations_sync = 2");
    world.fail(3, &CLEAN);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 1_000);
    assert_eq!(world.leftovers("hot"), "");
}

#[test]
fn a_deletion_that_is_killed_at_any_moment_is_finished_by_the_next_run() {
    let world = world("");
    let mut expected = 0;
    for round in 0..6_u64 {
        world.insert_trades("trades", "2026-01-01 05", 1 + round * 100_000, 30_000);
        expected += 30_000;
        let mut running = world.command(&CLEAN).spawn().unwrap();
        until("a comparison table or the end", || {
            world.leftovers("hot").contains("_check_") || running.try_wait().unwrap().is_some()
        });
        std::thread::sleep(Duration::from_millis(35 * round));
        running.kill().unwrap();
        running.wait().unwrap();
        world.succeed(&CLEAN);
        assert_eq!(
            world.number("SELECT count() FROM hot.trades"),
            0,
            "round {round}"
        );
        assert_eq!(world.number("SELECT count() FROM cold.trades"), expected);
    }
    assert_eq!(
        world.number("SELECT uniqExact(stream_seq) FROM cold.trades"),
        expected
    );
    let running = format!(
        "SELECT count() FROM system.mutations WHERE database = '{}' AND NOT is_done",
        world.database("hot")
    );
    assert_eq!(world.number(&running), 0);
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}
