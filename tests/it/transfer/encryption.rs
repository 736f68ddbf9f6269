//! Chunks encrypted at rest: nothing in them without the key, everything with it, and keys that change.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::transfer::{World, output_text};

/// Two keys, of either length.
const KEYS: [&str; 2] = [
    "000102030405060708090a0b0c0d0e0f",
    "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=",
];

/// A world with an archive beside its own folder, and files with keys.
struct Place {
    world: World,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (n, key) in KEYS.iter().enumerate() {
            let file = Self::key_file(folder.path(), n);
            crate::support::write_secret(&file, format!("{key}\n"));
        }
        let yaml = folder.path().join("ticks.yaml");
        std::fs::write(
            &yaml,
            "name: ticks\ntable: ticks\ntime_column: at\npartition: {hot: toStartOfHour(at), cold: toDate(at)}\n",
        )
        .unwrap();
        // One column of every kind whose form could change on its way through Arrow.
        std::fs::write(
            yaml.with_extension("sql"),
            "CREATE TABLE IF NOT EXISTS {table} {on_cluster} (at DateTime('UTC'), day Date, far Date32, id UUID, \
             kind Enum8('a' = 1, 'b' = -2), fixed FixedString(3), raw String, \
             wide Decimal(76, 30), big UInt256, small Int8, flag Bool, price Nullable(Float64), \
             tags Array(LowCardinality(String)), counts Map(String, UInt32), \
             levels Array(Tuple(price Decimal(18, 4), note Nullable(String)))) \
             ENGINE = {engine} PARTITION BY {partition} ORDER BY at",
        )
        .unwrap();
        let section = Self::section(folder.path(), Some(0), &[]);
        let more = format!("datasets: {{files: [{}]}}", yaml.display());
        Self {
            world: World::on(&section, &more),
            folder,
        }
    }

    fn key_file(folder: &Path, n: usize) -> PathBuf {
        folder.join(format!("key{n}"))
    }

    fn section(folder: &Path, writing: Option<usize>, old: &[usize]) -> String {
        let key = |n: usize| Self::key_file(folder, n).display().to_string();
        let writing = writing.map_or_else(String::new, |n| {
            format!("encryption_key_file: {}, ", key(n))
        });
        let old: Vec<String> = old.iter().map(|n| key(*n)).collect();
        format!(
            "{{path: {}, chunk_rows: 700, {writing}decryption_key_files: [{}]}}",
            folder.join("archive").display(),
            old.join(", ")
        )
    }

    /// From now on these keys are configured.
    fn use_keys(&self, writing: Option<usize>, old: &[usize]) {
        self.world
            .set_archive(&Self::section(self.folder.path(), writing, old));
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        World::files_below(&self.folder.path().join("archive"), ending)
    }
}

fn insert_ticks(world: &World, count: u64) {
    world.sql(&format!(
        "INSERT INTO hot.ticks SELECT toDateTime('2026-01-01 05:00:00', 'UTC') + n, toDate('2026-01-01'), \
         toDate32('1925-01-01') + n, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'), \
         if(n % 2 = 0, 'a', 'b'), 'x\\0y', unhex('ff00'), toDecimal256(n, 30) / 7, toUInt256(n) * toUInt256('340282366920938463463374607431768211456'), \
         -n, n % 2, if(n % 3 = 0, NULL, n / 3), [toString(n % 5), ''], map('k', n), \
         [(toDecimal64(n, 4) / 8, NULL), (1, 'note')] FROM (SELECT number AS n FROM numbers({count}))"
    ));
}

fn ticks(world: &World, tier: &str) -> String {
    world.sql(&format!(
        "SELECT count(), sum(cityHash64(tuple(*))) FROM {tier}.ticks"
    ))
}

#[test]
fn an_encrypted_archive_rebuilds_cold_and_shows_nothing_without_its_key() {
    let place = Place::new();
    let world = &place.world;
    for hour in 5..7 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 0{hour}"),
            hour * 10_000,
            1_500,
        );
    }
    insert_ticks(world, 500);
    let (state, tick_state) = (world.state("hot.trades"), ticks(world, "hot"));
    world.succeed(&[
        "sync",
        "--dataset",
        "trades",
        "--dataset",
        "ticks",
        "--cleanup",
    ]);
    assert_eq!(
        (world.state("cold.trades"), ticks(world, "cold")),
        (state.clone(), tick_state.clone())
    );
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    let chunks = place.files(".parquet");
    assert_eq!(chunks.len(), 3 + 3 + 1);
    for chunk in &chunks {
        let bytes = std::fs::read(chunk).unwrap();
        assert!(bytes.starts_with(b"PARE") && bytes.ends_with(b"PARE"));
        for plain in ["binance", "trade_id", "DateTime64", "mpsync.columns"] {
            let is_there = bytes.windows(plain.len()).any(|w| w == plain.as_bytes());
            assert!(!is_there, "{plain} is in {}", chunk.display());
        }
    }
    let manifest = std::fs::read_to_string(&place.files("manifest.json")[0]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let key_id = json["chunks"][0]["key_id"].as_str().unwrap();
    assert!(!manifest.contains(KEYS[0]));
    assert!(
        world
            .succeed(&["verify", "--deep", "--against", "cold"])
            .contains(": 0 wrong")
    );
    let trades = chunks
        .iter()
        .find(|c| c.to_string_lossy().contains("trades/"))
        .unwrap();
    let path = trades.to_str().unwrap();
    assert!(
        world
            .succeed(&["inspect", "chunk", path])
            .contains("binance")
    );
    let manifest_path = place.files("manifest.json");
    let told = world.succeed(&["inspect", "manifest", manifest_path[0].to_str().unwrap()]);
    assert!(
        told.contains(&format!("encrypted with the key {key_id}")),
        "{told}"
    );
    let csv = place.folder.path().join("rows.csv");
    let replay = [
        "replay",
        "--dataset",
        "trades",
        "--into",
        "csv",
        "--file",
        csv.to_str().unwrap(),
    ];
    world.succeed(&replay);
    assert_eq!(
        std::fs::read_to_string(&csv).unwrap().lines().count(),
        3_001
    );
    for table in ["trades", "ticks"] {
        world.sql(&format!("TRUNCATE TABLE cold.{table}"));
        world.succeed(&["import", "--dataset", table]);
    }
    assert_eq!(
        (world.state("cold.trades"), ticks(world, "cold")),
        (state, tick_state)
    );
    world.succeed(&["verify", "--against", "cold"]);
}

#[test]
fn without_its_key_a_chunk_is_named_with_the_key_and_nothing_is_changed() {
    let place = Place::new();
    let world = &place.world;
    world.insert_trades("trades", "2026-01-01 05", 1, 300);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    let state = world.state("cold.trades");
    let manifest = std::fs::read_to_string(&place.files("manifest.json")[0]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let key_id = json["chunks"][0]["key_id"].as_str().unwrap();
    for (writing, has) in [(None, "no key"), (Some(1), "only ")] {
        place.use_keys(writing, &[]);
        world.sql("TRUNCATE TABLE cold.trades");
        for command in [
            &["import", "--dataset", "trades"][..],
            &[
                "inspect",
                "chunk",
                place.files(".parquet")[0].to_str().unwrap(),
            ],
        ] {
            let said = world.fail(2, command);
            assert!(
                said.contains("2026-01-01T05") || said.contains("hour=05"),
                "{said}"
            );
            assert!(
                said.contains(&format!("encrypted with the key {key_id}")),
                "{said}"
            );
            assert!(
                said.contains(has) && said.contains("decryption_key_files"),
                "{said}"
            );
        }
        assert_eq!(world.number("SELECT count() FROM cold.trades"), 0);
        assert_eq!(world.leftovers("cold"), "");
        // The bytes are right all the same; what is in them was not looked at, and that is said.
        for depth in [&["verify"][..], &["verify", "--deep"]] {
            let output = world.run(depth);
            assert_eq!(output.status.code(), Some(1), "{}", output_text(&output));
            assert!(
                output_text(&output).contains(key_id),
                "{}",
                output_text(&output)
            );
        }
    }
    // With the key it goes on where it was: a missing key halts nothing.
    place.use_keys(Some(0), &[]);
    world.succeed(&["import", "--dataset", "trades"]);
    assert_eq!(world.state("cold.trades"), state);
}

#[test]
fn keys_change_and_older_chunks_are_read_with_older_keys() {
    let place = Place::new();
    let world = &place.world;
    let sync = ["sync", "--dataset", "trades", "--cleanup"];
    for (first, writing, old) in [
        (1, Some(0), &[][..]),
        (1_000, Some(1), &[0]),
        (2_000, None, &[0, 1]),
    ] {
        place.use_keys(writing, old);
        world.insert_trades("trades", "2026-01-01 05", first, 300);
        world.succeed(&sync);
    }
    let keys: Vec<Option<String>> = place
        .files("manifest.json")
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            json["chunks"][0]["key_id"].as_str().map(ToOwned::to_owned)
        })
        .collect();
    assert!(
        matches!(keys.as_slice(), [Some(first), Some(second), None] if first != second),
        "{keys:?}"
    );
    let state = world.state("cold.trades");
    assert!(state.starts_with("900\t900\t"), "{state}");
    world.sql("TRUNCATE TABLE cold.trades");
    world.succeed(&["import", "--dataset", "trades"]);
    assert_eq!(world.state("cold.trades"), state);
    assert!(
        world
            .succeed(&["verify", "--deep", "--against", "cold"])
            .contains(": 0 wrong")
    );
}
