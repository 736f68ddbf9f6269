//! nats-server and the engine as child processes on free ports: for the demo and the tests, the engine also for configurations
//! without a ClickHouse server.
//!
//! A child ends with its parent, however the parent ends: it runs below a shell that waits for the end of its standard input, a
//! pipe that only the parent holds open.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use mpsync_config::Config;
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_net::Secret;

/// How long a server may take to start or stop.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs its arguments in the background; ends them when its standard input ends, or with them.
const GUARD: &str = r#"
"$@" </dev/null & child=$!
exec 3<&0
( cat <&3 >/dev/null; kill -TERM $child 2>/dev/null ) >/dev/null 2>&1 & guard=$!
exec 3<&- 0</dev/null
wait $child; code=$?
kill $guard 2>/dev/null
exit $code
"#;

/// A child process that ends with its parent. Dropping the value asks it to end; [`Server::stop`] waits for its exit.
#[derive(Debug)]
struct Server {
    name: &'static str,
    child: Child,
    /// Closing it ends the child. Not left in `child`, which closes it as soon as it is waited for.
    stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts `program`, with its standard output in a pipe if `piped`, and all other output appended to `log`.
    ///
    /// The log is locked, and the child inherits the lock: two servers never run in one folder, and a server whose parent was
    /// killed is waited for.
    async fn start(
        name: &'static str,
        program: &Path,
        args: &[&std::ffi::OsStr],
        log: &Path,
        piped: bool,
    ) -> Result<Self> {
        let context = || format!("starting {name} ({})", program.display());
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .context(context)?;
        lock(&file, log).await.context(context)?;
        let stdout = if piped {
            Stdio::piped()
        } else {
            file.try_clone().context(context)?.into()
        };
        let mut child = Command::new("/bin/sh")
            .args(["-c", GUARD, name])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(file)
            .kill_on_drop(false)
            // Ctrl-C must reach only the parent, which ends the child when it is no longer needed.
            .process_group(0)
            .spawn()
            .context(context)?;
        let stdin = child.stdin.take();
        Ok(Self { name, child, stdin })
    }

    /// Returns an error with the end of its log if the child has ended already.
    fn check_alive(&mut self, log: &Path) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let text = std::fs::read_to_string(log)
                    .unwrap_or_else(|e| format!("cannot read its log: {e}"));
                let lines: Vec<_> = text.lines().rev().take(5).collect();
                let end = lines.into_iter().rev().collect::<Vec<_>>().join("\n  ");
                Err(Error::engine(format!(
                    "{} ended with {status}; the end of its log:\n  {end}",
                    self.name
                )))
            }
            Err(e) => Err(Error::from(e).context(format!("checking {}", self.name))),
        }
    }

    /// Asks the child to end and waits for its exit.
    async fn stop(mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = tokio::time::timeout(START_TIMEOUT, self.child.wait())
            .await
            .map_err(|_| Error::engine(format!("{} does not stop", self.name)))?;
        status
            .map(drop)
            .context(|| format!("waiting for {} to stop", self.name))
    }
}

/// Locks a server's log; waits for a server that is about to end to release it.
async fn lock(file: &std::fs::File, path: &Path) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::Error(e)) => return Err(e.into()),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(Error::busy(format!(
                    "another server still writes to {}",
                    path.display()
                ))
                .with_hint("check whether another mpsync runs in this folder"));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A nats-server with JetStream on files.
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
    /// The URL for clients.
    pub url: String,
}

/// The file that nats-server writes below `--ports_file_dir`.
#[derive(Deserialize)]
struct NatsPorts {
    nats: Vec<String>,
}

impl NatsServer {
    /// Starts nats-server on a free port of loopback, with its streams below `folder`.
    pub async fn start(folder: &Path) -> Result<Self> {
        let program = find_nats_server()?;
        std::fs::create_dir_all(folder).context(|| format!("creating {}", folder.display()))?;
        for old in port_files(folder)? {
            std::fs::remove_file(&old).context(|| format!("removing {}", old.display()))?;
        }
        let log = folder.join("nats-server.log");
        let dir = folder.as_os_str();
        let args = [
            "-js".as_ref(),
            "-sd".as_ref(),
            dir,
            "-a".as_ref(),
            "127.0.0.1".as_ref(),
            "-p".as_ref(),
            "-1".as_ref(),
        ];
        let args = [&args[..], &["--ports_file_dir".as_ref(), dir]].concat();
        let mut server = Server::start("nats-server", &program, &args, &log, false).await?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            server.check_alive(&log)?;
            let found = port_files(folder)?
                .first()
                .and_then(|path| std::fs::read(path).ok());
            if let Some(ports) =
                found.and_then(|json| serde_json::from_slice::<NatsPorts>(&json).ok())
                && let Some(url) = ports.nats.into_iter().next()
            {
                return Ok(Self { server, url });
            }
            if Instant::now() > deadline {
                return Err(Error::engine(format!(
                    "nats-server does not answer; see {}",
                    log.display()
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the child to end and waits for its exit.
    pub async fn stop(self) -> Result<()> {
        self.server.stop().await
    }
}

fn port_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).context(|| format!("listing {}", folder.display()))?;
    Ok(entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "ports"))
        .collect())
}

/// Returns the path of nats-server: `MPSYNC_NATS_SERVER`, the one that `just tools` fetched, or the one on the `PATH`.
fn find_nats_server() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MPSYNC_NATS_SERVER") {
        return Ok(path.into());
    }
    let fetched = cache_folder().map(|c| c.join("nats-server-2.15.1/nats-server"));
    let on_path = std::env::var_os("PATH").map(|p| {
        std::env::split_paths(&p)
            .map(|d| d.join("nats-server"))
            .collect::<Vec<_>>()
    });
    let candidates = fetched.into_iter().chain(on_path.unwrap_or_default());
    candidates.into_iter().find(|p| p.is_file()).ok_or_else(|| {
        Error::engine("cannot find nats-server on this machine")
            .with_hint("fetch it with `just tools` (or `npx --yes rust-just tools`), or set MPSYNC_NATS_SERVER to its path")
    })
}

/// Returns the user's cache folder of mpsync.
fn cache_folder() -> Option<PathBuf> {
    user_folder("XDG_CACHE_HOME", ".cache")
}

/// Returns the user's data folder of mpsync by the XDG base directory specification: `~/.local/share/mpsync`.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    user_folder("XDG_DATA_HOME", ".local/share")
}

fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set(variable)
        .or_else(|| set("HOME").map(|home| home.join(below_home)))
        .map(|folder| folder.join("mpsync"))
}

/// The engine's log, in its folder: locked while it runs.
const ENGINE_LOG: &str = "engine.log";
/// The file with the URL of the engine.
const ADDRESS: &str = "address";

fn point(config: &mut Config, url: &str, password: &Secret) {
    for tier in [&mut config.hot, &mut config.cold] {
        url.clone_into(&mut tier.url);
        "default".clone_into(&mut tier.user);
        tier.password = password.clone();
    }
}

/// The embedded engine as `mpsync engine`.
#[derive(Debug)]
pub struct EngineServer {
    server: Server,
    folder: PathBuf,
    /// The URL for clients.
    pub url: String,
    /// The password of the user `default`.
    pub password: Secret,
    /// The file with that password.
    pub password_file: PathBuf,
}

impl EngineServer {
    /// Starts `program engine` on a free port of loopback, its data below `folder`.
    pub async fn start(program: &Path, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).context(|| format!("creating {}", folder.display()))?;
        let log = folder.join(ENGINE_LOG);
        let data = folder.join("data");
        let args = ["engine".as_ref(), "--data".as_ref(), data.as_os_str()];
        let args = [&args[..], &["--listen".as_ref(), "127.0.0.1:0".as_ref()]].concat();
        let mut server = Server::start("mpsync engine", program, &args, &log, true).await?;
        let Some(stdout) = server.child.stdout.take() else {
            return Err(Error::engine("the engine has no standard output"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix("listening on ") {
                    return Ok(Some(url.trim().to_owned()));
                }
            }
            Ok::<_, std::io::Error>(None)
        };
        let url = match tokio::time::timeout(START_TIMEOUT, listening).await {
            Ok(Ok(Some(url))) => url,
            Ok(Err(e)) => return Err(Error::from(e).context("reading the engine's output")),
            Ok(Ok(None)) => {
                // Its output has ended, so it is about to exit; only then is its log complete.
                let ended = tokio::time::timeout(START_TIMEOUT, server.child.wait()).await;
                ended.map_err(|_| {
                    Error::engine("the engine closed its output and does not exit")
                })??;
                server.check_alive(&log)?;
                return Err(Error::engine(format!(
                    "the engine does not say where it listens; see {}",
                    log.display()
                )));
            }
            Err(_) => {
                return Err(Error::engine(format!(
                    "the engine does not answer; see {}",
                    log.display()
                )));
            }
        };
        // No other reader exists, and a full pipe must not stop the engine.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let password_file = data.join("password");
        let address = folder.join(ADDRESS);
        std::fs::write(&address, &url).context(|| format!("writing {}", address.display()))?;
        Ok(Self {
            server,
            folder: folder.to_owned(),
            url,
            password: Secret::from_file(&password_file)?,
            password_file,
        })
    }

    /// Points both tiers to the engine.
    pub fn serve(&self, config: &mut Config) {
        point(config, &self.url, &self.password);
    }

    /// Points both tiers to the engine that another process has started in this folder; returns `false` if none runs.
    ///
    /// The lock on its log proves that it runs, so that no password is sent to a process that reuses its old port.
    pub fn serve_running(config: &mut Config, folder: &Path) -> Result<bool> {
        let Ok(log) = std::fs::File::open(folder.join(ENGINE_LOG)) else {
            return Ok(false);
        };
        match log.try_lock_shared() {
            Ok(()) => return Ok(false),
            Err(std::fs::TryLockError::Error(e)) => return Err(e.into()),
            Err(std::fs::TryLockError::WouldBlock) => {}
        }
        let Ok(url) = std::fs::read_to_string(folder.join(ADDRESS)) else {
            return Ok(false);
        };
        // An engine that is about to exit no longer listens; the next one waits for its lock.
        let address = url.trim_start_matches("http://");
        if std::net::TcpStream::connect(address).is_err() {
            return Ok(false);
        }
        let password = Secret::from_file(&folder.join("data/password"))?;
        point(config, &url, &password);
        Ok(true)
    }

    /// Waits until the engine ends by itself, and returns that as an error. Cancel-safe.
    pub async fn ended(&mut self) -> Error {
        let status = self.server.child.wait().await;
        let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        let log = self.folder.join(ENGINE_LOG);
        Error::engine(format!("the embedded engine ended by itself with {status}"))
            .with_hint(format!("see {}", log.display()))
    }

    /// Stops the engine and waits for its exit: then its data can be opened again.
    pub async fn stop(self) -> Result<()> {
        let address = self.folder.join(ADDRESS);
        self.server.stop().await?;
        std::fs::remove_file(&address).context(|| format!("removing {}", address.display()))
    }
}
