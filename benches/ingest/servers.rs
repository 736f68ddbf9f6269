//! nats-server and the engine as children, and what a process has used.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mpsync_core::error::{Context as _, Error, Result};

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// `/proc` counts processor time in hundredths of a second.
const TICKS_PER_SEC: f64 = 100.0;

/// The program, built as the benchmark is.
pub(crate) fn mpsync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpsync"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MPSYNC__")) {
        command.env_remove(name);
    }
    command.env_remove("MPSYNC_CONFIG").stdin(Stdio::null());
    command
}

/// A child process. Ends with the value.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Seconds that it has been on processors, all its threads together.
    pub(crate) fn cpu_secs(&self) -> f64 {
        cpu_secs(&self.0.id().to_string())
    }

    /// The most memory that it has had, in megabytes.
    pub(crate) fn peak_megabytes(&self) -> f64 {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.map_or(f64::NAN, |kib| kib * 1024.0 / 1e6)
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(std::io::Error::from)?;
        }
        self.0
            .wait()
            .map(drop)
            .context(|| "waiting for a child's end")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds that a process has been on processors; `self` is this one. Not a number where there is no `/proc`.
pub(crate) fn cpu_secs(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => (user + system) / TICKS_PER_SEC,
        _ => f64::NAN,
    }
}

/// A nats-server with JetStream on files.
pub(crate) struct Nats {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Nats {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let child = Command::new(nats_server())
            .args([
                "--jetstream",
                "--addr",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .arg("--store_dir")
            .arg(folder.join("nats"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("nats.log"))?)
            .spawn()
            .context(|| "starting nats-server; `just tools` fetches it")?;
        let process = Process(child);
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > START_TIMEOUT {
                return Err(Error::nats("nats-server does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            process,
            url: format!("nats://127.0.0.1:{port}"),
        })
    }
}

/// `MPSYNC_NATS_SERVER`, what `just tools` fetched, or the one on the `PATH`.
fn nats_server() -> PathBuf {
    if let Some(path) = std::env::var_os("MPSYNC_NATS_SERVER") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let pinned = cache.map(|c| c.join("mpsync/nats-server-2.15.1/nats-server"));
    pinned
        .filter(|path| path.exists())
        .unwrap_or_else(|| "nats-server".into())
}

/// An engine that asks for no password.
pub(crate) struct Engine {
    pub(crate) process: Process,
    pub(crate) port: String,
}

impl Engine {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let mut child = mpsync()
            .args(["engine", "--listen", "127.0.0.1:0", "--no-auth", "--data"])
            .arg(folder.join("engine"))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("engine.log"))?)
            .spawn()
            .context(|| "starting the engine")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let process = Process(child);
        match line.trim().rsplit_once(':') {
            Some((_, port)) => Ok(Self {
                process,
                port: port.to_owned(),
            }),
            None => Err(Error::engine(
                "the engine does not start; `just tools` fetches its library",
            )),
        }
    }
}
