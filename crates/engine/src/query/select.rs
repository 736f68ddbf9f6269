//! SELECTs, in constant memory: the engine writes into a pipe, the connection reads from it.
//!
//! The library's own streaming formats every block as a separate document, so Arrow, Parquet, Native
//! and JSON do not add up. `INTO OUTFILE '<pipe>' APPEND` writes one document. Both ends of the pipe are
//! opened here before the query starts, so that neither side waits for the other; the writing end is
//! closed when the query has ended, and the reading end then reaches the end of the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use crate::exception::Exception;
use crate::ffi::StatementCounts;
use crate::http::answer::{AnswerBody, AnswerPiece, Heading, HttpAnswer, file_pieces, summary};
use crate::http::compression::Encoder;
use crate::lifecycle::Engine;
use crate::query::cancel::{CancelOnDrop, Registered};
use crate::query::execute::{Job, prepare, restore};
use crate::statement::kind::Statement;
use crate::statement::lexer::quoted;

/// Bytes that are buffered before the headers are sent: a query that fails before is answered with a status.
const HELD_BACK_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 256 << 10;
/// Pieces buffered between pipe and connection.
const PIECES_AHEAD: usize = 4;
/// The size of the pipe. More than the default of 64 KiB halves the context switches.
const PIPE_BYTES: usize = 1 << 20;

type QueryTask = JoinHandle<Result<(StatementCounts, Duration), Exception>>;

/// A running query and the pipe of its result.
struct Relay {
    receiver: pipe::Receiver,
    /// Open while the query runs, so that the pipe does not end before the engine has opened it.
    writer: Option<pipe::Sender>,
    query: QueryTask,
    outcome: Option<Result<(StatementCounts, Duration), Exception>>,
    path: PathBuf,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Relay {
    fn start(
        job: Job,
        engine: &Engine,
        permit: OwnedSemaphorePermit,
        format: &str,
    ) -> std::io::Result<Self> {
        let path = engine.inner.pipes.join(&job.tag);
        make_pipe(&path)?;
        let receiver = pipe::OpenOptions::new().open_receiver(&path)?;
        let writer = pipe::OpenOptions::new().open_sender(&path)?;
        #[cfg(target_os = "linux")]
        {
            // Fails if the system has a lower limit; the pipe then keeps its size.
            let _ = rustix::pipe::fcntl_setpipe_size(&receiver, PIPE_BYTES);
        }
        let (engine, format, into) = (engine.clone(), format.to_owned(), path.clone());
        let query = tokio::task::spawn_blocking(move || run(&job, &engine, permit, &format, &into));
        Ok(Self {
            receiver,
            writer: Some(writer),
            query,
            outcome: None,
            path,
        })
    }

    /// Reads the next bytes; zero at the end, when the query's outcome is known.
    async fn read(&mut self, buffer: &mut BytesMut) -> std::io::Result<usize> {
        loop {
            tokio::select! {
                biased;
                n = self.receiver.read_buf(buffer) => {
                    let n = n?;
                    if n > 0 || self.outcome.is_some() {
                        return Ok(n);
                    }
                }
                ended = &mut self.query, if self.outcome.is_none() => {
                    let lost = |_| Err(Exception::internal("the query's thread panicked"));
                    self.outcome = Some(ended.unwrap_or_else(lost));
                    self.writer = None;
                }
            }
        }
    }

    fn outcome(&mut self) -> Result<(StatementCounts, Duration), Exception> {
        self.outcome
            .take()
            .unwrap_or_else(|| Err(Exception::internal("the query has not ended")))
    }
}

#[cfg(not(target_vendor = "apple"))]
fn make_pipe(path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::mkfifoat(
        rustix::fs::CWD,
        path,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )?)
}

#[cfg(target_vendor = "apple")]
fn make_pipe(path: &Path) -> std::io::Result<()> {
    let made = std::process::Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(path)
        .status()?;
    if made.success() {
        Ok(())
    } else {
        Err(std::io::Error::other("mkfifo failed"))
    }
}

/// Runs the query into the pipe. Blocks.
fn run(
    job: &Job,
    engine: &Engine,
    permit: OwnedSemaphorePermit,
    format: &str,
    into: &Path,
) -> Result<(StatementCounts, Duration), Exception> {
    let started = Instant::now();
    let Statement::Select { head, tail, .. } = &job.statement else {
        return Err(Exception::internal("not a SELECT"));
    };
    let mut lease = engine
        .inner
        .sessions
        .lease(job.request.session.as_ref(), || engine.inner.connect())?;
    job.check_client()?;
    let undo = prepare(&mut lease, &job.request)?;
    // On a line of its own: the head may end in a comment.
    let outfile = format!(
        "\nINTO OUTFILE {} APPEND FORMAT {format}",
        quoted(&into.to_string_lossy())
    );
    let comment = job.comment();
    let head = engine.inner.running.translate(lease.connection(), head);
    let sql = [&head[..], outfile.as_bytes(), &tail[..], comment.as_bytes()].concat();
    let answer = lease
        .connection()
        .query(&sql, format, &job.request.parameters);
    restore(&mut lease, &undo);
    drop(lease);
    drop(permit);
    answer
        .map(|a| (a.counts, started.elapsed()))
        .map_err(|e| e.without(&comment).without(&outfile).without(&job.files))
}

/// Answers a SELECT.
///
/// # Cancel safety
///
/// Dropped, it cancels the query.
pub(crate) async fn answer(
    job: Job,
    engine: &Engine,
    permit: OwnedSemaphorePermit,
    heading: Heading,
    flushed: Arc<Notify>,
    registered: Registered,
) -> Result<HttpAnswer, Exception> {
    let io = |e: std::io::Error| Exception::internal(format!("the result's pipe failed: {e}"));
    let format = job.answer_format();
    let wait = job.request.wait_end_of_query;
    let cancel = CancelOnDrop::new(engine.clone(), &job);
    let mut relay = Relay::start(job, engine, permit, &format).map_err(io)?;
    let mut held = BytesMut::with_capacity(READ_BYTES);
    while held.len() < HELD_BACK_BYTES {
        if relay.read(&mut held).await.map_err(io)? == 0 {
            cancel.disarm();
            let (counts, elapsed) = relay.outcome()?;
            let body = heading.encode(&held).map_err(io)?;
            return Ok(heading.answer(
                &format,
                AnswerBody::Whole(Some(body.into())),
                &summary(&counts, elapsed),
            ));
        }
    }
    if wait {
        return spooled(relay, held, engine, cancel, &heading, &format, flushed).await;
    }
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    let encoder = heading.encoder().map_err(io)?;
    let answer = heading.answer(
        &format,
        AnswerBody::streamed(receiver, flushed),
        &summary(&StatementCounts::default(), Duration::ZERO),
    );
    tokio::spawn(async move {
        stream(relay, held, encoder, pieces, heading, cancel).await;
        drop(registered);
    });
    Ok(answer)
}

/// Streams the buffered bytes and the rest. Cancels the query if the client disconnects.
async fn stream(
    mut relay: Relay,
    mut held: BytesMut,
    mut encoder: Encoder,
    pieces: mpsc::Sender<AnswerPiece>,
    heading: Heading,
    cancel: CancelOnDrop,
) {
    let failure = loop {
        let sent = match encoder.push(&held) {
            Ok(piece) => pieces.send(AnswerPiece::Data(piece.into())).await.is_ok(),
            Err(e) => {
                break Exception::internal(format!("the result could not be compressed: {e}"));
            }
        };
        if !sent {
            tracing::debug!(
                query_id = heading.query_id,
                "client disconnected, cancelling its query"
            );
            return;
        }
        held.clear();
        held.reserve(READ_BYTES);
        let read = tokio::select! {
            read = relay.read(&mut held) => read,
            () = pieces.closed() => return,
        };
        match read {
            Ok(0) => match relay.outcome() {
                Ok(_) => {
                    cancel.disarm();
                    match encoder.finish() {
                        Ok(last) if last.is_empty() => {}
                        Ok(last) => drop(pieces.send(AnswerPiece::Data(last.into())).await),
                        Err(_) => drop(pieces.send(AnswerPiece::LastWords(Bytes::new())).await),
                    }
                    return;
                }
                Err(exception) => {
                    cancel.disarm();
                    break exception;
                }
            },
            Ok(_) => {}
            Err(e) => break Exception::internal(format!("the result's pipe failed: {e}")),
        }
    };
    tracing::debug!(query_id = heading.query_id, error = %failure, "query failed while its result was being sent");
    let mut last = encoder
        .push(&heading.exception_block(&failure))
        .unwrap_or_default();
    last.extend(encoder.finish().unwrap_or_default());
    let _ = pieces.send(AnswerPiece::LastWords(last.into())).await;
}

/// Answers with `wait_end_of_query`: the result is stored in a file first, so that status and summary cover all
/// of the query.
async fn spooled(
    mut relay: Relay,
    mut held: BytesMut,
    engine: &Engine,
    cancel: CancelOnDrop,
    heading: &Heading,
    format: &str,
    flushed: Arc<Notify>,
) -> Result<HttpAnswer, Exception> {
    let io =
        |e: std::io::Error| Exception::internal(format!("the result could not be stored: {e}"));
    let file = tempfile::tempfile_in(&engine.inner.temporary).map_err(io)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut encoder = heading.encoder().map_err(io)?;
    loop {
        file.write_all(&encoder.push(&held).map_err(io)?)
            .await
            .map_err(io)?;
        held.clear();
        held.reserve(READ_BYTES);
        if relay.read(&mut held).await.map_err(io)? == 0 {
            break;
        }
    }
    cancel.disarm();
    let (counts, elapsed) = relay.outcome()?;
    file.write_all(&encoder.finish().map_err(io)?)
        .await
        .map_err(io)?;
    file.flush().await.map_err(io)?;
    let length = file.metadata().await.map_err(io)?.len();
    tokio::io::AsyncSeekExt::rewind(&mut file)
        .await
        .map_err(io)?;
    Ok(heading.answer(
        format,
        AnswerBody::streamed(file_pieces(file, length), flushed),
        &summary(&counts, elapsed),
    ))
}
