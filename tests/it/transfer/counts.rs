//! Nothing is deleted that was not counted: what the server hides, what the archive has lost, what a type cannot carry.

use crate::support::transfer::{World, output_text};

const HOUR: &str = "2026-01-01 05";

fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_or_missing_chunk_blocks_the_cleanup_of_its_window_alone() {
    let world = World::new();
    for hour in 5..8 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 0{hour}"),
            hour * 10_000,
            1_000,
        );
    }
    // Every window is verified: hot, archive and cold hold the same.
    world.succeed(&["sync", "--dataset", "trades"]);
    let chunks = world.files(".parquet");
    assert_eq!(chunks.len(), 3);
    flip(&chunks[0]);
    std::fs::remove_file(&chunks[1]).unwrap();
    let said = world.fail(3, &["sync", "--dataset", "trades", "--cleanup"]);
    assert!(said.contains("hot keeps its rows"), "{said}");
    let hours =
        world.sql("SELECT toHour(timestamp) AS h, count() FROM hot.trades GROUP BY h ORDER BY h");
    assert_eq!(
        hours, "5\t1000\n6\t1000",
        "the third window was whole, and was cleaned"
    );
    assert_eq!(world.leftovers("hot"), "");
    // The archive is repaired from cold; then the same rows are cleaned.
    world.succeed(&["verify", "--dataset", "trades", "--repair"]);
    world.succeed(&[
        "sync",
        "--dataset",
        "trades",
        "--from",
        "2026-01-01",
        "--cleanup",
    ]);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 3_000);
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

#[test]
fn rows_that_a_profile_hides_from_queries_are_never_cleaned() {
    let rows = 40_000;
    for (what, settings) in [
        (
            "a row policy",
            &[(
                "additional_table_filters",
                "{'hot.trades': 'stream_seq % 8 = 0'}",
            )][..],
        ),
        ("a limit on rows", &[("limit", "500")]),
        (
            "a limit on rows that are read",
            &[
                ("max_rows_to_read_leaf", "5000"),
                ("read_overflow_mode_leaf", "break"),
            ],
        ),
        (
            "a limit on bytes that are read",
            &[
                ("max_bytes_to_read_leaf", "500000"),
                ("read_overflow_mode_leaf", "break"),
            ],
        ),
    ] {
        let world = World::new();
        // Several parts, so that a limit can fall between them.
        for part in 0..4 {
            world.insert_trades("trades", HOUR, 1 + part * rows / 4, rows / 4);
        }
        world.set_hot_profile(settings);
        let output = world.run(&["sync", "--dataset", "trades", "--cleanup"]);
        let text = output_text(&output);
        let (hot, cold) = (
            world.number("SELECT count() FROM hot.trades"),
            world.number("SELECT count() FROM cold.trades"),
        );
        match output.status.code() {
            Some(0) => assert_eq!((hot, cold), (0, rows), "{what}: {text}"),
            Some(code) => {
                assert_eq!(hot, rows, "{what}: {text}");
                assert!([1, 3].contains(&code), "{what}: {text}");
                assert!(world.files("manifest.json").is_empty(), "{what}: {text}");
            }
            None => panic!("{what}: {text}"),
        }
        assert_eq!(world.leftovers("hot"), "", "{what}");
    }
}

#[test]
fn masked_rows_are_refused_with_the_numbers() {
    let world = World::new();
    world.insert_trades("trades", HOUR, 1, 1_000);
    world.sql("DELETE FROM hot.trades WHERE stream_seq <= 100");
    let said = world.fail(3, &["sync", "--dataset", "trades", "--cleanup"]);
    assert!(said.contains("1000") && said.contains("900"), "{said}");
    assert!(said.contains("APPLY DELETED MASK"), "{said}");
    world.sql("ALTER TABLE hot.trades APPLY DELETED MASK SETTINGS mutations_sync = 2");
    world.succeed(&[
        "sync",
        "--dataset",
        "trades",
        "--from",
        "2026-01-01",
        "--cleanup",
    ]);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 900);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}

#[test]
fn a_materialized_column_is_refused_by_name() {
    let world = World::new();
    world.sql("ALTER TABLE hot.trades ADD COLUMN luck UInt32 MATERIALIZED rand()");
    world.sql(
        "INSERT INTO hot.trades (timestamp, exchange, symbol, stream_epoch, stream_seq) \
         VALUES ('2026-01-01 05:00:00', 'binance', 'S1', 77, 1)",
    );
    let output = world.run(&["sync", "--dataset", "trades", "--cleanup"]);
    let text = output_text(&output);
    assert!(
        !output.status.success() && text.contains("`luck` is MATERIALIZED"),
        "{text}"
    );
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 1);
    assert!(world.files("manifest.json").is_empty());
}
