//! Cleanup takes nothing that is not proven, however late it comes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::engine::until;
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
                world.insert_trades(
                    "trades",
                    hours[(rows / 20 % 2) as usize],
                    10_000_000 + rows,
                    20,
                );
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
    assert_eq!(
        world.number("SELECT count() FROM cold.trades"),
        4_000 + late
    );
    assert_eq!(
        world.number("SELECT uniqExact(stream_seq) FROM cold.trades"),
        4_000 + late
    );
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

/// Returns the state after a crash between set-aside and drop, with late rows in both tables.
fn sealed_by_a_crash() -> World {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    world.succeed(&["sync", "--dataset", "trades"]);
    world.insert_trades("trades", "2026-01-01 05", 2001, 10);
    world.sql("CREATE TABLE hot.trades_sealed_20260101T05_a7 AS hot.trades");
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
    assert_eq!(
        world.number("SELECT uniqExact(stream_seq) FROM cold.trades"),
        1015
    );
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
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 1000);
    // Cold goes away in the middle of a run.
    world.succeed(&["schema", "apply", "--tier", "cold"]);
    for hour in 6..24 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 {hour:02}"),
            hour * 10_000,
            1000,
        );
    }
    let arguments = ["sync", "--dataset", "trades", "--cleanup", "--jobs", "1"];
    let mut running = world.command(&arguments).spawn().unwrap();
    until("the second manifest", || {
        world.files("manifest.json").len() > 1
    });
    world.sql("DROP TABLE cold.trades");
    let left = world.number("SELECT count() FROM hot.trades");
    assert_eq!(running.wait().unwrap().code(), Some(1));
    // But for one that was proven a moment before.
    assert!(
        world.number("SELECT count() FROM hot.trades") + 1000 >= left && left > 1000,
        "nothing unproven was cleaned"
    );
    assert_eq!(world.leftovers("hot"), "");
    // Nothing was lost: the archive has what hot has not.
    world.succeed(&["import", "--dataset", "trades"]);
    world.succeed(&arguments);
    assert_eq!(
        world.number("SELECT uniqExact(stream_seq) FROM cold.trades"),
        19_000
    );
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 19_000);
}

#[test]
fn an_attempt_that_may_be_asleep_is_shut_out_before_cold_is_asked() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    // Attempt 1 gave no sign of its end; its staging table is full and about to be moved.
    let lease = world
        .archive()
        .join("_mpsync/leases/trades/2026-01-01T05/0000000001.json");
    std::fs::create_dir_all(lease.parent().unwrap()).unwrap();
    std::fs::write(
        lease,
        r#"{"attempt":1,"holder":"a sleeper","nonce":"00","acquired_at":"2026-01-01T06:00:00Z","beat":3,"released":true}"#,
    )
    .unwrap();
    world.sql("CREATE TABLE cold.trades_stage_20260101T05_a1 AS cold.trades");
    world.sql("INSERT INTO cold.trades_stage_20260101T05_a1 SELECT * FROM hot.trades");
    world.succeed(&["sync", "--dataset", "trades"]);
    for waking in [
        "ALTER TABLE cold.trades_stage_20260101T05_a1 MOVE PARTITION ID '20260101' TO TABLE cold.trades",
        "CREATE TABLE cold.trades_stage_20260101T05_a1 AS cold.trades",
        "INSERT INTO cold.trades_stage_20260101T05_a1 SELECT * FROM hot.trades",
    ] {
        assert!(world.refused(waking), "{waking}");
    }
    assert_eq!(world.state("cold.trades"), world.state("hot.trades"));
}

#[test]
fn a_row_that_cold_lost_or_changed_halts_with_numbers_and_cleans_nothing() {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    world.succeed(&["sync", "--dataset", "trades"]);
    world
        .sql("ALTER TABLE cold.trades DELETE WHERE stream_seq = 50003 SETTINGS mutations_sync = 2");
    let said = world.fail(3, &["sync", "--dataset", "trades", "--cleanup"]);
    assert!(
        said.contains("1 rows are archived and not there, such as 77/50003"),
        "{said}"
    );
    // The hour that is whole went its way.
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 500);
    world.sql("ALTER TABLE cold.trades UPDATE price = 1 WHERE stream_seq = 60004 SETTINGS mutations_sync = 2");
    let said = world.fail(
        3,
        &["verify", "--against", "cold", "--from", "2026-01-01T06"],
    );
    assert!(said.contains("1 things are wrong"), "{said}");
    let told = world.run(&["verify", "--against", "cold", "--from", "2026-01-01T06"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("some row has other values; other values in price"),
        "{told}"
    );
}

#[test]
fn a_position_twice_or_with_other_values_than_archived_halts() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 100);
    world.insert_trades("trades", "2026-01-01 05", 42, 1);
    let said = world.fail(3, &["sync", "--dataset", "trades"]);
    assert!(said.contains("two rows have the position 77/42"), "{said}");
    assert!(
        world.files(".parquet").is_empty(),
        "a halted export leaves nothing"
    );

    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 100);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    world.insert_trades("trades", "2026-01-01 05", 1, 10);
    world.sql(
        "ALTER TABLE hot.trades UPDATE price = 1 WHERE stream_seq = 7 SETTINGS mutations_sync = 2",
    );
    let said = world.fail(3, &["sync", "--dataset", "trades", "--cleanup"]);
    assert!(said.contains("1 rows") && said.contains("77/7"), "{said}");
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 10);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 100);
    assert_eq!(world.leftovers("hot"), "");
}
