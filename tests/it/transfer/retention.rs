//! Retention deletes expired windows from cold and the archive, and nothing else.

use std::process::Output;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::support::transfer::{World, output_text};

/// An hour that is past every retention here.
const OLD: &str = "2024-01-01 05";
const SYNC: [&str; 4] = ["sync", "--dataset", "trades", "--cleanup"];
const COLD_DAYS: &str = "MPSYNC__COLD_STORAGE__RETENTION_DAYS";

/// Returns a sync that cleans hot and deletes rows older than a year from cold.
fn sync_command(world: &World, more: &[&str]) -> std::process::Command {
    let mut command = world.command(&SYNC);
    command
        .args(["--retention"])
        .args(more)
        .env(COLD_DAYS, "365");
    command
}

/// Such a sync ends with this exit code; gives what it says.
fn sync(world: &World, exit: i32, more: &[&str]) -> String {
    let output = sync_command(world, more).output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{}", output_text(&output));
    output_text(&output)
}

/// The report of such a sync.
fn report(world: &World) -> serde_json::Value {
    let output = sync_command(world, &["--output", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    json["datasets"][0].clone()
}

/// The archive is whole, and cold holds all of it that is not older than a year.
fn verify(world: &World) {
    let mut command = world.command(&["verify", "--deep", "--against", "cold"]);
    let output = command.env(COLD_DAYS, "365").output().unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
}

/// An hour of the day before yesterday.
fn recent() -> String {
    let then = Timestamp::now() - SignedDuration::from_hours(48);
    then.strftime("%Y-%m-%d %H").to_string()
}

/// An old hour and a recent one of 1000 trades each.
fn world(more: &str) -> World {
    let world = World::with(more);
    world.insert_trades("trades", OLD, 1, 1000);
    world.insert_trades("trades", &recent(), 10_001, 1000);
    world
}

/// A sync that cleans hot, and has nothing leave cold.
fn settle(world: &World) {
    world.succeed(&SYNC);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 2000);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}

fn old_rows(world: &World) -> u64 {
    world.number("SELECT count() FROM cold.trades WHERE timestamp < '2025-01-01'")
}

fn aside(world: &World) -> String {
    world.sql(&format!(
        "SELECT name FROM system.tables WHERE database = '{}' AND name LIKE '%retired%'",
        world.database("cold")
    ))
}

#[test]
fn a_partition_past_its_retention_leaves_cold_once_the_archive_proves_to_hold_it() {
    let world = world("");
    let mut usual = world.command(&["sync", "--dataset", "trades"]);
    let usual = usual.env(COLD_DAYS, "365").output().unwrap();
    assert!(usual.status.success(), "{}", output_text(&usual));
    assert_eq!(
        old_rows(&world),
        1000,
        "deleting is asked for, never assumed"
    );
    let plan = sync(&world, 0, &["--dry-run"]);
    assert!(
        plan.contains("2024-01-01  1000 rows leave cold, if the archive proves"),
        "{plan}"
    );
    assert_eq!(old_rows(&world), 1000);
    let report = report(&world);
    let leaving = &report["leaving"][0];
    assert_eq!(leaving["place"], "cold", "{report}");
    assert_eq!(leaving["rows"], 1000, "{report}");
    assert_eq!(old_rows(&world), 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1000);
    assert_eq!(aside(&world), "");
    // The archive has all of it; that cold lacks it is not a fault.
    verify(&world);
    let again = self::report(&world);
    assert!(again["leaving"].is_null(), "{again}");
}

#[test]
fn what_is_not_in_the_archive_stays_in_cold_whatever_its_age() {
    let world = world("");
    settle(&world);
    world.sql(
        "INSERT INTO cold.trades SELECT * REPLACE(timestamp + INTERVAL 1 HOUR AS timestamp, stream_seq + 500000 AS stream_seq) \
         FROM cold.trades WHERE timestamp < '2025-01-01' LIMIT 10",
    );
    let said = sync(&world, 0, &[]);
    assert!(
        said.contains("is kept in cold: 2024-01-01T06 is not in the archive"),
        "{said}"
    );
    assert_eq!(old_rows(&world), 1010);
    assert_eq!(aside(&world), "");
}

#[test]
fn a_row_that_the_archive_does_not_know_and_a_damaged_chunk_halt_and_cold_keeps_all() {
    let world = world("");
    settle(&world);
    world.sql(
        "INSERT INTO cold.trades SELECT * REPLACE(stream_seq + 500000 AS stream_seq) FROM cold.trades \
         WHERE timestamp < '2025-01-01' LIMIT 1",
    );
    let said = sync(&world, 3, &[]);
    assert!(said.contains("1 rows are there and not archived"), "{said}");
    assert_eq!(old_rows(&world), 1001);
    world.sql(
        "ALTER TABLE cold.trades DELETE WHERE stream_seq > 500000 SETTINGS mutations_sync = 2",
    );
    let chunk = world
        .files(".parquet")
        .into_iter()
        .find(|path| path.to_string_lossy().contains("date=2024-01-01"))
        .unwrap();
    let whole = std::fs::read(&chunk).unwrap();
    let mut damaged = whole.clone();
    damaged[200] ^= 1;
    std::fs::write(&chunk, damaged).unwrap();
    let said = sync(&world, 3, &[]);
    assert!(said.contains("cold keeps its rows"), "{said}");
    assert_eq!(old_rows(&world), 1000);
    std::fs::write(&chunk, whole).unwrap();
    sync(&world, 0, &[]);
    assert_eq!(old_rows(&world), 0);
}

/// Creates the state after a crash between the move and the drop.
fn set_aside(world: &World) {
    settle(world);
    world.sql("CREATE TABLE cold.trades_retired_20240101_a1 AS cold.trades");
    let partition =
        world.sql("SELECT any(_partition_id) FROM cold.trades WHERE timestamp < '2025-01-01'");
    world.sql(&format!(
        "ALTER TABLE cold.trades MOVE PARTITION ID '{partition}' TO TABLE cold.trades_retired_20240101_a1"
    ));
    assert_eq!(old_rows(world), 0);
}

#[test]
fn rows_that_a_crash_left_aside_are_given_back_and_doubled_by_nothing() {
    let given_back = world("");
    set_aside(&given_back);
    // Nothing is to leave any more.
    given_back.succeed(&["sync", "--dataset", "trades"]);
    assert_eq!(old_rows(&given_back), 1000);
    assert_eq!(aside(&given_back), "");
    given_back.succeed(&["verify", "--deep", "--against", "cold"]);

    let loaded_again = world("");
    set_aside(&loaded_again);
    loaded_again.succeed(&["import", "--dataset", "trades"]);
    loaded_again.succeed(&["sync", "--dataset", "trades"]);
    assert_eq!(old_rows(&loaded_again), 1000);
    assert_eq!(aside(&loaded_again), "");
    sync(&loaded_again, 0, &[]);
    assert_eq!(old_rows(&loaded_again), 0);
}

#[test]
fn a_window_leaves_the_archive_after_hot_and_cold_and_its_journal_says_so() {
    let world = world("\nsync: {cleanup_enabled: true}\n");
    let with = |settings: &[(&str, &str)]| -> Output {
        let mut command = world.command(&["sync", "--dataset", "trades"]);
        command.envs([
            ("MPSYNC__ARCHIVE__RETENTION_DAYS", "400"),
            (COLD_DAYS, "365"),
        ]);
        command.envs(settings.iter().copied()).output().unwrap()
    };
    // As long as hot keeps it.
    let kept = with(&[("MPSYNC__HOT_STORAGE__RETENTION_DAYS", "100000")]);
    assert!(kept.status.success(), "{}", output_text(&kept));
    assert!(
        output_text(&kept).contains("hot still holds 1000 rows"),
        "{}",
        output_text(&kept)
    );
    let of_old = || {
        let files = world.files("");
        let old = files
            .iter()
            .filter(|p| p.to_string_lossy().contains("date=2024"));
        old.count()
    };
    assert!(of_old() > 2);
    let gone = with(&[
        ("MPSYNC__HOT_STORAGE__RETENTION_DAYS", "0"),
        ("MPSYNC__SYNC__CLEANUP_DELAY_HOURS", "0"),
    ]);
    assert!(gone.status.success(), "{}", output_text(&gone));
    assert_eq!(of_old(), 0);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 1000);
    let shown = world.succeed(&[
        "tasks",
        "show",
        "trades@20240101T050000Z-20240101T060000Z",
        "--output",
        "json",
    ]);
    assert!(shown.contains("\"expired\""), "{shown}");
    verify(&world);
    // Rows that turn up again start anew.
    world.insert_trades("trades", OLD, 1, 10);
    world.succeed(&["sync", "--dataset", "trades"]);
    assert_eq!(old_rows(&world), 10);
}

#[test]
fn killed_at_any_moment_and_started_again_what_leaves_is_gone_and_all_else_is_whole() {
    let seed = 20_240_101;
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::with("");
    for (n, day) in ["2024-01-01", "2024-01-02", "2024-01-03"]
        .iter()
        .enumerate()
    {
        for hour in 5..8 {
            let first = 1 + n as u64 * 100_000 + hour * 10_000;
            world.insert_trades("trades", &format!("{day} 0{hour}"), first, 500);
        }
    }
    world.insert_trades("trades", &recent(), 900_001, 1000);
    for _ in 0..12 {
        let mut running = sync_command(&world, &[]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(
            20 + u64::from(random.next_u32()) % 600,
        ));
        running.kill().unwrap();
        running.wait().unwrap();
    }
    // A lease that a killed worker held is free at once: its process is gone.
    sync(&world, 0, &[]);
    sync(&world, 0, &[]);
    assert_eq!(old_rows(&world), 0);
    assert_eq!(aside(&world), "");
    assert_eq!(world.leftovers("hot"), "");
    assert_eq!(
        world.sql("SELECT count(), uniqExact(stream_seq) FROM cold.trades"),
        "1000\t1000"
    );
    verify(&world);
    world.succeed(&["import", "--dataset", "trades"]);
    assert_eq!(
        world.sql("SELECT count(), uniqExact(stream_seq) FROM cold.trades"),
        "5500\t5500"
    );
}
