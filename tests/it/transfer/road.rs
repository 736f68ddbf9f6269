//! The road itself: windows, generations, partitionings, filters.

use crate::support::transfer::World;

#[test]
fn three_hours_of_trades_and_books_arrive_in_cold_and_hot_is_cleaned() {
    let world = World::new();
    for hour in 5..8 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 0{hour}"),
            hour * 10_000,
            5_000,
        );
    }
    world.sql(
        "INSERT INTO hot.orderbooks SELECT toDateTime64('2026-01-01 05:00:00', 3, 'UTC') + number * 3, 'okx', 'perpetual', \
         'BTC-USDT', 'ws', if(number % 7 = 0, NULL, number), \
         arrayMap(i -> (toDecimal128(number + i, 18), toDecimal128(i, 18)), range(number % 20)), \
         arrayMap(i -> (toDecimal128('0.000000000000000001', 18), toDecimal128(0, 18)), range(3)), number % 20, 3, \
         NULL, NULL, NULL, NULL, NULL, fromUnixTimestamp64Nano(toInt64(1700000000000000000 + number), 'UTC'), 78, number \
         FROM numbers(3000)",
    );
    let (trades, books) = (world.state("hot.trades"), world.state("hot.orderbooks"));
    let report = world.report(&["sync", "--dataset", "trades,orderbooks", "--cleanup"]);
    assert_eq!(report["windows"].as_array().unwrap().len(), 3);
    assert!(
        report["windows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|w| w["stage"] == "cleaned"),
        "{report}"
    );
    assert_eq!(world.state("cold.trades"), trades);
    assert_eq!(world.state("cold.orderbooks"), books);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.number("SELECT count() FROM hot.orderbooks"), 0);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    assert_eq!(world.files(".parquet").len(), 6);
    for against in [&["verify", "--deep"][..], &["verify", "--against", "cold"]] {
        assert!(world.succeed(against).contains("6 windows"));
    }
    for folder in world.files("SHA256SUMS") {
        let checked = std::process::Command::new("sha256sum")
            .args(["--check", "--quiet", "SHA256SUMS"])
            .current_dir(folder.parent().unwrap())
            .status()
            .unwrap();
        assert!(checked.success(), "{}", folder.display());
    }
    // Nothing is left to do, and doing it again changes nothing.
    world.succeed(&["sync", "--cleanup"]);
    assert_eq!(world.state("cold.trades"), trades);
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 100);
    let plan = world.succeed(&["sync", "--dataset", "trades", "--cleanup", "--dry-run"]);
    assert!(plan.contains("2026-01-01T05  100 rows in hot"), "{plan}");
    assert!(plan.contains("cleaned out of hot"), "{plan}");
    let none = world.succeed(&[
        "sync",
        "--dataset",
        "trades",
        "--to",
        "2026-01-01",
        "--dry-run",
    ]);
    assert!(none.contains("0 windows"), "{none}");
    assert!(!world.archive().exists());
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 100);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 0);
}

#[test]
fn late_rows_become_a_supplement_that_holds_nothing_else() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    world.succeed(&["export", "--dataset", "trades"]);
    world.insert_trades("trades", "2026-01-01 05", 5001, 7);
    let report = world.report(&["sync", "--dataset", "trades"]);
    let window = &report["windows"][0];
    assert_eq!(window["generations"], 2, "{window}");
    assert_eq!(window["new_generations"], 1);
    assert_eq!(window["rows"], 1007);
    assert_eq!(world.state("cold.trades"), world.state("hot.trades"));
    world.insert_trades("trades", "2026-01-01 05", 6001, 5);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    // Very late: after the cleanup.
    world.insert_trades("trades", "2026-01-01 05", 7001, 3);
    let report = world.report(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(report["windows"][0]["generations"], 4);
    assert_eq!(
        world.number("SELECT uniqExact(stream_seq) FROM cold.trades"),
        1015
    );
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1015);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

#[test]
fn rows_that_ingest_brings_again_are_recognised_and_not_doubled() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    let archived = world.state("cold.trades");
    // A part of the archived rows, with a late one among them.
    world.insert_trades("trades", "2026-01-01 05", 1, 300);
    world.insert_trades("trades", "2026-01-01 05", 2001, 1);
    let report = world.report(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(report["windows"][0]["rows"], 1001, "{report}");
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1001);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_ne!(world.state("cold.trades"), archived);
    // All of them, and nothing else.
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    let report = world.report(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(report["windows"][0]["generations"], 2);
    assert_eq!(report["windows"][0]["stage"], "cleaned");
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1001);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}

#[test]
fn cold_is_rebuilt_from_nothing_but_the_archive() {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    let state = world.state("cold.trades");
    world.sql(&format!("DROP DATABASE {}", world.database("cold")));
    world.sql(&format!("DROP DATABASE {}", world.database("hot")));
    world.succeed(&["import", "--from", "2026-01-01T06"]);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 500);
    world.succeed(&["import"]);
    assert_eq!(world.state("cold.trades"), state);
    world.succeed(&["import"]);
    assert_eq!(world.state("cold.trades"), state);
}

#[test]
fn hot_and_cold_may_be_partitioned_by_hour_day_month_or_not_at_all() {
    for (hot, cold, windows) in [
        ("toDate(timestamp)", "toYYYYMM(timestamp)", 2),
        ("toYYYYMM(timestamp)", "toStartOfHour(timestamp)", 3),
        ("toYYYYMM(timestamp)", "tuple()", 1),
        ("tuple()", "toDate(timestamp)", 2),
        ("tuple()", "tuple()", 3),
    ] {
        let world = World::new();
        for (table, partition) in [("hot.trades", hot), ("cold.trades", cold)] {
            world.sql(&format!("DROP TABLE {table}"));
            world.sql(&format!("CREATE TABLE {table} (`timestamp` DateTime64(3, 'UTC'), `exchange` LowCardinality(String), `market_type` LowCardinality(String), \
             `symbol` LowCardinality(String), `data_source` LowCardinality(String), `trade_id` String, `price` Decimal(38, 18), \
             `quantity` Decimal(38, 18), `side` LowCardinality(String), `is_maker` Nullable(Bool), \
             `trade_time` Nullable(DateTime64(3, 'UTC')), `collected_at` Nullable(DateTime64(3, 'UTC')), \
             `created_at` DateTime64(9, 'UTC'), `stream_epoch` UInt64, `stream_seq` UInt64) \
             ENGINE = MergeTree PARTITION BY {partition} ORDER BY (symbol, timestamp, stream_seq)"));
        }
        for (n, hour) in ["2026-01-01 05", "2026-01-01 07", "2026-01-02 23"]
            .iter()
            .enumerate()
        {
            world.insert_trades("trades", hour, n as u64 * 10_000, 200);
        }
        let state = world.state("hot.trades");
        let report = world.report(&["sync", "--dataset", "trades", "--cleanup"]);
        let case = format!("{hot} / {cold}: {report}");
        assert_eq!(
            report["windows"].as_array().unwrap().len(),
            windows,
            "{case}"
        );
        assert_eq!(world.state("cold.trades"), state, "{case}");
        let left = world.number("SELECT count() FROM hot.trades");
        assert_eq!(left, 0, "{case}");
        world.succeed(&["verify", "--against", "cold"]);
    }
}

#[test]
fn a_transfer_of_one_exchange_records_its_filter_and_the_rest_follows_without_doubling() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    world.succeed(&["sync", "--dataset", "trades", "--exchange", "okx"]);
    assert_eq!(
        world.number("SELECT count() FROM cold.trades WHERE exchange = 'okx'"),
        500
    );
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 500);
    let manifest = std::fs::read_to_string(&world.files("manifest.json")[0]).unwrap();
    assert!(manifest.contains(r#""exchanges": ["#), "{manifest}");
    let refused = world.fail(2, &["sync", "--exchange", "okx", "--cleanup"]);
    assert!(refused.contains("does not justify cleanup"), "{refused}");
    let state = world.state("hot.trades");
    world.succeed(&["sync", "--dataset", "trades", "--exchange", "okx"]);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(world.state("cold.trades"), state);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}

#[test]
fn a_table_that_cannot_be_proven_is_refused_by_name_before_anything_moves() {
    let world = World::new();
    world.sql("DROP TABLE hot.trades");
    world.sql("CREATE TABLE hot.trades (timestamp DateTime64(3, 'UTC'), stream_seq UInt64) ENGINE = ReplacingMergeTree ORDER BY stream_seq");
    let said = world.fail(1, &["sync", "--dataset", "trades"]);
    assert!(said.contains("ReplacingMergeTree"), "{said}");
    assert!(world.files(".parquet").is_empty());
}

#[test]
fn two_workers_on_one_archive_share_the_windows_and_double_nothing() {
    let world = World::new();
    for hour in 10..20 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 {hour}"),
            hour * 100_000,
            3_000,
        );
    }
    let state = world.state("hot.trades");
    let arguments = ["sync", "--dataset", "trades", "--cleanup"];
    let workers: Vec<_> = (0..2)
        .map(|_| world.command(&arguments).spawn().unwrap())
        .collect();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            crate::support::transfer::output_text(&output)
        );
    }
    assert_eq!(world.state("cold.trades"), state);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    assert_eq!(world.files("manifest.json").len(), 10);
}
