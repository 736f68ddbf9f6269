//! Tables that another program fills: no subjects, no positions, rows identified by the multiset of their hashes.

use tempfile::TempDir;

use crate::support::transfer::World;

/// A world whose hot and cold have the foreign table `ticks`, partitioned so.
fn world(hot: &str, cold: &str) -> (World, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let yaml = folder.path().join("ticks.yaml");
    std::fs::write(
        &yaml,
        format!(
            "name: ticks\ntable: ticks\ntime_column: at\npartition: {{hot: {hot}, cold: {cold}}}\n"
        ),
    )
    .unwrap();
    std::fs::write(
        yaml.with_extension("sql"),
        "CREATE TABLE IF NOT EXISTS {table} {on_cluster} (`at` DateTime64(6, 'UTC'), `market` LowCardinality(String), \
         `price` Nullable(Float64), `tags` Array(String)) ENGINE = {engine} PARTITION BY {partition} ORDER BY (market, at)",
    )
    .unwrap();
    let world = World::bare(&format!("datasets: {{files: [{}]}}", yaml.display()));
    for tier in ["hot", "cold"] {
        world.succeed(&["schema", "apply", "--tier", tier]);
    }
    (world, folder)
}

/// Rows of the numbers; the same number is the same row.
fn insert(world: &World, numbers: std::ops::Range<u64>) {
    world.sql(&format!(
        "INSERT INTO hot.ticks (at, market, price, tags) SELECT toDateTime64('2026-01-01 05:00:00', 6, 'UTC') + n % 3600, \
         ['a', 'b'][1 + n % 2], if(n % 7 = 0, NULL, n / 4), [toString(n), ''] \
         FROM (SELECT number + {} AS n FROM numbers({}))",
        numbers.start,
        numbers.end - numbers.start
    ));
}

fn state(world: &World, table: &str) -> String {
    world.sql(&format!(
        "SELECT count(), sum(cityHash64(tuple(at, market, price, tags))) FROM {table}"
    ))
}

#[test]
fn a_damaged_chunk_of_rows_without_positions_is_made_again() {
    let (world, _folder) = world("toStartOfHour(at)", "toDate(at)");
    insert(&world, 0..900);
    world.succeed(&["sync", "--dataset", "ticks"]);
    // A supplement, some of whose rows are equal to archived ones.
    insert(&world, 880..940);
    world.succeed(&["sync", "--dataset", "ticks"]);
    for generation in ["gen=0/", "gen=1/"] {
        let mut chunks = world.files(".parquet");
        chunks.retain(|path| {
            let path = path.to_string_lossy();
            path.contains(generation) && !path.contains("quarantine")
        });
        std::fs::write(&chunks[0], "no chunk").unwrap();
        let said = world.succeed(&["verify", "--dataset", "ticks", "--repair"]);
        assert!(said.contains("repaired from cold"), "{said}");
    }
    world.succeed(&[
        "verify",
        "--dataset",
        "ticks",
        "--deep",
        "--against",
        "cold",
    ]);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
}

#[test]
fn a_table_without_positions_is_transferred_with_supplements_whatever_its_partitioning() {
    for (hot, cold) in [
        ("toStartOfHour(at)", "toDate(at)"),
        ("toDate(at)", "toYYYYMM(at)"),
        ("toYYYYMM(at)", "toStartOfHour(at)"),
        ("tuple()", "tuple()"),
    ] {
        let (world, _folder) = world(hot, cold);
        let case = format!("{hot} / {cold}");
        insert(&world, 0..100);
        // Two rows may be the same, and both count.
        insert(&world, 10..13);
        world.succeed(&["sync", "--dataset", "ticks"]);
        assert_eq!(
            state(&world, "cold.ticks"),
            state(&world, "hot.ticks"),
            "{case}"
        );
        // Late rows, one of them the same as one that is archived.
        insert(&world, 100..105);
        insert(&world, 10..11);
        let report = world.report(&["sync", "--dataset", "ticks"]);
        let window = &report["windows"][0];
        assert_eq!(
            (&window["generations"], &window["rows"]),
            (&2.into(), &109.into()),
            "{case}: {report}"
        );
        let all = state(&world, "hot.ticks");
        assert_eq!(state(&world, "cold.ticks"), all, "{case}");
        world.succeed(&["sync", "--dataset", "ticks", "--cleanup"]);
        assert_eq!(state(&world, "cold.ticks"), all, "{case}");
        assert_eq!(world.number("SELECT count() FROM hot.ticks"), 0, "{case}");
        // Archived rows that come again, alone, and with very late ones.
        insert(&world, 0..20);
        world.succeed(&["sync", "--dataset", "ticks", "--cleanup"]);
        assert_eq!(state(&world, "cold.ticks"), all, "{case}");
        insert(&world, 0..5);
        insert(&world, 200..203);
        world.succeed(&["sync", "--dataset", "ticks", "--cleanup"]);
        assert_eq!(
            world.number("SELECT count() FROM cold.ticks"),
            112,
            "{case}"
        );
        assert_eq!(world.number("SELECT count() FROM hot.ticks"), 0, "{case}");
        assert_eq!(
            world.leftovers("hot") + &world.leftovers("cold"),
            "",
            "{case}"
        );
        world.succeed(&[
            "verify",
            "--dataset",
            "ticks",
            "--deep",
            "--against",
            "cold",
        ]);
        let state_of_cold = state(&world, "cold.ticks");
        world.sql("DROP TABLE cold.ticks");
        world.succeed(&["import", "--dataset", "ticks"]);
        assert_eq!(state(&world, "cold.ticks"), state_of_cold, "{case}");
    }
}

#[test]
fn a_column_that_was_added_with_a_default_stays_outside_and_its_values_are_not_lost() {
    let (world, _folder) = world("toStartOfHour(at)", "toDate(at)");
    insert(&world, 0..100);
    world.succeed(&["export", "--dataset", "ticks"]);
    for table in ["hot.ticks", "cold.ticks"] {
        world.sql(&format!(
            "ALTER TABLE {table} ADD COLUMN venue LowCardinality(String) DEFAULT 'x'"
        ));
    }
    insert(&world, 100..103);
    let report = world.report(&["sync", "--dataset", "ticks"]);
    assert_eq!(report["windows"][0]["rows"], 103, "{report}");
    assert_eq!(state(&world, "cold.ticks"), state(&world, "hot.ticks"));
    // A late row with a value of its own is kept in hot rather than archived without it.
    world.sql("INSERT INTO hot.ticks SELECT toDateTime64('2026-01-01 05:30:00', 6, 'UTC'), 'a', 1, [], 'mine'");
    let said = world.fail(1, &["sync", "--dataset", "ticks", "--cleanup"]);
    assert!(
        said.contains("1 rows") && said.contains("hold values in venue"),
        "{said}"
    );
    assert_eq!(world.number("SELECT count() FROM hot.ticks"), 104);
    world.sql("ALTER TABLE hot.ticks DELETE WHERE venue = 'mine' SETTINGS mutations_sync = 2");
    world.succeed(&["sync", "--dataset", "ticks", "--cleanup"]);
    assert_eq!(world.number("SELECT count() FROM hot.ticks"), 0);
    // Without a default there is no telling what archived rows would have in it.
    world.sql("ALTER TABLE hot.ticks ADD COLUMN fee Float64");
    world.sql("INSERT INTO hot.ticks SELECT toDateTime64('2026-01-01 05:30:00', 6, 'UTC'), 'a', 1, [], 'x', 2");
    let said = world.fail(1, &["sync", "--dataset", "ticks"]);
    assert!(said.contains("`fee` Float64"), "{said}");
    // Cold must take what is archived as it is.
    world.sql("ALTER TABLE cold.ticks MODIFY COLUMN price Nullable(Float32)");
    let said = world.fail(1, &["import", "--dataset", "ticks"]);
    assert!(
        said.contains("column `price` is Nullable(Float32), in the archive Nullable(Float64)"),
        "{said}"
    );
}
