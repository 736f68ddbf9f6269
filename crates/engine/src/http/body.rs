//! A request's body: read off the connection by a task and consumed by a blocking thread, with
//! back-pressure.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Frames buffered between the connection and the engine. hyper's frames have at most 400 KiB, mostly less.
const FRAMES_AHEAD: usize = 4;
/// A client that sends nothing for this long is disconnected.
const IDLE_MAX: Duration = Duration::from_mins(5);
/// Bytes that are read of an unneeded body, so that its client gets to read the answer.
const DRAINED_BYTES_MAX: usize = 64 << 20;
const DRAINED_TIME_MAX: Duration = Duration::from_secs(10);

enum RequestPiece {
    Data(Bytes),
    End,
    Broken(String),
}

/// Reads a body in a blocking thread. A body that breaks off is an error, never an early end.
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<RequestPiece>,
    current: Bytes,
    ended: bool,
}

impl BodyReader {
    /// Starts the task that reads the body off the connection.
    pub(crate) fn start(body: Incoming) -> Self {
        let (sender, pieces) = mpsc::channel(FRAMES_AHEAD);
        tokio::spawn(pump(body, sender));
        Self {
            pieces,
            current: Bytes::new(),
            ended: false,
        }
    }

    /// Returns a reader of a body in memory.
    pub(crate) fn of(bytes: Bytes) -> Self {
        let (_, pieces) = mpsc::channel(1);
        Self {
            pieces,
            current: bytes,
            ended: true,
        }
    }
}

async fn pump(mut body: Incoming, sender: mpsc::Sender<RequestPiece>) {
    loop {
        let piece = match timeout(IDLE_MAX, body.frame()).await {
            Err(_) => RequestPiece::Broken("the client sent nothing for five minutes".into()),
            Ok(None) => RequestPiece::End,
            Ok(Some(Err(e))) => RequestPiece::Broken(format!("the body broke off: {e}")),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => RequestPiece::Data(data),
                Err(_trailers) => continue,
            },
        };
        let last = !matches!(piece, RequestPiece::Data(_));
        if sender.send(piece).await.is_err() {
            // The answer, an error, is under way. A client that is disconnected while it sends might not read it.
            let _ = timeout(DRAINED_TIME_MAX, drain(body)).await;
            return;
        }
        if last {
            return;
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAINED_BYTES_MAX {
            return;
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(RequestPiece::Data(data)) => self.current = data,
                Some(RequestPiece::End) => self.ended = true,
                Some(RequestPiece::Broken(why)) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
                }
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the server is shutting down",
                    ));
                }
            }
        }
        let n = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
