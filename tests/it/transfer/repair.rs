//! `verify --repair`: what cold or hot still proves to hold is made again, and everything else is left as it is.

use std::path::PathBuf;

use crate::support::engine::until;
use crate::support::s3::S3;
use crate::support::transfer::{World, output_text};

/// A world whose first window has a supplement, all of it in cold.
fn synced() -> World {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 4_000);
    world.insert_trades("trades", "2026-01-01 06", 10_001, 500);
    world.succeed(&["sync", "--dataset", "trades"]);
    world.insert_trades("trades", "2026-01-01 05", 20_001, 300);
    world.succeed(&["sync", "--dataset", "trades"]);
    world
}

fn flip(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn chunks(world: &World, folder: &str) -> Vec<PathBuf> {
    let mut all = world.files(".parquet");
    all.retain(|path| path.to_string_lossy().contains(folder));
    all
}

/// The archive is whole: every value, against cold, by `sha256sum`, and enough to rebuild cold.
fn assert_whole(world: &World) {
    let state = world.state("cold.trades");
    let said = world.succeed(&["verify", "--deep", "--against", "cold"]);
    assert!(said.contains(": 0 wrong"), "{said}");
    for sums in world.files("SHA256SUMS") {
        let output = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(sums.parent().unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            sums.display(),
            output_text(&output)
        );
    }
    world.sql("TRUNCATE TABLE cold.trades");
    world.succeed(&["import", "--dataset", "trades"]);
    assert_eq!(world.state("cold.trades"), state);
    let replayed = world.succeed(&["replay", "--dataset", "trades", "--into", "jsonl"]);
    assert_eq!(
        replayed.lines().count() as u64,
        world.number("SELECT count() FROM cold.trades")
    );
}

#[test]
fn damaged_chunks_are_made_again_from_cold_and_the_damaged_ones_kept_aside() {
    let world = synced();
    let (first, late) = (
        chunks(&world, "hour=05/gen=0").remove(0),
        chunks(&world, "hour=05/gen=1").remove(0),
    );
    flip(&first);
    std::fs::remove_file(&late).unwrap();
    // Hot has gone its way.
    world.sql("TRUNCATE TABLE hot.trades");
    let said = world.fail(3, &["verify"]);
    assert!(said.contains("2 things are wrong"), "{said}");
    let said = world.succeed(&["verify", "--repair"]);
    assert!(said.contains("gen 0: repaired from cold"), "{said}");
    assert!(said.contains("gen 1: repaired from cold"), "{said}");
    assert!(!first.exists());
    let kept = world.files(first.file_name().unwrap().to_str().unwrap());
    assert!(
        kept.iter()
            .any(|p| p.to_string_lossy().contains("_mpsync/quarantine/trades")),
        "{kept:?}"
    );
    assert_eq!(world.files("gen=0/manifest-r1.json").len(), 1);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    // The next damage becomes the next revision.
    flip(&chunks(&world, "hour=05/gen=0").remove(0));
    world.succeed(&["verify", "--repair"]);
    assert_eq!(world.files("gen=0/manifest-r2.json").len(), 1);
    assert_whole(&world);
    // And late rows go on as ever.
    world.insert_trades("trades", "2026-01-01 05", 30_001, 7);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_whole(&world);
}

#[test]
fn hot_repairs_what_cold_never_held_and_a_halted_window_is_named() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1_000);
    world.succeed(&["export", "--dataset", "trades"]);
    flip(&chunks(&world, "hour=05").remove(0));
    world.fail(3, &["sync", "--dataset", "trades"]);
    // An archive that was put back without its leases: their numbers begin again.
    std::fs::remove_dir_all(world.archive().join("_mpsync/leases")).unwrap();
    let said = world.succeed(&["verify", "--repair", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["repairs"]["repaired"][0]["from"], "hot", "{said}");
    let task = report["repairs"]["halted"][0].as_str().unwrap();
    world.succeed(&["tasks", "retry", task]);
    world.succeed(&["sync", "--dataset", "trades"]);
    assert_whole(&world);
}

#[test]
fn what_no_tier_proves_to_hold_is_left_as_it_is_with_the_reasons() {
    let world = synced();
    let first = chunks(&world, "hour=05/gen=0").remove(0);
    flip(&first);
    let damaged = std::fs::read(&first).unwrap();
    world.sql("ALTER TABLE cold.trades DELETE WHERE stream_seq = 7 SETTINGS mutations_sync = 2");
    world.sql(
        "ALTER TABLE hot.trades UPDATE price = 1 WHERE stream_seq = 8 SETTINGS mutations_sync = 2",
    );
    let output = world.run(&["verify", "--repair"]);
    assert_eq!(output.status.code(), Some(3), "{}", output_text(&output));
    let said = output_text(&output);
    assert!(
        said.contains("not repaired: no tier proves to hold its rows"),
        "{said}"
    );
    assert!(said.contains("cold: it holds 3999 rows"), "{said}");
    assert!(said.contains("hot: it holds 4000 rows"), "{said}");
    assert_eq!(std::fs::read(&first).unwrap(), damaged);
    assert!(world.files("manifest-r1.json").is_empty());
    assert_eq!(
        chunks(&world, "hour=05/gen=0").len(),
        1,
        "what was fetched in vain is gone"
    );
    // A manifest is not made up either.
    let manifest = world.files("hour=06/gen=0/manifest.json").remove(0);
    std::fs::write(&manifest, "{").unwrap();
    let said = output_text(&world.run(&["verify", "--repair"]));
    assert!(said.contains("2026-01-01T06 gen 0: not repaired"), "{said}");
}

#[test]
fn a_repair_that_is_killed_at_any_moment_is_ended_by_the_next_and_never_leaves_less() {
    let world = synced();
    let mut killed = 0;
    for round in 0..12_u64 {
        let victim = chunks(&world, "hour=05/gen=0").remove(0);
        flip(&victim);
        let mut running = world.command(&["verify", "--repair"]).spawn().unwrap();
        if round % 3 == 0 {
            // As soon as new chunks are there.
            until("new chunks or the end", || {
                chunks(&world, "hour=05/gen=0").len() > 1 || running.try_wait().unwrap().is_some()
            });
        } else {
            std::thread::sleep(std::time::Duration::from_millis(40 * round));
        }
        killed += u32::from(running.try_wait().unwrap().is_none());
        running.kill().unwrap();
        running.wait().unwrap();
        world.succeed(&["verify", "--repair"]);
        world.succeed(&["verify", "--against", "cold"]);
    }
    assert!(killed > 0);
    world.succeed(&["gc", "--older-than", "0s"]);
    assert_eq!(
        chunks(&world, "trades/date=2026-01-01/hour=05/gen=0").len(),
        1
    );
    assert_whole(&world);
}

#[test]
fn a_bucket_is_repaired_as_a_folder_is() {
    let s3 = S3::start();
    let world = World::on(&s3.section("repair"), "");
    world.insert_trades("trades", "2026-01-01 05", 1, 2_000);
    world.succeed(&["sync", "--dataset", "trades"]);
    s3.put(
        "repair/trades/date=2026-01-01/hour=05/gen=0/part-00000-a1.parquet",
        "no chunk",
    );
    world.fail(3, &["verify"]);
    let said = world.succeed(&["verify", "--repair"]);
    assert!(said.contains("repaired from cold"), "{said}");
    world.succeed(&["verify", "--deep", "--against", "cold"]);
    world.sql("TRUNCATE TABLE cold.trades");
    world.succeed(&["import", "--dataset", "trades"]);
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 2_000);
}
