//! `mpsync tasks`: list, show, retry, cancel and submit transfers.

use serde_json::Value;

use crate::support::transfer::World;

fn listed(world: &World, more: &[&str]) -> Value {
    let mut arguments = vec!["tasks", "list", "--output", "json"];
    arguments.extend(more);
    serde_json::from_str(&world.succeed(&arguments)).unwrap()
}

fn ids(page: &Value) -> Vec<&str> {
    let tasks = page["tasks"].as_array().unwrap();
    tasks.iter().map(|t| t["id"].as_str().unwrap()).collect()
}

fn task(hour: u32) -> String {
    format!(
        "trades@20260101T{hour:02}0000Z-20260101T{:02}0000Z",
        hour + 1
    )
}

#[test]
fn tasks_are_listed_in_pages_and_shown_with_their_history() {
    let world = World::new();
    for hour in 5..9 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 50);
    }
    world.succeed(&["export", "--dataset", "trades", "--to", "2026-01-01T06"]);
    world.succeed(&["sync", "--dataset", "trades", "--from", "2026-01-01T06"]);
    let first = listed(&world, &["--limit", "3"]);
    assert_eq!(ids(&first), [task(8), task(7), task(6)]);
    assert_eq!(first["next"], task(6));
    let rest = listed(&world, &["--limit", "3", "--after", &task(6)]);
    assert_eq!(ids(&rest), [task(5)]);
    assert_eq!(
        (&rest["next"], &rest["tasks"][0]["stage"]),
        (&Value::Null, &"archived".into())
    );
    let verified = listed(
        &world,
        &["--stage", "verified", "--status", "done", "--limit", "2"],
    );
    assert_eq!(ids(&verified), [task(8), task(7)]);
    assert_eq!(ids(&listed(&world, &["--to", "2026-01-01T06"])), [task(5)]);
    assert!(ids(&listed(&world, &["--dataset", "orderbooks"])).is_empty());
    let shown: Value =
        serde_json::from_str(&world.succeed(&["tasks", "show", &task(7), "--output", "json"]))
            .unwrap();
    let events: Vec<_> = shown["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["event"])
        .collect();
    assert_eq!(events.first().unwrap(), &"fenced");
    assert_eq!(events.last().unwrap(), &"ended");
    assert_eq!(
        (&shown["status"], &shown["attempt"]),
        (&"done".into(), &1.into())
    );
    assert!(world.succeed(&["tasks", "list"]).contains(&task(8)));
    let said = world.fail(2, &["tasks", "show", &task(20)]);
    assert!(said.contains("unknown task"), "{said}");
    let said = world.fail(1, &["tasks", "retry", &task(7)]);
    assert!(said.contains("is done, as far as verified"), "{said}");
}

#[test]
fn a_halted_window_is_skipped_by_routine_syncs_until_it_is_retried() {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    let routine = ["sync", "--dataset", "trades", "--cleanup"];
    world.succeed(&["sync", "--dataset", "trades"]);
    world
        .sql("ALTER TABLE cold.trades DELETE WHERE stream_seq = 50003 SETTINGS mutations_sync = 2");
    world.insert_trades("trades", "2026-01-01 05", 90_000, 1);
    world.fail(3, &routine);
    let halted = listed(&world, &["--status", "halted"]);
    assert_eq!(ids(&halted), [task(5)]);
    let found = &halted["tasks"][0];
    assert!(
        found["error"].as_str().unwrap().contains("77/50003"),
        "{found}"
    );
    assert!(
        found["hint"].as_str().unwrap().contains("tasks retry"),
        "{found}"
    );
    // The cause is gone, but the task has not been retried.
    world.sql("INSERT INTO cold.trades SELECT * FROM hot.trades WHERE stream_seq = 50003");
    let attempts = found["attempt"].as_u64().unwrap();
    let said = world.fail(3, &routine);
    assert!(
        said.contains("halted before") && said.contains("tasks retry"),
        "{said}"
    );
    assert_eq!(
        listed(&world, &["--status", "halted"])["tasks"][0]["attempt"],
        attempts
    );
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 501);
    world.succeed(&["tasks", "retry", &task(5)]);
    assert!(
        world
            .succeed(&["tasks", "list"])
            .contains("waits for the next sync")
    );
    // A look-back that does not reach it: the retry does.
    world.succeed(&[
        "sync",
        "--dataset",
        "trades",
        "--cleanup",
        "--lookback",
        "1",
    ]);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1001);
    assert!(ids(&listed(&world, &["--status", "halted"])).is_empty());
    assert_eq!(listed(&world, &[])["requests"], Value::Array(Vec::new()));
}

#[test]
fn a_cancelled_window_is_passed_over_until_it_is_retried() {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 50);
    }
    world.fail(2, &["tasks", "cancel", &task(5)]);
    world.succeed(&["export", "--dataset", "trades"]);
    let said = world.fail(1, &["tasks", "cancel", &task(5)]);
    assert!(said.contains("is done, as far as archived"), "{said}");
    // An attempt that broke off.
    let journal = world.archive().join("_mpsync/tasks/trades/2026-01-01T05");
    std::fs::remove_dir_all(journal).unwrap();
    world.succeed(&["tasks", "cancel", &task(5)]);
    for arguments in [
        &["sync", "--dataset", "trades", "--cleanup"][..],
        &[
            "sync",
            "--dataset",
            "trades",
            "--cleanup",
            "--from",
            "2026-01-01",
        ],
    ] {
        world.succeed(arguments);
        assert_eq!(world.number("SELECT count() FROM cold.trades"), 50);
        assert_eq!(world.number("SELECT count() FROM hot.trades"), 50);
    }
    assert_eq!(ids(&listed(&world, &["--status", "cancelled"])), [task(5)]);
    world.succeed(&["tasks", "retry", &task(5)]);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 100);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}

#[test]
fn a_transfer_that_was_submitted_is_done_by_the_next_sync_and_only_once() {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 100);
    }
    let one = [
        "tasks",
        "submit",
        "--dataset",
        "trade",
        "--exchange",
        "okx",
        "--from",
        "2026-01-01T05",
        "--to",
        "2026-01-01T06",
    ];
    assert!(
        world
            .succeed(&one)
            .contains("trades from 2026-01-01T05:00:00Z")
    );
    world.succeed(&["sync", "--dataset", "trades", "--lookback", "1"]);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 50);
    assert_eq!(
        world.number("SELECT uniqExact(exchange) FROM cold.trades"),
        1
    );
    assert_eq!(listed(&world, &[])["requests"], Value::Array(Vec::new()));
    // The names that the flags had before, which the HTTP document still has.
    let said = world.fail(
        2,
        &[
            "tasks",
            "submit",
            "--data-type",
            "nothing",
            "--start",
            "2026-01-01",
            "--end",
            "2026-01-02",
        ],
    );
    assert!(said.contains("is not a dataset"), "{said}");
}
