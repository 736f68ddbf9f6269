//! nats-server with JetStream on disk, and messages for it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use rustix::process::Signal;

use super::{PATIENCE, free_port, until, until_listening};

/// How long an answer is waited for that a killed server may never give.
pub(crate) const LOST_ANSWER: Duration = Duration::from_secs(5);
/// For how long a stream knows ids again: what is sent later than that would be another message.
pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// A nats-server that can be killed and started again on the same port and folder.
pub(crate) struct NatsServer {
    program: PathBuf,
    child: Option<Child>,
    folder: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
}

/// `MPSYNC_NATS_SERVER`, the pinned one in the user's cache, or what is in `PATH`.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("MPSYNC_NATS_SERVER") {
        return path.into();
    }
    pinned("2.15.1").unwrap_or_else(|| "nats-server".into())
}

/// One that `scripts/tools` has fetched into the user's cache.
fn pinned(version: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let path = cache?.join(format!("mpsync/nats-server-{version}/nats-server"));
    path.exists().then_some(path)
}

impl NatsServer {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one that cannot set a consumer back, 2.10; `None` where `scripts/tools` has none for this machine.
    pub(crate) async fn start_old() -> Option<Self> {
        let mut server = Self::unstarted(&[]);
        server.program = pinned("2.10.25")?;
        server.launch().await;
        Some(server)
    }

    /// Starts one with more options.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let mut server = Self::unstarted(options);
        server.launch().await;
        server
    }

    /// Ends it in order, as an upgrade does, and starts the newest version on the same store.
    pub(crate) async fn upgrade(&mut self) {
        self.signal(Signal::TERM);
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it ends");
        }
        self.program = program();
        self.launch().await;
    }

    fn unstarted(options: &[&str]) -> Self {
        Self {
            program: program(),
            child: None,
            folder: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            options: options.iter().map(|&o| o.to_owned()).collect(),
        }
    }

    /// Starts one that has on disk what it acknowledges, so that `kill -9` loses none of it.
    pub(crate) async fn start_syncing() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("nats.conf");
        std::fs::write(&config, "jetstream { sync_interval: always }\n").expect("written");
        let mut server = Self {
            program: program(),
            child: None,
            folder,
            port: free_port(),
            options: vec!["--config".into(), config.display().to_string()],
        };
        server.launch().await;
        server
    }

    /// Starts it again after [`NatsServer::kill`].
    pub(crate) async fn launch(&mut self) {
        let path = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.expect("a log file");
        let child = Command::new(&self.program)
            .args([
                "--addr",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--jetstream",
            ])
            .arg("--store_dir")
            .arg(self.folder.path().join("store"))
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts: `just tools` fetches it");
        until_listening(self.child.insert(child), self.port, &path).await;
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

    /// Its store, for damage.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A client that waits until JetStream answers.
    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(self.url())
            .await
            .expect("connects");
        let mut jetstream = jetstream::new(client);
        until("JetStream to answer", async || {
            jetstream.query_account().await.is_ok()
        })
        .await;
        jetstream.set_timeout(PATIENCE);
        jetstream
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Publishes messages in order and returns when the stream has them all.
pub(crate) async fn publish(
    jetstream: &jetstream::Context,
    messages: impl IntoIterator<Item = (String, Vec<u8>)>,
) {
    let mut answers = Vec::new();
    for (subject, payload) in messages {
        let answer = jetstream
            .publish(subject, payload.into())
            .await
            .expect("publishes");
        answers.push(answer);
        if answers.len() >= 500 {
            for answer in answers.drain(..) {
                answer.await.expect("the stream takes it");
            }
        }
    }
    for answer in answers {
        answer.await.expect("the stream takes it");
    }
}

/// Publishes messages under ids, again and again until the stream has them all, whatever happens to the server meanwhile.
///
/// They must be tried again in their order and within the stream's duplicate window.
pub(crate) async fn publish_surely(
    jetstream: &jetstream::Context,
    messages: impl IntoIterator<Item = (u64, (String, Vec<u8>))>,
) {
    let mut jetstream = jetstream.clone();
    jetstream.set_timeout(LOST_ANSWER);
    let messages: Vec<_> = messages.into_iter().collect();
    let begun = std::time::Instant::now();
    loop {
        let mut answers = Vec::new();
        for (id, (subject, payload)) in &messages {
            let message = PublishMessage::build()
                .payload(payload.clone().into())
                .message_id(id.to_string());
            answers.push(jetstream.send_publish(subject.clone(), message).await);
        }
        let mut all = true;
        for answer in answers {
            // Each that fails takes as long as an answer may: one is enough.
            all = match answer {
                Ok(answer) => answer.await.is_ok(),
                Err(_) => false,
            };
            if !all {
                break;
            }
        }
        if all {
            return;
        }
        assert!(
            begun.elapsed() < DUPLICATE_WINDOW,
            "the stream takes no messages"
        );
    }
}
