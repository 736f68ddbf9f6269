//! The terminal of an operator: progress, an interruption, questions before data is deleted, a closed pipe.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::mpsync;
use crate::support::terminal::{Moment, Terminal};
use crate::support::transfer::{World, output_text};

const WINDOWS: u64 = 12;
const ROWS: u64 = 10_000;
const SYNC: [&str; 5] = ["sync", "--dataset", "trades", "--jobs", "2"];

/// Windows whose upload takes a second or so each, so that there is something to look at.
fn slow() -> World {
    let world = World::new();
    for hour in 0..WINDOWS {
        let first = (hour + 1) * 100_000;
        world.insert_trades("trades", &format!("2026-01-01 {hour:02}"), first, ROWS);
    }
    throttle(&world, 65_536);
    world
}

fn throttle(world: &World, bytes_per_second: u64) {
    let archive = world.archive();
    world.set_archive(&format!(
        "{{path: {}, upload_bytes_per_second: {bytes_per_second}}}",
        archive.display()
    ));
}

/// Checks a moment of a running sync: one overall line, then at most `--jobs` active ones, then the rest.
fn check(moment: &Moment, columns: usize) {
    let text = moment.text();
    if text.contains('┌') {
        // The report at the end.
        return;
    }
    assert!(!moment.is_wrapped, "a line wraps:\n{text}");
    let is_overall = |line: &&String| line.contains('%') && !line.starts_with("  ");
    let is_active = |line: &&String| line.contains("trades 2026-01-01T");
    assert!(
        moment.lines.iter().filter(is_overall).count() <= 1,
        "{text}"
    );
    assert!(moment.lines.iter().filter(is_active).count() <= 2, "{text}");
    assert!(moment.lines.len() <= 4, "{text}");
    for line in &moment.lines {
        assert!(line.chars().count() < columns, "{line}");
        assert!(!line.contains("INFO") && !line.contains('{'), "{text}");
    }
}

#[test]
fn sync_shows_one_overall_line_and_the_active_windows() {
    for (columns, rows) in [(80, 24), (200, 50)] {
        let world = slow();
        let mut terminal = Terminal::start(world.command(&SYNC), "xterm", columns, rows);
        let shown = terminal.until("windows wait, and the time left is known", |moment| {
            check(moment, columns.into());
            let text = moment.text();
            text.contains("windows waiting") && text.contains(" left") && text.contains(" rows/s")
        });
        let overall = &shown.lines[0];
        assert!(
            overall.contains('%') && overall.contains(" rows"),
            "{overall}"
        );
        assert!(
            columns < 100 || overall.starts_with('[') && overall.contains("/12 windows"),
            "{overall}"
        );
        let (status, last) = terminal.end(|moment| check(moment, columns.into()));
        let text = last.text();
        assert!(status.success(), "{text}");
        assert!(columns < 100 || text.contains("12 of 12"), "{text}");
        assert!(!text.contains('%') && !text.contains("waiting"), "{text}");
    }
}

#[test]
fn progress_fits_a_terminal_that_is_resized() {
    let world = slow();
    let mut terminal = Terminal::start(world.command(&SYNC), "xterm", 120, 24);
    terminal.until("progress", |moment| {
        moment.text().contains("windows waiting")
    });
    terminal.resize(40, 10);
    terminal.until("a frame of the new size", |moment| {
        let lines = &moment.lines;
        lines.iter().any(|line| line.contains('%'))
            && lines.iter().all(|line| line.chars().count() < 40)
    });
    let (status, _) = terminal.end(|_| ());
    assert!(status.success());
}

#[test]
fn a_dumb_terminal_gets_lines_of_text() {
    let world = slow();
    let terminal = Terminal::start(world.command(&SYNC), "dumb", 80, 500);
    let (status, last) = terminal.end(|_| ());
    let text = last.text();
    assert!(status.success(), "{text}");
    assert!(text.contains(" %, "), "{text}");
    assert!(!text.contains("[=") && !text.contains('\x1b'), "{text}");
}

#[test]
fn log_lines_stand_above_the_bars_and_only_with_verbose() {
    let world = slow();
    let arguments = [&SYNC[..], &["-v"]].concat();
    let mut terminal = Terminal::start(world.command(&arguments), "xterm", 200, 200);
    let shown = terminal.until("log lines and bars", |moment| {
        let text = moment.text();
        text.contains("step ended") && text.contains("windows waiting")
    });
    let at = |what: &str| shown.lines.iter().rposition(|line| line.contains(what));
    assert!(at("INFO") < at(" %"), "{}", shown.text());
    let (status, last) = terminal.end(|_| ());
    assert!(status.success(), "{}", last.text());
}

#[test]
fn progress_json_has_a_line_every_second() {
    let world = slow();
    let arguments = [&SYNC[..], &["--progress", "json", "--quiet"]].concat();
    let output = world.run(&arguments);
    assert!(output.status.success(), "{}", output_text(&output));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let last = &lines.last().expect("a line")["progress"];
    assert_eq!(last["total"], WINDOWS, "{text}");
    assert_eq!(last["planned_rows"], WINDOWS * ROWS, "{text}");
}

#[test]
#[ignore = "a worker thread may print a panic of the runtime that shuts down"]
fn an_interrupted_sync_says_so_in_one_line_and_continues() {
    let world = slow();
    let mut terminal = Terminal::start(world.command(&SYNC), "xterm", 200, 24);
    terminal.until("the first windows are done", |moment| {
        moment.text().contains("/12 windows") && !moment.text().contains(" 0/12 windows")
    });
    terminal.signal(Signal::INT);
    let (status, last) = terminal.end(|_| ());
    assert_eq!(status.code(), Some(130), "{}", last.text());
    assert_eq!(last.lines.len(), 1, "{}", last.text());
    let line = &last.lines[0];
    assert!(
        line.starts_with("Interrupted: ")
            && line.ends_with(" of 12 windows done; run the same command again to continue."),
        "{line}"
    );

    // The same without a terminal: the log has no error, and standard output stays empty.
    let child = world.command(&SYNC).spawn().unwrap();
    let log = || world.leases_of(child.id());
    let begun = std::time::Instant::now();
    while log().is_empty() {
        assert!(
            begun.elapsed() < crate::support::PATIENCE,
            "it takes no lease"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    crate::support::signal(Some(&child), Signal::INT);
    let output = child.wait_with_output().unwrap();
    let text = output_text(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(output.stdout.is_empty(), "{text}");
    assert!(!text.contains("ERROR"), "{text}");
    assert!(text.contains("Interrupted: "), "{text}");

    throttle(&world, 100_000_000);
    world.succeed(&SYNC);
    assert_eq!(world.state("cold.trades"), world.state("hot.trades"));
}

/// Runs a command whose reader has ended, as with `| head`.
fn into_closed_pipe(mut command: Command) {
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command
        .stdout(writer)
        .stderr(Stdio::piped())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = output_text(&output);
    assert!(output.status.success(), "{arguments:?}: {text}");
    for word in ["panicked", "error:", "roken pipe"] {
        assert!(!text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 5000);
    world.succeed(&["sync", "--dataset", "trades"]);
    for line in [
        "sync --dataset trades --from 2026-01-01",
        "verify",
        "gc --dry-run",
        "inspect --calendar",
        "inspect --output json",
        "tasks list",
        "config show",
        "config check",
        "schema show --tier hot",
        "completions bash",
        "generate --to - --count 20000",
        "replay --dataset trades --into jsonl",
        "replay --dataset trades --into csv",
        "replay --dataset trades --into arrow",
        "replay --dataset trades --into parquet",
        "replay --dataset trades --dry-run",
    ] {
        let arguments: Vec<_> = line.split(' ').collect();
        into_closed_pipe(world.command(&arguments));
    }
    let mut help = mpsync();
    help.arg("--help");
    into_closed_pipe(help);
}

#[test]
fn standard_output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let world = World::bare("");
    let mut command = world.command(&["config", "show"]);
    let output = command.stdout(full).output().unwrap();
    let text = output_text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("error: writing to standard output: "),
        "{text}"
    );
}

#[test]
fn cleanup_by_hand_asks_on_a_terminal() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 1000);
    let cleanup = ["sync", "--dataset", "trades", "--cleanup"];
    for (answer, left) in [("n\n", 1000), ("y\n", 0)] {
        let mut terminal = Terminal::start(world.command(&cleanup), "xterm", 120, 24);
        let asked = terminal.until("the question", |moment| moment.text().contains("[y/N]"));
        assert!(
            asked
                .text()
                .contains("trades 2026-01-01T05: 1,000 rows from hot"),
            "{}",
            asked.text()
        );
        terminal.send(answer);
        let (status, last) = terminal.end(|_| ());
        assert!(status.success(), "{}", last.text());
        let count = world.number("SELECT count() FROM hot.trades");
        assert_eq!(count, left, "{answer:?}: {}", last.text());
    }
    // Nothing to delete, nothing to ask; and --yes does not ask.
    world.insert_trades("trades", "2026-01-01 06", 5000, 10);
    let arguments = [&cleanup[..], &["--yes"]].concat();
    for _ in 0..2 {
        let (status, last) =
            Terminal::start(world.command(&arguments), "xterm", 120, 24).end(|_| ());
        assert!(
            status.success() && !last.text().contains("[y/N]"),
            "{}",
            last.text()
        );
    }
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
}

#[test]
fn an_empty_archive_is_an_error_where_a_full_one_is_expected() {
    let world = World::new();
    // Makes the archive, which stays empty.
    world.succeed(&["sync", "--dataset", "trades"]);
    for arguments in [
        &["verify"][..],
        &["import", "--dataset", "trades"],
        &["replay", "--into", "null"],
    ] {
        let said = world.fail(2, arguments);
        assert!(
            said.contains("is empty") && said.contains("archive.path"),
            "{arguments:?}: {said}"
        );
    }
    // A selection without windows in an archive that has some is none.
    world.insert_trades("trades", "2026-01-01 05", 1, 10);
    world.succeed(&["sync", "--dataset", "trades"]);
    world.succeed(&["verify", "--from", "2030-01-01"]);
    world.succeed(&["import", "--from", "2030-01-01"]);
    world.succeed(&["replay", "--into", "null", "--from", "2030-01-01"]);
}
