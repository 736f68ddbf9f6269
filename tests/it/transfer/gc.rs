//! `mpsync gc` removes the leftovers of interrupted runs and nothing that a worker owns.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use object_store::ObjectStoreExt as _;

use crate::support::s3::S3;
use crate::support::terminal::Terminal;
use crate::support::transfer::World;

const WINDOW: &str = "trades/date=2026-01-01/hour=05";

fn synced() -> World {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    world.succeed(&["sync", "--dataset", "trades"]);
    world
}

/// Makes a file that looks as old as two days.
fn write_old(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    age(path);
}

fn age(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let then = SystemTime::now() - Duration::from_hours(48);
    file.set_modified(then).unwrap();
}

/// Creates leftovers of interrupted runs in the archive, two days old.
fn rubbish(world: &World) -> Vec<PathBuf> {
    let archive = world.archive();
    let all = [
        format!("{WINDOW}/gen=0/part-00000-a0.parquet"),
        format!("{WINDOW}/gen=1/part-00000-a9.parquet"),
        "trades/date=2026-01-02/hour=07/gen=0/part-00000-a1.parquet".to_owned(),
        format!("{WINDOW}/gen=1/manifest.json#3"),
        "_mpsync/probe/123".to_owned(),
        "_mpsync/quarantine/trades/2026-01-03T05/gen=0/part-00000-a1.parquet".to_owned(),
        "_mpsync/requests/20260101T000000Z-00000000.json".to_owned(),
    ];
    let all = all.map(|path| archive.join(path));
    for path in &all {
        write_old(path, b"half");
    }
    all.to_vec()
}

fn swept(world: &World, arguments: &[&str]) -> Vec<(String, String)> {
    let mut all = vec!["gc", "--output", "json"];
    all.extend(arguments);
    let json: serde_json::Value = serde_json::from_str(&world.succeed(&all)).unwrap();
    assert_eq!(json["failed"], serde_json::json!([]), "{json}");
    let mut items: Vec<_> = json["swept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let text = |key: &str| item[key].as_str().unwrap().to_owned();
            (text("kind"), text("name"))
        })
        .collect();
    items.sort();
    items
}

fn assert_whole(world: &World) {
    world.succeed(&["verify", "--deep", "--against", "cold"]);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1_000);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

#[test]
fn old_rubbish_goes_young_rubbish_stays_and_a_dry_run_only_says_so() {
    let world = synced();
    let old = rubbish(&world);
    let young = world
        .archive()
        .join(WINDOW)
        .join("gen=0/part-00001-a0.parquet");
    std::fs::write(&young, "half").unwrap();
    let told = swept(&world, &["--dry-run"]);
    assert_eq!(told.len(), old.len(), "{told:?}");
    assert!(old.iter().all(|path| path.exists()));
    assert_eq!(swept(&world, &[]), told);
    assert!(old.iter().all(|path| !path.exists()));
    assert!(young.exists());
    assert_eq!(swept(&world, &[]), []);
    let quarantined = "_mpsync/quarantine/trades/2026-01-01T05/gen=0/part-00000-a1.parquet";
    let quarantined = world.archive().join(quarantined);
    write_old(&quarantined, b"of a window that is there");
    assert_eq!(swept(&world, &[]), []);
    std::fs::remove_file(young).unwrap();
    assert_whole(&world);
}

#[test]
fn tables_of_broken_off_attempts_go_by_age_and_sealed_rows_never() {
    let world = synced();
    for table in [
        "cold.trades_stage_20260101T05_a1",
        "cold.trades_check_20260101T05_a1",
        "hot.trades_check_20260101T06_a3",
        "hot.trades_sealed_20260101T09_a3",
    ] {
        world.sql(&format!("CREATE TABLE {table} AS hot.trades"));
    }
    world.sql("CREATE TABLE cold.trades_stage_20260101T05_a2 (shut_out UInt8) ENGINE = Null");
    world.sql("CREATE TABLE hot.trades_stage_of_mine AS hot.trades");
    for gate in ["1700000000000", "9700000000000"] {
        world.sql(&format!("CREATE TABLE hot.trades_replay_{gate} ENGINE = Null AS SELECT * FROM hot.trades LIMIT 0"));
        world.sql(&format!(
            "CREATE MATERIALIZED VIEW hot.trades_replay_{gate}_mv TO hot.trades AS SELECT * FROM hot.trades_replay_{gate}"
        ));
    }
    // Made a moment ago.
    let gates = [
        "hot.trades_replay_1700000000000",
        "hot.trades_replay_1700000000000_mv",
    ];
    let kinds = |items: Vec<(String, String)>| -> Vec<String> {
        items.into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(kinds(swept(&world, &[])), gates);
    let gone = kinds(swept(&world, &["--older-than", "0s"]));
    for name in [
        "cold.trades_check_20260101T05_a1",
        "cold.trades_stage_20260101T05_a1",
        "cold.trades_stage_20260101T05_a2",
        "hot.trades_check_20260101T06_a3",
    ] {
        assert!(gone.contains(&name.to_owned()), "{name}: {gone:?}");
    }
    let left = world.sql(&format!(
        "SELECT name FROM system.tables WHERE database = '{}' AND match(name, '_(stage|check|sealed|replay)_') ORDER BY name",
        world.database("hot")
    ));
    assert_eq!(
        left,
        "trades_replay_9700000000000\ntrades_replay_9700000000000_mv\ntrades_sealed_20260101T09_a3\ntrades_stage_of_mine"
    );
    world.sql("DROP TABLE hot.trades_replay_9700000000000_mv");
    world.sql("DROP TABLE hot.trades_replay_9700000000000");
    world.sql("DROP TABLE hot.trades_stage_of_mine");
    assert_whole(&world);
}

#[test]
fn what_a_journal_says_and_the_highest_lease_stay() {
    let world = synced();
    for n in 0..4 {
        world.insert_trades("trades", "2026-01-01 05", 100_000 + n * 100, 10);
        world.succeed(&["sync", "--dataset", "trades"]);
    }
    let before = world.succeed(&["tasks", "list", "--output", "json"]);
    let folder = |kind: &str| {
        world
            .archive()
            .join(format!("_mpsync/{kind}/trades/2026-01-01T05"))
    };
    let count = |kind: &str| std::fs::read_dir(folder(kind)).unwrap().count();
    let (entries, leases) = (count("tasks"), count("leases"));
    swept(&world, &["--older-than", "0s"]);
    assert!(count("tasks") < entries, "{entries}");
    assert_eq!(count("leases"), 1);
    assert!(folder("leases").join(format!("{leases:010}.json")).exists());
    assert_eq!(
        world.succeed(&["tasks", "list", "--output", "json"]),
        before
    );
    assert_eq!(swept(&world, &["--older-than", "0s"]), []);
}

#[test]
fn nothing_of_a_living_worker_is_swept() {
    let world = World::new();
    for hour in 0..6 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 0{hour}"),
            1 + hour * 100_000,
            60_000,
        );
    }
    let arguments = ["sync", "--dataset", "trades", "--cleanup"];
    let mut worker = world.command(&arguments).spawn().unwrap();
    let mut sweeps = 0;
    while worker.try_wait().unwrap().is_none() {
        world.succeed(&["gc", "--older-than", "0s"]);
        sweeps += 1;
    }
    assert!(
        worker.wait().unwrap().success(),
        "with {sweeps} sweeps beside it"
    );
    assert!(sweeps > 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 360_000);
    assert_eq!(
        world.number("SELECT uniqExact(stream_seq) FROM cold.trades"),
        360_000
    );
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

#[test]
fn an_attempt_that_sleeps_finds_a_higher_lease_and_no_table_when_what_kept_it_out_was_swept() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    let leases = world.archive().join("_mpsync/leases/trades/2026-01-01T05");
    std::fs::create_dir_all(&leases).unwrap();
    std::fs::write(
        leases.join("0000000001.json"),
        r#"{"attempt":1,"holder":"a sleeper","nonce":"00","acquired_at":"2026-01-01T06:00:00Z","beat":3,"released":true}"#,
    )
    .unwrap();
    let asleep = "cold.trades_stage_20260101T05_a1";
    world.sql(&format!("CREATE TABLE {asleep} AS cold.trades"));
    world.sql(&format!("INSERT INTO {asleep} SELECT * FROM hot.trades"));
    world.succeed(&["sync", "--dataset", "trades"]);
    let gone = swept(&world, &["--older-than", "0s"]);
    assert!(gone.iter().any(|(_, name)| name == asleep), "{gone:?}");
    assert!(world.refused(&format!(
        "ALTER TABLE {asleep} MOVE PARTITION ID '20260101' TO TABLE cold.trades"
    )));
    assert!(!leases.join("0000000001.json").exists());
    // The lease that is higher than any sleeper's stays.
    assert!(std::fs::read_dir(&leases).unwrap().count() > 0);
    assert_eq!(world.state("cold.trades"), world.state("hot.trades"));
}

/// Begins a multipart upload that is never completed.
fn begin_upload(world: &World) {
    let config = mpsync_config::Config::load(Some(&world.config()), []).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let archive = mpsync_archive::Archive::open(&config.archive)
            .await
            .unwrap();
        let path = format!("{WINDOW}/gen=9/part-00000-a1.parquet");
        let mut upload = archive.store().put_multipart(&path.into()).await.unwrap();
        let part = vec![0_u8; 6 << 20];
        upload.put_part(part.into()).await.unwrap();
    });
}

#[test]
fn a_bucket_is_swept_as_a_folder_is() {
    let s3 = S3::start();
    let world = World::on(&s3.section("gc"), "");
    world.insert_trades("trades", "2026-01-01 05", 1, 1_000);
    world.succeed(&["sync", "--dataset", "trades"]);
    s3.put(&format!("gc/{WINDOW}/gen=0/part-00000-a0.parquet"), "half");
    s3.put(&format!("gc/{WINDOW}/gen=1/part-00000-a9.parquet"), "half");
    begin_upload(&world);
    assert_eq!(swept(&world, &[]), []);
    let gone = swept(&world, &["--older-than", "0s"]);
    let path = format!("{WINDOW}/gen=9/part-00000-a1.parquet");
    assert!(gone.contains(&("upload".to_owned(), path)), "{gone:?}");
    assert_eq!(
        gone.iter().filter(|(kind, _)| kind == "orphan").count(),
        2,
        "{gone:?}"
    );
    assert_whole(&world);
}

#[test]
fn gc_asks_on_a_terminal_before_it_removes() {
    let world = synced();
    let leftovers = rubbish(&world);
    let count = || leftovers.iter().filter(|path| path.exists()).count();
    for (answer, is_kept) in [("\n", true), ("yes\n", false)] {
        let mut terminal = Terminal::start(world.command(&["gc"]), "xterm", 160, 50);
        let asked = terminal.until("the question", |moment| moment.text().contains("[y/N]"));
        assert!(
            asked.text().contains("would be removed"),
            "{}",
            asked.text()
        );
        terminal.send(answer);
        let (status, last) = terminal.end(|_| ());
        assert!(status.success(), "{}", last.text());
        assert_eq!(count() == leftovers.len(), is_kept, "{}", last.text());
    }
}
