//! Running a statement on a connection: preparing it, inserts, and all that is answered whole.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::body::BodyReader;
use super::compression::decoder;
use super::exception::{Exception, code};
use super::ffi::{Connection, Counts};
use super::guard;
use super::open::Engine;
use super::request::Request;
use super::session::Lease;
use super::statement::{self, Statement};

/// The most that a statement may have in bytes, the data of an insert not counted.
const STATEMENT_BYTES_MAX: usize = 64 << 20;
/// What is read at once of a body.
const READ_BYTES: usize = 256 << 10;

/// A request whose statement is known: what remains to be done.
pub(super) struct Job {
    pub(super) statement: Statement,
    pub(super) request: Request,
    /// What was read of the body behind the statement's head, and the rest of it: the data of an insert.
    data: Vec<u8>,
    rest: Box<dyn Read + Send>,
    /// Names this run in the engine's process list, as a comment in the query's text.
    pub(super) tag: String,
    /// The client has gone: what has not begun need not.
    pub(super) gone: Arc<AtomicBool>,
}

/// What a statement came to.
pub(super) struct Outcome {
    pub(super) body: Vec<u8>,
    pub(super) counts: Counts,
    pub(super) elapsed: Duration,
}

/// A literal.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl Job {
    /// Reads the statement off the body. Blocks.
    pub(super) fn read(request: Request, body: BodyReader, tag: String) -> Result<Self, Exception> {
        let mut rest = decoder(request.body_encoding, request.body_blocks, body)
            .map_err(|e| broken_body(&e))?;
        let mut text = request.query.clone().into_bytes();
        let gone = Arc::new(AtomicBool::new(false));
        let mut buffer = vec![0; READ_BYTES];
        let mut read =
            |text: &mut Vec<u8>, rest: &mut Box<dyn Read + Send>| -> Result<bool, Exception> {
                let n = rest.read(&mut buffer).map_err(|e| broken_body(&e))?;
                text.extend_from_slice(&buffer[..n]);
                Ok(n > 0)
            };
        // A statement in the query string is followed by a line end and the body.
        let mut complete = false;
        if !text.is_empty() {
            let in_query = text.len();
            if statement::begins_insert(&[&text[..], b" "].concat()) == Some(true) {
                // The head is in the query string whole.
                if let Some(Statement::Insert {
                    head,
                    format,
                    data_at,
                }) = statement::parse_insert(&text, true)?
                {
                    let data = text.split_off(data_at);
                    // Data in the query string goes before the body's.
                    let data = if data.iter().all(u8::is_ascii_whitespace) {
                        Vec::new()
                    } else {
                        [&data[..], b"\n"].concat()
                    };
                    let statement = Statement::Insert {
                        head,
                        format,
                        data_at: 0,
                    };
                    return Self {
                        statement,
                        request,
                        data,
                        rest,
                        tag,
                        gone,
                    }
                    .checked();
                }
            }
            text.push(b'\n');
            while read(&mut text, &mut rest)? {
                too_large(&text)?;
            }
            if text.len() == in_query + 1 {
                text.pop();
            }
            complete = true;
        }
        loop {
            if statement::begins_insert(&text) == Some(true)
                || (complete && begins_insert_whole(&text))
            {
                match statement::parse_insert(&text, complete)? {
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
                        return Self {
                            statement,
                            request,
                            data,
                            rest,
                            tag,
                            gone,
                        }
                        .checked();
                    }
                    // INSERT … SELECT: no data, the statement is all there is.
                    Some(_) => {
                        while !complete {
                            complete = !read(&mut text, &mut rest)?;
                            too_large(&text)?;
                        }
                        break;
                    }
                    None => {}
                }
            }
            if complete {
                break;
            }
            complete = !read(&mut text, &mut rest)?;
            too_large(&text)?;
        }
        Self {
            statement: statement::parse(&text)?,
            request,
            data: Vec::new(),
            rest,
            tag,
            gone,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, Exception> {
        match &self.statement {
            Statement::Select { head, tail, .. } => {
                guard::check(head)?;
                guard::check(tail)?;
            }
            Statement::Insert { head, .. } => guard::check(head)?,
            Statement::Other { text, .. } => guard::check(text)?,
        }
        Ok(self)
    }

    /// The format of the answer: the statement's own, the request's, or TabSeparated as on a server.
    pub(super) fn answer_format(&self) -> String {
        let own = match &self.statement {
            Statement::Select { format, .. } | Statement::Other { format, .. } => format.clone(),
            Statement::Insert { .. } => None,
        };
        own.or_else(|| self.request.default_format.clone())
            .unwrap_or_else(|| "TabSeparated".into())
    }

    /// Fails when the client has gone.
    pub(super) fn check_client(&self) -> Result<(), Exception> {
        if self.gone.load(Ordering::Acquire) {
            return Err(Exception::new(
                code::CLIENT_DISCONNECTED,
                "NETWORK_ERROR",
                "The client has gone",
            ));
        }
        Ok(())
    }

    /// The comment by which the run is found.
    pub(super) fn comment(&self) -> String {
        format!("\n/* mpsync:{} */", self.tag)
    }

    /// Runs an insert or a statement that is answered whole. Blocks. The permit is given back when it has ended, not when the
    /// client has gone.
    pub(super) fn run(
        mut self,
        engine: &Engine,
        permit: OwnedSemaphorePermit,
    ) -> Result<Outcome, Exception> {
        let started = Instant::now();
        let mut lease = engine
            .inner
            .sessions
            .lease(&engine.inner, self.request.session.as_ref())?;
        self.check_client()?;
        let undo = prepare(&mut lease, &self.request)?;
        let format = self.answer_format();
        let comment = self.comment();
        let connection = lease.connection();
        let outcome = match std::mem::replace(
            &mut self.statement,
            Statement::Other {
                text: Vec::new(),
                format: None,
            },
        ) {
            Statement::Insert { head, format, .. } => self.insert(
                connection,
                &[&head[..], comment.as_bytes()].concat(),
                &format,
            ),
            Statement::Other { text, .. } | Statement::Select { head: text, .. } => {
                let text = engine.inner.running.translate(connection, &text);
                // Only statements that end in no literal data come here, so that a comment may follow.
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
        let (body, counts) = outcome.map_err(|e| e.without(&comment))?;
        Ok(Outcome {
            body,
            counts,
            elapsed: started.elapsed(),
        })
    }

    /// A body that breaks off cancels its insert: nothing is kept of it unless it was larger than a block (about a million rows or
    /// 256 MiB), of which whole ones are in the table already, as on a server. A client that wants more than that whole raises
    /// `min_insert_block_size_rows` and `_bytes` and pays with memory: eight times the block was seen.
    fn insert(
        &mut self,
        connection: &mut Connection,
        sql: &[u8],
        format: &str,
    ) -> Result<(Vec<u8>, Counts), Exception> {
        let mut stream = connection.insert(sql, format, &self.request.parameters)?;
        if !self.data.is_empty() {
            stream.append(&std::mem::take(&mut self.data))?;
        }
        let mut buffer = vec![0; READ_BYTES];
        loop {
            // On an error the stream is dropped, which cancels it: nothing of a body that broke off is kept.
            let n = fill(&mut self.rest, &mut buffer).map_err(|e| broken_body(&e))?;
            if n == 0 {
                break;
            }
            stream.append(&buffer[..n])?;
        }
        Ok((Vec::new(), stream.finish()?))
    }
}

/// Reads until the buffer is full or the body ends: few large pieces cost the engine less than many small ones.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn begins_insert_whole(text: &[u8]) -> bool {
    statement::begins_insert(&[text, b" "].concat()) == Some(true)
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

/// What a session's connection is set back to after a request.
#[derive(Default)]
pub(super) struct Undo {
    statements: Vec<String>,
}

/// Sets database and settings for a request. On a session's connection, what they were is given back for [`restore`]: fields of
/// one request are not the session's.
pub(super) fn prepare(lease: &mut Lease, request: &Request) -> Result<Undo, Exception> {
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

/// Statements that bring back these settings' present values.
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
pub(super) fn restore(lease: &mut Lease, undo: &Undo) {
    for statement in &undo.statements {
        if let Err(e) = lease.connection().query(statement.as_bytes(), "Null", &[]) {
            tracing::warn!(error = %e, "a session keeps what a request set");
        }
    }
}

fn use_database(name: &str) -> String {
    format!("USE `{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}
