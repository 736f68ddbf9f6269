//! A damaged archive, and an archive that cannot be written.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use crate::support::transfer::{World, output_text};

#[test]
fn a_flipped_byte_in_a_chunk_is_named_and_nothing_of_it_is_loaded() {
    let world = World::new();
    for hour in 5..7 {
        world.insert_trades("trades", &format!("2026-01-01 0{hour}"), hour * 10_000, 500);
    }
    world.succeed(&["export", "--dataset", "trades"]);
    let chunk = world.files(".parquet").remove(0);
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    let said = world.fail(3, &["import", "--dataset", "trades"]);
    assert!(
        said.contains("hour=05") && said.contains("SHA-256"),
        "{said}"
    );
    assert_eq!(
        world.number("SELECT count() FROM cold.trades"),
        500,
        "the other hour is loaded"
    );
    assert_eq!(world.leftovers("cold"), "");
    let output = world.run(&["verify"]);
    assert_eq!(output.status.code(), Some(3), "{}", output_text(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("part-00000"),
        "{}",
        output_text(&output)
    );
}

#[test]
fn a_full_disk_under_the_archive_is_one_clear_error_and_loses_no_row() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 100_000);
    let mut command = world.command(&["sync", "--dataset", "trades", "--cleanup"]);
    // A limit on the size of files stands in for the disk: 64 blocks of 512 bytes.
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = limited.output().unwrap();
    assert_eq!(output.status.signal(), None, "{}", output_text(&output));
    assert_eq!(output.status.code(), Some(1), "{}", output_text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    let said = &said[said.find("error: ").expect("an error")..];
    assert!(
        said.contains("File too large") && said.contains("2026-01-01T05"),
        "{said}"
    );
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 100_000);
    assert!(world.files("manifest.json").is_empty());
    // Space again: the same command goes on.
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
    assert_eq!(world.number("SELECT count() FROM cold.trades"), 100_000);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}
