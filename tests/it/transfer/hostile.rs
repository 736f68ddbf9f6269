//! An archive that others can write: links that lead out of it, and manifests that are gone.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use crate::support::transfer::{World, output_text};

const WINDOW: &str = "trades/date=2026-01-01/hour=05";

fn synced() -> World {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    world.succeed(&["sync", "--dataset", "trades"]);
    world
}

fn age(path: &std::path::Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(48))
        .unwrap();
}

fn gc(world: &World) -> serde_json::Value {
    serde_json::from_str(&world.succeed(&["gc", "--output", "json"])).unwrap()
}

#[test]
fn gc_deletes_nothing_behind_a_link() {
    let world = synced();
    let theirs = tempfile::tempdir().unwrap();
    // Names that would be swept if they lay in the archive.
    for name in ["part-00000-a9.parquet", "manifest.json#12", "photo.jpg"] {
        let path = theirs.path().join(name);
        std::fs::write(&path, "theirs").unwrap();
        age(&path);
    }
    for place in ["gen=1", "gen=7"] {
        symlink(theirs.path(), world.archive().join(WINDOW).join(place)).unwrap();
    }
    let day = world.archive().join("trades/date=2026-01-09");
    symlink(theirs.path(), &day).unwrap();
    let swept = gc(&world);
    assert_eq!(swept["swept"], serde_json::json!([]), "{swept}");
    assert_eq!(std::fs::read_dir(theirs.path()).unwrap().count(), 3);
    world.succeed(&["verify", "--deep"]);
}

#[test]
fn lost_manifest_is_a_finding_and_gc_keeps_its_files() {
    let world = synced();
    let generation = world.archive().join(WINDOW).join("gen=0");
    let manifest = generation.join("manifest.json");
    let text = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&generation).unwrap() {
        files.push(entry.unwrap().path());
    }
    for path in &files {
        age(path);
    }
    assert_eq!(files.len(), 2, "{files:?}");

    let output = world.run(&["verify", "--deep"]);
    let said = output_text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("its journal says that the window was archived, and its manifest is missing"),
        "{said}"
    );
    let swept = gc(&world);
    assert_eq!(swept["swept"], serde_json::json!([]), "{swept}");
    assert_eq!(swept["kept"].as_array().unwrap().len(), 2, "{swept}");
    assert!(files.iter().all(|path| path.exists()));

    std::fs::write(&manifest, text).unwrap();
    world.succeed(&["verify", "--deep"]);
}
