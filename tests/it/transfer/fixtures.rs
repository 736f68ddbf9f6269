//! Each kind of damage as an archive of its own under `fixtures/archives`, and what `verify` and `import` say of it.
//!
//! `just fixtures` makes them anew: a small archive is exported, and damaged in one place for each.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::transfer::World;

/// The window that is damaged; the one after it is whole.
const DAMAGED: &str = "trades/date=2026-01-01/hour=05/gen=0";
const WHOLE: &str = "trades/date=2026-01-01/hour=06/gen=0";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives")
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn edit_text(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// A damage to an archive whose first window has two chunks.
type Damage = fn(archive: &Path, window: &Path);

/// Every kind of damage, by the name of its folder.
const DAMAGES: [(&str, Damage); 9] = [
    ("flipped-byte", |_, window| {
        edit(&window.join("part-00001-a1.parquet"), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }),
    ("truncated-chunk", |_, window| {
        edit(&window.join("part-00001-a1.parquet"), |bytes| {
            bytes.truncate(bytes.len() / 2);
        });
    }),
    ("missing-chunk", |_, window| {
        std::fs::remove_file(window.join("part-00001-a1.parquet")).unwrap();
    }),
    ("swapped-chunk", |_, window| {
        let [a, b] = [0, 1].map(|n| window.join(format!("part-0000{n}-a1.parquet")));
        let first = std::fs::read(&a).unwrap();
        std::fs::copy(&b, &a).unwrap();
        std::fs::write(&b, first).unwrap();
    }),
    ("manifest-of-another-window", |archive, window| {
        let other = archive.join(WHOLE).join("manifest.json");
        std::fs::copy(other, window.join("manifest.json")).unwrap();
    }),
    ("older-format", |_, window| {
        edit_text(
            &window.join("manifest.json"),
            "\"format\": 1",
            "\"format\": 0",
        );
    }),
    ("wrong-count", |_, window| {
        edit_text(
            &window.join("manifest.json"),
            "\"rows\": 20",
            "\"rows\": 21",
        );
    }),
    ("half-written-manifest", |_, window| {
        edit(&window.join("manifest.json"), |bytes| {
            bytes.truncate(bytes.len() / 2);
        });
    }),
    ("orphan", |_, window| {
        let chunk = window.join("part-00000-a1.parquet");
        std::fs::copy(chunk, window.join("part-00000-a7.parquet")).unwrap();
    }),
];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

/// Exports a small archive: the same rows, and but for the versions that wrote it the same bytes, each time.
#[test]
#[ignore = "writes fixtures/archives: `just fixtures`"]
fn the_fixtures_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let world = World::on(
        &format!("{{path: {}, chunk_rows: 20}}", archive.display()),
        "",
    );
    world.insert_trades("trades", "2026-01-01 05", 1, 40);
    world.insert_trades("trades", "2026-01-01 06", 101, 20);
    world.succeed(&["export", "--dataset", "trades"]);
    for window in [DAMAGED, WHOLE] {
        let manifest = archive.join(window).join("manifest.json");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let written = json["created_at"].as_str().unwrap().to_owned();
        edit_text(&manifest, &written, "2026-01-01T07:00:00Z");
        let database = json["source"]["database"].take();
        let database = database.as_str().unwrap();
        edit_text(&manifest, &format!("\"{database}\""), "\"hot\"");
    }
    for (name, damage) in DAMAGES {
        let fixture = fixtures().join(name);
        if fixture.exists() {
            std::fs::remove_dir_all(&fixture).unwrap();
        }
        copy(&archive.join("trades"), &fixture.join("trades"));
        damage(&fixture, &fixture.join(DAMAGED));
    }
}

/// Returns the output without the parts that differ from run to run.
fn output_text(world: &World, output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let errors = errors.find("error: ").map_or("", |at| &errors[at..]);
    let text = String::from_utf8_lossy(&output.stdout);
    // A table's widths follow its times.
    let lines = text
        .lines()
        .filter(|line| !line.starts_with(['┌', '│', '╞', '├', '└', '╡']));
    let mut all: String = lines.flat_map(|line| [line, "\n"]).collect();
    all.push_str(errors.trim_end());
    all.replace(&world.archive().display().to_string(), "ARCHIVE")
        .replace(&world.database("cold"), "cold")
        .replace(&world.database("hot"), "hot")
        + &format!("\nexit code {}\n", output.status.code().unwrap())
}

/// The JSON document on standard output, without times, laid out for people.
fn document(output: &Output) -> String {
    let mut json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    json.as_object_mut().unwrap().remove("seconds");
    serde_json::to_string_pretty(&json).unwrap()
}

#[test]
fn what_verify_and_import_say_of_each_kind_of_damage() {
    for (name, _) in DAMAGES {
        let world = World::new();
        copy(&fixtures().join(name), &world.archive());
        let verified = world.run(&["verify", "--dataset", "trades", "--output", "json"]);
        let imported = world.run(&["import", "--dataset", "trades"]);
        let code = verified.status.code().unwrap();
        let rows = world.sql("SELECT toHour(timestamp) AS hour, count() FROM cold.trades GROUP BY hour ORDER BY hour FORMAT CSV");
        let rows = rows.replace('\n', "; ");
        let said = format!(
            "-- verify, exit code {code}\n{}\n\n-- import\n{}\n-- cold: hour,rows\n{rows}\n",
            document(&verified),
            output_text(&world, &imported),
        );
        insta::assert_snapshot!(name, said);
        assert_eq!(world.leftovers("cold"), "");
    }
}
