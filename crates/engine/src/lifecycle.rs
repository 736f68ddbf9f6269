//! A data folder opened by the engine, from lock to shutdown.

use std::ffi::CString;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use mpsync_core::error::{Context, Error, Result};

use crate::exception::Exception;
use crate::ffi::{Connection, Library};
use crate::files::roots::FileRoots;
use crate::query::running::RunningQueries;
use crate::query::session::Sessions;

/// The default number of requests that run at once; further ones wait.
const REQUESTS_MAX: u32 = 64;
/// How long cancelled requests may take to end.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// The engine's own access control. Statements have only these grants, however they are written: table functions on
/// files, sources other than HTTP and S3, executable dictionaries and the end of the process are revoked; settings that
/// name files, or contain expressions or another language as text, are constant. The rest is in `statement/policy.rs`.
const USERS_XML: &str = "<clickhouse><profiles><default><constraints>\
<format_schema><readonly/></format_schema>\
<output_format_schema><readonly/></output_format_schema>\
<format_template_row><readonly/></format_template_row>\
<format_template_resultset><readonly/></format_template_resultset>\
<format_schema_source><readonly/></format_schema_source>\
<dialect><readonly/></dialect>\
<additional_result_filter><readonly/></additional_result_filter>\
<additional_table_filters><readonly/></additional_table_filters>\
<parallel_replicas_custom_key><readonly/></parallel_replicas_custom_key>\
<input_format_values_interpret_expressions><readonly/></input_format_values_interpret_expressions>\
<input_format_values_deduce_templates_of_expressions><readonly/></input_format_values_deduce_templates_of_expressions>\
</constraints>\
<input_format_values_interpret_expressions>0</input_format_values_interpret_expressions>\
<input_format_values_deduce_templates_of_expressions>0</input_format_values_deduce_templates_of_expressions>\
</default></profiles><quotas><default/></quotas><users><default>\
<password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota><grants>\
<query>GRANT ALL ON *.*</query>\
<query>REVOKE SOURCES ON *.*</query>\
<query>GRANT READ, WRITE ON URL</query>\
<query>GRANT READ, WRITE ON S3</query>\
<query>REVOKE ACCESS MANAGEMENT ON *.*</query>\
<query>REVOKE SET DEFINER ON *</query>\
<query>REVOKE NAMED COLLECTION ADMIN ON *</query>\
<query>REVOKE CREATE DICTIONARY, BACKUP ON *.*</query>\
<query>REVOKE SYSTEM SHUTDOWN, SYSTEM FAILPOINT, SYSTEM THREAD FUZZER, SYSTEM LISTEN, SYSTEM INSTRUMENT ADD, SYSTEM INSTRUMENT REMOVE ON *.*</query>\
</grants></default></users></clickhouse>\n";

/// The options of an engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The folder with everything: data, password, lock, pipes.
    pub data_dir: PathBuf,
    /// The most bytes of memory for all queries; the engine's own default is 90 % of the machine's.
    pub memory_limit_bytes: Option<u64>,
    /// Requests that run at once; further ones wait.
    pub requests_max: u32,
    /// Folders that `file()` may read, beside DIR/user_files.
    pub readable: Vec<PathBuf>,
}

impl EngineOptions {
    /// Returns the defaults for a data folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            memory_limit_bytes: None,
            requests_max: REQUESTS_MAX,
            readable: Vec::new(),
        }
    }
}

/// An open engine. Clones share it; [`Engine::close`] ends it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<EngineInner>,
}

pub(crate) struct EngineInner {
    library: &'static Library,
    arguments: Vec<CString>,
    /// The folder of the pipes of results.
    pub(crate) pipes: PathBuf,
    /// The folder of spooled bodies and answers.
    pub(crate) temporary: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) files: FileRoots,
    pub(crate) sessions: Sessions,
    pub(crate) running: RunningQueries,
    permits: Arc<Semaphore>,
    requests_max: u32,
    /// A connection that keeps the engine up while no request runs.
    keeper: Mutex<Option<Connection>>,
    _lock: File,
}

/// The engine's identity, for the headers of answers.
pub(crate) struct Identity {
    pub(crate) version: String,
    pub(crate) timezone: String,
    pub(crate) display_name: String,
}

impl Engine {
    /// Opens a data folder with the defaults; creates it if it does not exist. Blocks for about 0.2 s, longer with many
    /// tables.
    ///
    /// # Errors
    ///
    /// `Busy` if another process, or this one, has an open engine already.
    pub fn open(data_dir: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(&EngineOptions::new(data_dir))
    }

    /// Opens a data folder.
    pub fn open_with(options: &EngineOptions) -> Result<Self> {
        let library = crate::library::load(&crate::library::library_path()?)?;
        let folder = &options.data_dir;
        let context = || format!("opening the data folder {}", folder.display());
        let slot = Slot::acquire().context(context)?;
        make_folder(folder).context(context)?;
        let folder = folder.canonicalize().context(context)?;
        let lock = lock(&folder)?;
        let [data, files, pipes, temporary] =
            ["data", "user_files", "pipes", "tmp"].map(|name| folder.join(name));
        // Pipes and spooled answers of an earlier run have no reader any more.
        for stale in [&pipes, &temporary] {
            match fs::remove_dir_all(stale) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::from(e).context(context()));
                }
                _ => {}
            }
        }
        for folder in [&data, &files, &pipes, &temporary] {
            make_folder(folder).context(context)?;
        }
        let reachable = FileRoots::new(&files, &options.readable)?;
        let (config, users) = (folder.join("engine.xml"), folder.join("users.xml"));
        fs::write(&config, "<clickhouse/>\n").context(context)?;
        fs::write(&users, USERS_XML).context(context)?;

        let mut arguments = vec![
            "mpsync".to_owned(),
            format!("--path={}", text(&data)?),
            format!("--user_files_path={}", text(&files)?),
            format!("--config-file={}", text(&config)?),
            format!("--users_config={}", text(&users)?),
        ];
        if let Some(bytes) = options.memory_limit_bytes {
            arguments.push(format!("--max_server_memory_usage={bytes}"));
        }
        let arguments = arguments
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Error::usage("the data folder's name contains a zero byte"))?;
        let refused = || {
            Error::engine("the engine refused to open it; its message is on stderr above")
                .context(context())
        };
        let mut keeper = library.connect(&arguments).ok_or_else(refused)?;
        let identity =
            identity(&mut keeper).map_err(|e| Error::engine(e.text).context(context()))?;
        tracing::info!(folder = %folder.display(), version = identity.version, "engine open");
        slot.keep();
        let inner = EngineInner {
            library,
            arguments,
            pipes,
            temporary,
            identity,
            files: reachable,
            sessions: Sessions::default(),
            running: RunningQueries::default(),
            permits: Arc::new(Semaphore::new(options.requests_max as usize)),
            requests_max: options.requests_max,
            keeper: Mutex::new(Some(keeper)),
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Ends the process at once, whatever the engine is doing. Acknowledged data is on disk; running statements are lost.
    pub fn end_process(code: i32) -> ! {
        crate::ffi::end_process(code)
    }

    /// Returns the version of ClickHouse.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.identity.version
    }

    /// Closes the engine: waits up to `deadline` for running requests, cancels the rest, closes all connections and stops
    /// merges. Another process can then open the data; the library cannot be started a second time in this one.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: dropped, it leaves the engine as it is until the process ends. The data stays consistent.
    pub async fn close(self, deadline: Duration) {
        let inner = &self.inner;
        if timeout(deadline, inner.all_ended()).await.is_err() {
            tracing::warn!("requests still running at the deadline, cancelling them");
            let this = Arc::clone(inner);
            let killing = tokio::task::spawn_blocking(move || this.kill("%/* mpsync:%"));
            let ended = timeout(CANCEL_GRACE, async {
                tokio::join!(killing, inner.all_ended())
            })
            .await;
            if ended.is_err() {
                tracing::warn!("cancelled requests do not end, leaving them");
                return;
            }
        }
        let this = Arc::clone(inner);
        let stopped = tokio::task::spawn_blocking(move || {
            this.sessions.clear();
            drop(
                this.keeper
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            this.library.shutdown()
        });
        // Refused if there was a MergeTree table: some idle threads stay. Parts are on disk when an insert returns, so
        // ending the process does not harm the data.
        let all_threads = stopped.await.unwrap_or(false);
        tracing::info!(all_threads, "engine closed");
    }
}

impl EngineInner {
    /// Opens a connection.
    pub(crate) fn connect(&self) -> Result<Connection, Exception> {
        let refused = || Exception::internal("the engine accepts no more connections");
        self.library.connect(&self.arguments).ok_or_else(refused)
    }

    /// Waits for a permit to run.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: dropped, it leaves the queue.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit, Exception> {
        let closed = |_| Exception::internal("the engine is shutting down");
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(closed)
    }

    async fn all_ended(&self) {
        let _ = self.permits.acquire_many(self.requests_max).await;
    }

    /// Cancels the queries whose text matches `pattern`. Blocks.
    ///
    /// Without SYNC, which hangs: the query ends at its next block.
    pub(crate) fn kill(&self, pattern: &str) {
        let sql = format!(
            "KILL QUERY WHERE query LIKE {} ASYNC",
            crate::statement::lexer::quoted(pattern)
        );
        let killed = self
            .connect()
            .and_then(|mut c| c.query(sql.as_bytes(), "TabSeparated", &[]));
        if let Err(e) = killed {
            tracing::warn!(error = %e, "cannot cancel a query");
        }
    }
}

fn identity(connection: &mut Connection) -> Result<Identity, Exception> {
    let answer = connection.query(
        b"SELECT version(), timezone(), hostName()",
        "TabSeparated",
        &[],
    )?;
    let line = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
    let mut fields = line.split('\t').map(str::to_owned);
    let mut next = || fields.next().unwrap_or_default();
    Ok(Identity {
        version: next(),
        timezone: next(),
        display_name: next(),
    })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::usage(format!("the data folder {} is not UTF-8", path.display())))
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// The slot for the process's only engine. Taken for good once an engine is open: the library cannot be started a
/// second time.
struct Slot;

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Slot {
    fn acquire() -> Result<Self> {
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Error::busy(
                "this process has opened an engine already, and the library allows one per process",
            )
            .with_hint("run a second engine as a process of its own: `mpsync engine`"));
        }
        Ok(Self)
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// Locks `DIR/lock` for as long as the file is open.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .context(|| format!("opening the lock {}", path.display()))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::busy(format!(
            "the data folder {} is held by another engine",
            folder.display()
        ))
        .with_hint("stop the other `mpsync`, or give this one another --data")),
        Err(TryLockError::Error(e)) => {
            Err(Error::from(e).context(format!("locking {}", path.display())))
        }
    }
}
