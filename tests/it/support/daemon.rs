//! `mpsync run` as a process of its own, against servers of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, TierRole, builtin};
use rustix::process::{Pid, Signal, kill_process};

use super::clickhouse::ClickHouse;
use super::nats::NatsServer;
use super::{PATIENCE, program, until};

/// Of how many daemons a failed test shows the log.
const LOGS_SHOWN: u32 = 8;

/// Servers, tables and the settings that point to them.
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) clickhouse: ClickHouse,
    /// As environment variables.
    pub(crate) settings: Vec<(String, String)>,
    logs: tempfile::TempDir,
    started: std::cell::Cell<u32>,
}

impl World {
    /// Starts the servers; makes the tables of these datasets.
    pub(crate) async fn start(tables: &[&str], settings: &[(&str, &str)]) -> Self {
        let (nats, clickhouse) = tokio::join!(NatsServer::start(), ClickHouse::start());
        Self::of(nats, clickhouse, tables, settings).await
    }

    /// The same where NATS may be killed: what it has acknowledged is on disk.
    pub(crate) async fn start_syncing(tables: &[&str], settings: &[(&str, &str)]) -> Self {
        let (nats, clickhouse) = tokio::join!(NatsServer::start_syncing(), ClickHouse::start());
        Self::of(nats, clickhouse, tables, settings).await
    }

    /// With servers that run already; makes the tables of these datasets.
    pub(crate) async fn of(
        nats: NatsServer,
        clickhouse: ClickHouse,
        tables: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let mut world = Self::without_tables(nats, clickhouse);
        for (name, value) in settings {
            world.set(name, value);
        }
        let datasets: Vec<&Dataset> = tables.iter().map(|name| dataset(name)).collect();
        world
            .hot()
            .apply_schema(&datasets)
            .await
            .expect("the tables are made");
        world
    }

    /// With servers that run already.
    pub(crate) fn without_tables(nats: NatsServer, clickhouse: ClickHouse) -> Self {
        let port = clickhouse.port().to_string();
        let url = nats.url();
        let base = [
            ("MPSYNC__NATS__URL", url.as_str()),
            ("MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT", port.as_str()),
            ("MPSYNC__HOT_STORAGE__FLUSH_INTERVAL", "0.2"),
            ("MPSYNC__HOT_STORAGE__REQUEST_TIMEOUT_SECONDS", "10"),
        ];
        let settings = base
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        Self {
            nats,
            clickhouse,
            settings,
            logs: tempfile::tempdir().expect("a folder"),
            started: std::cell::Cell::new(0),
        }
    }

    /// Changes a setting for what is started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn config(&self) -> Config {
        Config::load(None, self.settings.clone()).expect("a good configuration")
    }

    /// Hot as the test asks it, which gives it more time than the daemons do.
    pub(crate) fn hot(&self) -> Tier {
        let mut hot = self.config().hot;
        hot.request_timeout = PATIENCE;
        Tier::new(TierRole::Hot, &hot)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MPSYNC__")) {
            command.env_remove(name);
        }
        command
            .env_remove("MPSYNC_CONFIG")
            .envs(self.settings.clone())
            .args(["run", "--output", "json", "--log", "mpsync=debug"]);
        own_ports(&mut command);
        let says_token = |(name, _): &(String, String)| name == "MPSYNC__HTTP__TOKEN";
        if !self.settings.iter().any(says_token) {
            own_token(&mut command, self.logs.path());
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// The token of its daemons, once one has made it.
    pub(crate) fn token(&self) -> String {
        let text = std::fs::read_to_string(self.logs.path().join("token"));
        text.expect("a token").trim().to_owned()
    }

    /// The lines of all daemons so far that contain a text, each with the daemon's number.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for number in 1..=self.started.get() {
            let log = std::fs::read_to_string(self.logs.path().join(format!("{number}.log")));
            let log = log.unwrap_or_default();
            let lines = log.lines().filter(|line| line.contains(text));
            found.extend(lines.map(|line| format!("daemon {number}: {line}")));
        }
        found
    }

    /// Starts a daemon.
    pub(crate) fn daemon(&self, arguments: &[&str]) -> Daemon {
        self.started.set(self.started.get() + 1);
        let log = self.logs.path().join(format!("{}.log", self.started.get()));
        Daemon::spawn(self.command(arguments), log)
    }

    /// Ingests all that is in the stream; returns what the program reports.
    pub(crate) async fn drain(&self, dataset: &str) -> serde_json::Value {
        let output = self.run(&["--drain", "--dataset", dataset]).await;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let all: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("one JSON document");
        all["datasets"][0].clone()
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let ended = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        ended.expect("the program ends").expect("the program runs")
    }

    /// A query's result.
    pub(crate) async fn ask<T>(&self, sql: &str) -> Vec<T>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let sql = sql.replace("hot.", "marketprism_hot.");
        self.hot()
            .query(&sql)
            .fetch_all::<T>()
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> u64 {
        self.ask::<u64>(&format!("SELECT count() FROM hot.{table}"))
            .await[0]
    }

    /// Waits until a table has at least so many rows.
    pub(crate) async fn until_rows(&self, table: &str, rows: u64) {
        until(&format!("{rows} rows in {table}"), async || {
            self.count(table).await >= rows
        })
        .await;
    }
}

impl Drop for World {
    /// A failed test shows what its last daemons said last.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.logs.disable_cleanup(true);
        eprintln!(
            "the daemons' logs are kept in {}",
            self.logs.path().display()
        );
        let started = self.started.get();
        for number in started.saturating_sub(LOGS_SHOWN) + 1..=started {
            let log = std::fs::read_to_string(self.logs.path().join(format!("{number}.log")));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- daemon {number}, its last lines of {}", lines.len());
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// A built-in dataset.
pub(crate) fn dataset(name: &str) -> &'static Dataset {
    builtin()
        .iter()
        .find(|d| d.name.as_str() == name)
        .expect("a built-in dataset")
}

/// Ports of its own, since what else runs on the machine may hold the usual ones, and its token in this folder.
pub(crate) fn own_places(command: &mut Command, folder: &std::path::Path) {
    own_ports(command);
    own_token(command, folder);
}

fn own_ports(command: &mut Command) {
    command
        .args(["--hot-listen", "127.0.0.1:0"])
        .args(["--cold-listen", "127.0.0.1:0"]);
}

fn own_token(command: &mut Command, folder: &std::path::Path) {
    command.arg("--token-file").arg(folder.join("token"));
}

/// A running daemon. Killed with the value.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command that is one, and has what it says in this file.
    pub(crate) fn spawn(mut command: Command, log: PathBuf) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("the daemon starts");
        Self { child, log }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.signal_if_alive(signal).expect("the process is there");
    }

    pub(crate) fn signal_if_alive(&self, signal: Signal) -> rustix::io::Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the daemon's end", async || {
            status = self.child.try_wait().expect("a status");
            status.is_some()
        })
        .await;
        status.expect("it ended")
    }

    /// Whether and how it has ended.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a status")
    }

    /// Returns its log lines with this message.
    pub(crate) fn lines(&self, message: &str) -> Vec<serde_json::Value> {
        let log = self.log();
        log.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|line| line["message"] == message)
            .collect()
    }

    /// Where its HTTP listens: of the hot side first.
    pub(crate) async fn http(&self) -> Vec<String> {
        let mut found = Vec::new();
        until("http to listen", async || {
            let log = self.log();
            let lines = log.lines().filter(|line| line.contains("http listens"));
            found = lines
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .filter_map(|line| Some(line["address"].as_str()?.to_owned()))
                .collect();
            !found.is_empty()
        })
        .await;
        found
    }

    /// Returns its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
