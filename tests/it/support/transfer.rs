//! A hot and a cold database of one engine, an archive folder, and the program that transfers between them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use super::engine::Engine;

/// The engine that the tests share while one of them runs.
struct Shared {
    engine: Engine,
    _folder: TempDir,
}

static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
static WORLDS: AtomicU32 = AtomicU32::new(0);

fn shared() -> Arc<Shared> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let started = Arc::new(Shared {
        engine: Engine::start(folder.path(), &["--no-auth"]),
        _folder: folder,
    });
    *shared = Arc::downgrade(&started);
    started
}

/// Hot, cold and archive of one test.
pub(crate) struct World {
    shared: Arc<Shared>,
    folder: TempDir,
    number: u32,
}

impl World {
    /// Databases with the built-in tables, and an empty archive.
    pub(crate) fn new() -> Self {
        Self::bare("").with_tables()
    }

    /// The same with another archive than a folder: what the configuration says of it, and what else it says.
    pub(crate) fn on(archive: &str, more: &str) -> Self {
        Self::made(Some(archive), more).with_tables()
    }

    /// The same with further configuration.
    pub(crate) fn with(more: &str) -> Self {
        Self::bare(more).with_tables()
    }

    fn with_tables(self) -> Self {
        for tier in ["hot", "cold"] {
            self.succeed(&["schema", "apply", "--tier", tier]);
        }
        self
    }

    /// No database yet; `more` is further configuration.
    pub(crate) fn bare(more: &str) -> Self {
        Self::made(None, more)
    }

    fn made(archive: Option<&str>, more: &str) -> Self {
        let shared = shared();
        let folder = tempfile::tempdir().expect("a folder");
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let world = Self {
            shared,
            folder,
            number,
        };
        let port = world.shared.engine.address.port();
        let mut config = String::new();
        for tier in ["hot", "cold"] {
            // For ever: the tests' rows grow older than any default.
            let days = if tier == "cold" {
                ", retention_days: 0"
            } else {
                ""
            };
            let _ = writeln!(
                config,
                "{tier}_storage: {{clickhouse_http_port: {port}, clickhouse_database: {}{days}}}",
                world.database(tier)
            );
        }
        let folder = format!("{{path: {}}}", world.archive().display());
        let _ = writeln!(config, "archive: {}\n{more}", archive.unwrap_or(&folder));
        std::fs::write(world.config(), config).expect("the configuration is written");
        world
    }

    /// The port of the engine.
    pub(crate) fn port(&self) -> u16 {
        self.shared.engine.address.port()
    }

    /// From now on hot is reached through a proxy that adds these settings to each request, as a profile would.
    pub(crate) fn set_hot_profile(&self, settings: &[(&str, &str)]) {
        let text = std::fs::read_to_string(self.config()).expect("it is there");
        let named: Vec<_> = settings
            .iter()
            .map(|(name, value)| (*name, self.named(value)))
            .collect();
        let named: Vec<_> = named.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let port = super::added_settings::start(self.shared.engine.address.port(), &named);
        let lines = text.lines().map(|line| match line.split_once("_port: ") {
            Some(("hot_storage: {clickhouse_http", rest)) => {
                let (_, rest) = rest.split_once(',').expect("more keys");
                format!("hot_storage: {{clickhouse_http_port: {port},{rest}\n")
            }
            _ => format!("{line}\n"),
        });
        std::fs::write(self.config(), lines.collect::<String>()).expect("it is written");
    }

    /// From now on the configuration says this of the archive.
    pub(crate) fn set_archive(&self, section: &str) {
        let text = std::fs::read_to_string(self.config()).expect("it is there");
        let lines = text
            .lines()
            .map(|line| match line.starts_with("archive: ") {
                true => format!("archive: {section}\n"),
                false => format!("{line}\n"),
            });
        std::fs::write(self.config(), lines.collect::<String>()).expect("it is written");
    }

    /// The configuration's file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("mpsync.yaml")
    }

    /// The archive's folder.
    pub(crate) fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// The database of a tier.
    pub(crate) fn database(&self, tier: &str) -> String {
        format!("{tier}_{}", self.number)
    }

    /// Runs a statement in which `hot.` and `cold.` stand for this world's databases; gives its result as text.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.shared.engine.sql(&self.named(sql)).trim().to_owned()
    }

    /// Whether the engine refuses a statement.
    pub(crate) fn refused(&self, sql: &str) -> bool {
        let answer = self.shared.engine.ask("/").send(self.named(sql).as_bytes());
        answer.status != 200
    }

    fn named(&self, sql: &str) -> String {
        sql.replace("hot.", &format!("{}.", self.database("hot")))
            .replace("cold.", &format!("{}.", self.database("cold")))
    }

    /// A number that a query answers.
    pub(crate) fn number(&self, sql: &str) -> u64 {
        let text = self.sql(sql);
        text.parse().unwrap_or_else(|_| panic!("{sql}: {text}"))
    }

    /// The program with this world's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = super::mpsync();
        command.arg("--config").arg(self.config()).args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs the program, which must succeed; gives its standard output.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            output_text(&output)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs the program, which must fail with this exit code; gives what it says of the error.
    pub(crate) fn fail(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{arguments:?}: {}",
            output_text(&output)
        );
        let said = String::from_utf8_lossy(&output.stderr);
        said[said.find("error: ").expect("an error")..].to_owned()
    }

    /// Runs a transfer that must succeed; gives its report of the first dataset.
    pub(crate) fn report(&self, arguments: &[&str]) -> serde_json::Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        let json: serde_json::Value =
            serde_json::from_str(&self.succeed(&arguments)).expect("one JSON document");
        json["datasets"][0].clone()
    }

    /// Inserts trades into a table of hot: `count` rows over the hour (`2026-01-01 05`), with sequences from `first`.
    /// The same sequence always makes the same row.
    pub(crate) fn insert_trades(&self, table: &str, hour: &str, first: u64, count: u64) {
        self.sql(&format!(
            "INSERT INTO hot.{table} SELECT toDateTime64('{hour}:00:00', 3, 'UTC') + (number % 3600), \
             ['binance', 'okx'][1 + number % 2], 'spot', concat('S', toString(number % 5)), 'ws', toString(seq), \
             toDecimal128(seq, 18) / 1000, 1.5, 'buy', if(number % 3 = 0, NULL, true), NULL, NULL, \
             fromUnixTimestamp64Nano(toInt64(1700000000000000000 + seq), 'UTC'), 77, seq \
             FROM (SELECT number, number + {first} AS seq FROM numbers({count}))"
        ));
    }

    /// Count, distinct positions and fingerprint of a table's rows.
    pub(crate) fn state(&self, table: &str) -> String {
        self.sql(&format!(
            "SELECT count(), uniqExact(stream_epoch, stream_seq), sum(cityHash64(tuple(*))) FROM {table}"
        ))
    }

    /// The tables of a tier that are none of its own, but those that only keep an earlier attempt out.
    pub(crate) fn leftovers(&self, tier: &str) -> String {
        self.sql(&format!(
            "SELECT name FROM system.tables WHERE database = '{}' AND engine != 'Null' AND match(name, '_(stage|sealed|check)_')",
            self.database(tier)
        ))
    }

    /// The leases that a process holds: the folder of each, and its attempt.
    pub(crate) fn leases_of(&self, pid: u32) -> Vec<(PathBuf, u64)> {
        let folders = std::fs::read_dir(self.archive().join("_mpsync/leases/trades"));
        let folders = folders.into_iter().flatten().flatten();
        let held = |folder: PathBuf| {
            let attempt = Self::highest_lease(&folder);
            let text = std::fs::read_to_string(folder.join(format!("{attempt:010}.json"))).ok()?;
            let lease: serde_json::Value = serde_json::from_str(&text).ok()?;
            let holder = lease["holder"].as_str()?;
            let is_held = holder.ends_with(&format!(":{pid}")) && lease["released"] == false;
            is_held.then_some((folder, attempt))
        };
        folders.filter_map(|folder| held(folder.path())).collect()
    }

    /// The highest attempt in a folder of leases.
    pub(crate) fn highest_lease(folder: &std::path::Path) -> u64 {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let numbers = files.filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            name.strip_suffix(".json")?.parse().ok()
        });
        numbers.max().unwrap_or(0)
    }

    /// All files of the archive below its datasets, with this ending.
    pub(crate) fn files(&self, ending: &str) -> Vec<PathBuf> {
        Self::files_below(&self.archive(), ending)
    }

    /// All files below a folder with this ending.
    pub(crate) fn files_below(folder: &std::path::Path, ending: &str) -> Vec<PathBuf> {
        fn walk(folder: &std::path::Path, found: &mut Vec<PathBuf>) {
            let Ok(entries) = std::fs::read_dir(folder) else {
                return;
            };
            for entry in entries {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        walk(folder, &mut found);
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found.sort();
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for tier in ["hot", "cold"] {
            let _ = self
                .shared
                .engine
                .ask("/")
                .send(format!("DROP DATABASE IF EXISTS {}", self.database(tier)).as_bytes());
        }
    }
}

/// Returns the output of a program for a failed assertion.
pub(crate) fn output_text(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
