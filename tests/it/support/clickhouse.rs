//! The embedded ClickHouse engine in a process of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{free_port, until_listening};

/// An engine that can be killed and started again on the same port and folder.
pub(crate) struct ClickHouse {
    child: Option<Child>,
    folder: tempfile::TempDir,
    port: u16,
    authenticated: bool,
}

/// `MPSYNC_TEST_BIN`, or the program under test.
fn program() -> PathBuf {
    std::env::var_os("MPSYNC_TEST_BIN").map_or_else(super::program, PathBuf::from)
}

/// A folder in memory: in a container often one of 64 MiB.
const MEMORY: &str = "/dev/shm";
/// The space that the data of a test may need there.
const ROOM: u64 = 2 << 30;

fn has_room(folder: &str) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|system| system.f_bavail * system.f_frsize >= ROOM)
}

impl ClickHouse {
    /// Starts one that asks for no password.
    pub(crate) async fn start() -> Self {
        Self::start_with(false).await
    }

    /// Starts one that asks for a password, or none.
    pub(crate) async fn start_with(authenticated: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_below(folder, authenticated).await
    }

    /// Starts one that asks for no password, and keeps its data in memory where the system has room enough there.
    pub(crate) async fn start_in_memory() -> Self {
        let folder = match has_room(MEMORY) {
            true => tempfile::tempdir_in(MEMORY),
            false => tempfile::tempdir(),
        };
        Self::start_below(folder.expect("a folder"), false).await
    }

    async fn start_below(folder: tempfile::TempDir, authenticated: bool) -> Self {
        let mut server = Self {
            child: None,
            folder,
            port: free_port(),
            authenticated,
        };
        server.launch().await;
        server
    }

    /// Starts it again after [`ClickHouse::kill`].
    pub(crate) async fn launch(&mut self) {
        let path = self.folder.path().join("log");
        let log = File::create(&path).expect("a log file");
        let mut command = Command::new(program());
        command
            .args(["engine", "--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .stdout(Stdio::null())
            .stderr(log);
        if !self.authenticated {
            command.arg("--no-auth");
        }
        let child = self
            .child
            .insert(command.spawn().expect("the engine starts"));
        until_listening(child, self.port, &path).await;
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    /// Stops it or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        super::signal(self.child.as_ref(), signal);
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        self.kill();
    }
}
