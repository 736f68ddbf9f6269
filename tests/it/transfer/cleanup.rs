//! Cleanup takes nothing that is not proven, however late it comes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::transfer::World;

#[test]
fn rows_that_arrive_while_hot_is_cleaned_are_not_lost() {
    let world = World::new();
    let hours = ["2026-01-01 05", "2026-01-01 06"];
    for (n, hour) in hours.iter().enumerate() {
        world.insert_trades("trades", hour, 1 + n as u64 * 1_000_000, 2_000);
    }
    let inserted = AtomicBool::new(false);
    let mut late = 0;
    std::thread::scope(|scope| {
        let inserting = scope.spawn(|| {
            let mut rows = 0;
            while !inserted.load(Ordering::Relaxed) && rows < 4_000 {
                world.insert_trades("trades", hours[(rows / 20 % 2) as usize], 10_000_000 + rows, 20);
                rows += 20;
            }
            rows
        });
        for _ in 0..3 {
            world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
        }
        inserted.store(true, Ordering::Relaxed);
        late = inserting.join().unwrap();
    });
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    assert!(late > 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 4_000 + late);
    assert_eq!(world.number("SELECT uniqExact(stream_seq) FROM cold.trades"), 4_000 + late);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

/// What a crash between seal and drop leaves, with late rows in both tables.
fn sealed_by_a_crash() -> World {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    world.succeed(&["sync", "--dataset", "trades"]);
    world.insert_trades("trades", "2026-01-01 05", 2001, 10);
    world.sql("CREATE TABLE hot.trades_sealed_20260101T05_a7 AS hot.trades");
    let partition = world.sql("SELECT DISTINCT partition_id FROM system.parts WHERE active AND table = 'trades' AND database = currentDatabase()");
    assert_eq!(partition, "", "the tests' own database has no such table");
    let partition = world.sql("SELECT any(_partition_id) FROM hot.trades");
    world.sql(&format!(
        "ALTER TABLE hot.trades MOVE PARTITION ID '{partition}' TO TABLE hot.trades_sealed_20260101T05_a7"
    ));
    world.insert_trades("trades", "2026-01-01 05", 3001, 5);
    world
}

#[test]
fn a_sealed_partition_that_a_crash_left_is_finished_by_the_next_cleanup() {
    let world = sealed_by_a_crash();
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(world.number("SELECT uniqExact(stream_seq) FROM cold.trades"), 1015);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1015);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.leftovers("hot"), "");
}

#[test]
fn a_sealed_partition_that_a_crash_left_is_given_back_where_hot_is_not_to_be_cleaned() {
    let world = sealed_by_a_crash();
    world.succeed(&["sync", "--dataset", "trades"]);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 1015);
    assert_eq!(world.leftovers("hot"), "");
    assert_eq!(world.state("cold.trades"), world.state("hot.trades"));
}

#[test]
fn a_failed_query_never_passes_for_a_proof() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    world.succeed(&["export", "--dataset", "trades"]);
    world.sql("DROP TABLE cold.trades");
    let said = world.fail(1, &["sync", "--dataset", "trades", "--cleanup"]);
    assert!(said.contains("schema apply --tier cold"), "{said}");
    // A cold that can be described but not read.
    world.sql("CREATE TABLE cold.trades AS hot.trades ENGINE = MergeTree PARTITION BY toDate(timestamp) ORDER BY stream_seq SETTINGS max_partitions_to_read = 0");
    world.insert_trades("trades", "2026-01-01 05", 5000, 1);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 1001);
    assert_eq!(world.leftovers("hot"), "");
}

#[test]
fn a_row_that_cold_lost_or_changed_halts_with_numbers_and_cleans_nothing() {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    world.succeed(&["sync", "--dataset", "trades"]);
    world.sql("ALTER TABLE cold.trades DELETE WHERE stream_seq = 50003 SETTINGS mutations_sync = 2");
    let said = world.fail(3, &["sync", "--dataset", "trades", "--cleanup"]);
    assert!(said.contains("1 rows are archived and not there, such as 77/50003"), "{said}");
    // The hour that is whole went its way.
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 500);
    world.sql("ALTER TABLE cold.trades UPDATE price = 1 WHERE stream_seq = 60004 SETTINGS mutations_sync = 2");
    let said = world.fail(3, &["verify", "--against", "cold", "--from", "2026-01-01T06"]);
    assert!(said.contains("1 things are wrong"), "{said}");
}

#[test]
fn a_position_twice_or_with_other_values_than_archived_halts() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 100);
    world.insert_trades("trades", "2026-01-01 05", 42, 1);
    let said = world.fail(3, &["sync", "--dataset", "trades"]);
    assert!(said.contains("two rows bear the position 77/42"), "{said}");
    assert!(world.files(".parquet").is_empty(), "a halted export leaves nothing");

    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 100);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    world.insert_trades("trades", "2026-01-01 05", 1, 10);
    world.sql("ALTER TABLE hot.trades UPDATE price = 1 WHERE stream_seq = 7 SETTINGS mutations_sync = 2");
    let said = world.fail(3, &["sync", "--dataset", "trades", "--cleanup"]);
    assert!(said.contains("1 rows") && said.contains("77/7"), "{said}");
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 10);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 100);
    assert_eq!(world.leftovers("hot"), "");
}
