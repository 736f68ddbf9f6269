//! `mpsync-archive` as a dependency of a program that is not of this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::transfer::{World, output_text};

/// The whole program.
const PROGRAM: &str = r#"use mpsync_archive::arrow::util::display::{ArrayFormatter, FormatOptions};
use mpsync_archive::{ArchiveReader, Result, Selection};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).expect("usage: read ARCHIVE");
    let reader = ArchiveReader::open_folder(path).await?;
    for dataset in reader.datasets().await? {
        let hour = Selection::new(dataset.clone())
            .within("2026-01-01T05".parse()?)
            .columns(["symbol", "price", "quantity", "stream_seq"]);
        let mut rows = reader.read(hour);
        while let Some(batch) = rows.next_batch().await? {
            let options = FormatOptions::default();
            let columns = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let values: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
                println!("{dataset}\t{}", values.join("\t"));
            }
        }
    }
    Ok(())
}
"#;

/// Returns the section of this workspace's manifest from `[profile.dev]` on: with the same profile nothing is built twice.
fn profiles(manifest: &str) -> &str {
    let start = manifest.find("[profile.dev]").expect("there is one");
    &manifest[start..]
}

/// Writes the program's package.
fn package(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let text = format!(
        "[package]\nname = \"archive-client\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         mpsync-archive = {{ path = \"{}\" }}\ntokio = {{ version = \"1\", features = [\"macros\", \"rt\", \"time\"] }}\n\n{}",
        root.join("crates/archive").display(),
        profiles(&manifest)
    );
    std::fs::create_dir(folder.join("src")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), text).unwrap();
    std::fs::write(folder.join("src/main.rs"), PROGRAM).unwrap();
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// Returns the folder into which this test's own workspace is built.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/it-…
    test.ancestors().nth(3).expect("four levels").to_owned()
}

#[test]
fn program_outside_the_workspace_reads_an_hour() {
    assert!(PROGRAM.lines().count() <= 32);
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    world.succeed(&["sync", "--dataset", "trades"]);
    let folder = tempfile::tempdir().unwrap();
    package(folder.path());
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", output_text(&built));
    let read = Command::new(target().join("debug/archive-client"))
        .arg(world.archive())
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", output_text(&read));
    let mut read: Vec<_> = std::str::from_utf8(&read.stdout)
        .unwrap()
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    let expected = world.sql(
        "SELECT 'trades', symbol, \
         toDecimalString(price, 18), toDecimalString(quantity, 18), stream_seq FROM hot.trades \
         WHERE toStartOfHour(timestamp, 'UTC') = '2026-01-01 05:00:00' FORMAT TSV",
    );
    let mut expected: Vec<_> = expected.lines().map(ToOwned::to_owned).collect();
    read.sort();
    expected.sort();
    assert_eq!(read.len(), 500);
    assert_eq!(read, expected);
}
