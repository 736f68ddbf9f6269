//! Runs statements on a connection: inserts, and statements whose result is answered whole.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use crate::exception::{Exception, code};
use crate::ffi::{Connection, StatementCounts};
use crate::files::roots::{self, FileRoots};
use crate::http::body::BodyReader;
use crate::http::compression::decoder;

use crate::http::request::EngineRequest;
use crate::lifecycle::Engine;
use crate::query::session::ConnectionLease;
use crate::query::spool::Spool;
use crate::statement::kind::{self, Statement};
use crate::statement::lexer::quoted;
use crate::statement::policy;

/// The most bytes of a statement, without the data of an insert.
const STATEMENT_BYTES_MAX: usize = 64 << 20;
/// Bytes of a statement that are read at once.
const READ_BYTES: usize = 256 << 10;

/// A request whose statement has been read.
pub(crate) struct Job {
    pub(crate) statement: Statement,
    pub(crate) request: EngineRequest,
    /// The data of an insert: the bytes read with the statement, and the rest of the body.
    data: Vec<u8>,
    rest: Box<dyn Read + Send>,
    /// The URL below which its files are served to it alone.
    pub(crate) files: String,
    /// The name of this run in the engine's process list, as a comment in the query's text.
    pub(crate) tag: String,
    /// Set when the client disconnects: a query that has not started is skipped.
    pub(crate) gone: Arc<AtomicBool>,
}

/// The outcome of a statement.
pub(crate) struct StatementOutcome {
    pub(crate) body: Vec<u8>,
    pub(crate) counts: StatementCounts,
    pub(crate) elapsed: Duration,
}

impl Job {
    /// Reads the statement from query string and body. Blocks.
    pub(crate) fn read(
        engine: &Engine,
        request: EngineRequest,
        body: BodyReader,
        tag: String,
        address: SocketAddr,
    ) -> Result<Self, Exception> {
        let mut rest = decoder(request.body_encoding, request.body_blocks, body)
            .map_err(|e| broken_body(&e))?;
        let (statement, data) = read_statement(&request.query, &mut rest)?;
        Self {
            statement,
            request,
            data,
            rest,
            files: roots::base(address, &tag),
            tag,
            gone: Arc::new(AtomicBool::new(false)),
        }
        .checked(&engine.inner.files)
    }

    /// Applies the statement policy and replaces `file()` by URLs. Blocks.
    fn checked(mut self, files: &FileRoots) -> Result<Self, Exception> {
        let text = match &mut self.statement {
            Statement::Select { head, tail, .. } => {
                if !policy::check(tail)?.is_empty() {
                    return Err(Exception::syntax("file() follows FORMAT"));
                }
                head
            }
            Statement::Insert { head, .. } => head,
            Statement::Other { text, .. } => text,
        };
        if self.request.read_only {
            policy::check_reads(text)?;
        }
        policy::check_fields(&self.request, text)?;
        let uses = policy::check(text)?;
        if !uses.is_empty() {
            let count = files.replace(text, &uses, &self.files)?;
            make_room(&mut self.request.settings, text.len(), count);
        }
        check_format(&self.answer_format())?;
        Ok(self)
    }

    /// Returns the format of the answer: the statement's, else the request's, else TabSeparated as on a server.
    pub(crate) fn answer_format(&self) -> String {
        let own = match &self.statement {
            Statement::Select { format, .. } | Statement::Other { format, .. } => format.clone(),
            Statement::Insert { .. } => None,
        };
        own.or_else(|| self.request.default_format.clone())
            .unwrap_or_else(|| "TabSeparated".into())
    }

    /// Fails if the client has disconnected.
    pub(crate) fn check_client(&self) -> Result<(), Exception> {
        if self.gone.load(Ordering::Acquire) {
            return Err(Exception::new(
                code::CLIENT_DISCONNECTED,
                "NETWORK_ERROR",
                "The client has disconnected",
            ));
        }
        Ok(())
    }

    /// Returns the comment by which the run is found in the process list.
    pub(crate) fn comment(&self) -> String {
        format!("\n/* mpsync:{} */", self.tag)
    }

    /// Runs an insert or a statement that is answered whole. Blocks. The permit is released when the statement
    /// has ended, not when the client disconnects.
    pub(crate) fn run(
        mut self,
        engine: &Engine,
        permit: OwnedSemaphorePermit,
    ) -> Result<StatementOutcome, Exception> {
        let started = Instant::now();
        let data = self.read_data(engine)?;
        if let Statement::Insert { format, .. } = &self.statement {
            check_format(format)?;
        }
        let mut lease = engine
            .inner
            .sessions
            .lease(self.request.session.as_ref(), || engine.inner.connect())?;
        self.check_client()?;
        let undo = prepare(&mut lease, &self.request)?;
        let format = self.answer_format();
        let comment = self.comment();
        let connection = lease.connection();
        let outcome = match &self.statement {
            Statement::Insert { head, format, .. } => insert(
                connection,
                &[&head[..], comment.as_bytes()].concat(),
                format,
                &self.request.parameters,
                data,
            ),
            Statement::Other { text, .. } | Statement::Select { head: text, .. } => {
                let text = engine.inner.running.translate(connection, text);
                // These statements do not end in literal data, so a comment may follow.
                connection
                    .query(
                        &[&text[..], comment.as_bytes()].concat(),
                        &format,
                        &self.request.parameters,
                    )
                    .map(|answer| (answer.body, answer.counts))
            }
        };
        restore(&mut lease, &undo);
        drop(lease);
        drop(permit);
        let outcome = outcome.and_then(|done| {
            let written = engine.inner.running.take_written(&self.tag);
            written.into_iter().try_for_each(roots::name)?;
            Ok(done)
        });
        let (body, counts) = outcome.map_err(|e| e.without(&comment).without(&self.files))?;
        Ok(StatementOutcome {
            body,
            counts,
            elapsed: started.elapsed(),
        })
    }

    /// Reads the data of an insert to its end: nothing of an aborted body reaches the engine.
    fn read_data(&mut self, engine: &Engine) -> Result<Option<Spool>, Exception> {
        if !matches!(self.statement, Statement::Insert { .. }) {
            return Ok(None);
        }
        let first = std::mem::take(&mut self.data);
        let folder = &engine.inner.temporary;
        Spool::collect(&first, &mut self.rest, folder, broken_body).map(Some)
    }
}

/// Sends an insert's data at the engine's pace. As on a server, an insert that fails for its content may already
/// have stored blocks of up to about a million rows or 256 MiB each. A client that needs more than one block to be
/// atomic raises `min_insert_block_size_rows` and `_bytes`, which costs memory: up to eight times the block was
/// measured.
fn insert(
    connection: &mut Connection,
    sql: &[u8],
    format: &str,
    parameters: &[(String, String)],
    data: Option<Spool>,
) -> Result<(Vec<u8>, StatementCounts), Exception> {
    let mut stream = connection.insert(sql, format, parameters)?;
    if let Some(data) = data {
        // On an error the stream is dropped, which cancels it.
        data.each(|piece| stream.append(piece))?;
    }
    Ok((Vec::new(), stream.finish()?))
}

/// Raises the limits that a long list of files would exceed, unless the client has set them.
fn make_room(settings: &mut Vec<(String, String)>, text_bytes: usize, files: usize) {
    const QUERY_BYTES: usize = 256 << 10;
    let limits = [
        ("max_query_size", text_bytes + QUERY_BYTES),
        ("glob_expansion_max_elements", files.max(1000)),
    ];
    for (name, limit) in limits {
        if !settings.iter().any(|(n, _)| n == name) {
            settings.push((name.to_owned(), limit.to_string()));
        }
    }
}

/// Checks the name of a format, which becomes part of the statement.
fn check_format(name: &str) -> Result<(), Exception> {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(Exception::new(
        code::UNKNOWN_FORMAT,
        "UNKNOWN_FORMAT",
        "Unknown format",
    ))
}

/// The beginning of a text.
enum Cut {
    /// An insert, and the available part of its data.
    Insert(Statement, Vec<u8>),
    /// An `INSERT … SELECT`: the text is the statement.
    Query,
    /// An incomplete head of an insert.
    More,
}

fn cut_insert(text: &mut Vec<u8>, complete: bool) -> Result<Cut, Exception> {
    Ok(match kind::parse_insert(text, complete)? {
        Some(Statement::Insert {
            head,
            format,
            data_at,
        }) => {
            let data = text.split_off(data_at);
            let statement = Statement::Insert {
                head,
                format,
                data_at: 0,
            };
            Cut::Insert(statement, data)
        }
        Some(_) => Cut::Query,
        None => Cut::More,
    })
}

/// Reads a statement from query string and body; of an insert only its head, and the data read with it.
fn read_statement(query: &str, rest: &mut dyn Read) -> Result<(Statement, Vec<u8>), Exception> {
    let mut buffer = vec![0; READ_BYTES];
    // Appends the next bytes; false at the end of the body.
    let mut read = |text: &mut Vec<u8>| -> Result<bool, Exception> {
        let n = rest.read(&mut buffer).map_err(|e| broken_body(&e))?;
        text.extend_from_slice(&buffer[..n]);
        too_large(text)?;
        Ok(n > 0)
    };
    let mut text = query.as_bytes().to_vec();
    let mut complete = false;
    if !text.is_empty() {
        if begins_insert_whole(&text)
            && let Cut::Insert(statement, mut data) = cut_insert(&mut text, true)?
        {
            // Data in the query string precedes the body's.
            if data.iter().all(u8::is_ascii_whitespace) {
                data.clear();
            } else {
                data.push(b'\n');
            }
            return Ok((statement, data));
        }
        // Any other statement in the query string is followed by a line end and the body.
        let in_query = text.len();
        text.push(b'\n');
        while read(&mut text)? {}
        if text.len() == in_query + 1 {
            text.pop();
        }
        complete = true;
    }
    loop {
        if kind::begins_insert(&text) == Some(true) || (complete && begins_insert_whole(&text)) {
            match cut_insert(&mut text, complete)? {
                Cut::Insert(statement, data) => return Ok((statement, data)),
                Cut::Query => {
                    while !complete && read(&mut text)? {}
                    break;
                }
                Cut::More => {}
            }
        }
        if complete {
            break;
        }
        complete = !read(&mut text)?;
    }
    Ok((kind::parse(&text)?, Vec::new()))
}

fn begins_insert_whole(text: &[u8]) -> bool {
    kind::begins_insert(&[text, b" "].concat()) == Some(true)
}

fn too_large(text: &[u8]) -> Result<(), Exception> {
    if text.len() <= STATEMENT_BYTES_MAX {
        return Ok(());
    }
    Err(Exception::new(
        code::QUERY_IS_TOO_LARGE,
        "QUERY_IS_TOO_LARGE",
        "The statement is larger than 64 MiB",
    ))
}

fn broken_body(error: &std::io::Error) -> Exception {
    match error.kind() {
        std::io::ErrorKind::ConnectionAborted => Exception::new(
            code::CLIENT_DISCONNECTED,
            "NETWORK_ERROR",
            format!("The request's body broke off: {error}"),
        ),
        std::io::ErrorKind::UnexpectedEof => Exception::new(
            code::INCORRECT_DATA,
            "INCORRECT_DATA",
            format!("The request's body is cut short: {error}"),
        ),
        _ => Exception::new(
            code::CANNOT_DECOMPRESS,
            "CANNOT_DECOMPRESS",
            format!("The request's body cannot be decompressed: {error}"),
        ),
    }
}

/// Statements that restore a session's connection after a request.
#[derive(Default)]
pub(crate) struct Undo {
    statements: Vec<String>,
}

/// Sets database and settings for a request. On a session's connection, returns the statements for [`restore`]:
/// fields of a request do not change the session.
pub(crate) fn prepare(
    lease: &mut ConnectionLease,
    request: &EngineRequest,
) -> Result<Undo, Exception> {
    let mut undo = Undo::default();
    let session = lease.is_session();
    let connection = lease.connection();
    if let Some(database) = &request.database {
        if session {
            let current = connection.query(b"SELECT currentDatabase()", "RawBLOB", &[])?;
            undo.statements
                .push(use_database(&String::from_utf8_lossy(&current.body)));
        }
        connection.query(use_database(database).as_bytes(), "Null", &[])?;
    }
    let mut settings = request.settings.clone();
    if request.read_only {
        settings.push(("readonly".into(), "2".into()));
    }
    if settings.is_empty() {
        return Ok(undo);
    }
    if session {
        undo.statements.extend(before(connection, &settings)?);
    }
    let list: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("{name} = {}", quoted(value)))
        .collect();
    if let Err(e) = connection.query(format!("SET {}", list.join(", ")).as_bytes(), "Null", &[]) {
        restore(lease, &undo);
        return Err(e);
    }
    Ok(undo)
}

/// Returns statements that restore the current values of these settings.
fn before(
    connection: &mut Connection,
    settings: &[(String, String)],
) -> Result<Vec<String>, Exception> {
    let names: Vec<String> = settings.iter().map(|(name, _)| quoted(name)).collect();
    let sql = format!(
        "SELECT concat('SET ', name, ' = ', if(changed, concat('\\'', replaceAll(replaceAll(value, '\\\\', '\\\\\\\\'), '\\'', '\\\\\\''), \
         '\\''), 'DEFAULT')) FROM system.settings WHERE name IN ({}) ORDER BY name = 'readonly' DESC",
        names.join(", ")
    );
    let answer = connection.query(sql.as_bytes(), "TSVRaw", &[])?;
    Ok(String::from_utf8_lossy(&answer.body)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Undoes [`prepare`] on a session's connection.
pub(crate) fn restore(lease: &mut ConnectionLease, undo: &Undo) {
    for statement in &undo.statements {
        if let Err(e) = lease.connection().query(statement.as_bytes(), "Null", &[]) {
            tracing::warn!(error = %e, "cannot restore the settings of a session");
        }
    }
}

fn use_database(name: &str) -> String {
    format!("USE `{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}
