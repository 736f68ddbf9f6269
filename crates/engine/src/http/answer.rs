//! Answers: headers as ClickHouse sends them, bodies whole or streamed, and exceptions at either stage.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc};

use crate::exception::Exception;
use crate::ffi::StatementCounts;
use crate::http::compression::{Encoder, Encoding};
use crate::lifecycle::Identity;

/// An HTTP answer.
pub(crate) type HttpAnswer = Response<AnswerBody>;

/// A piece of a streamed body.
pub(crate) enum AnswerPiece {
    Data(Bytes),
    /// The exception that ends the body: once it is sent, the connection is closed.
    LastWords(Bytes),
}

/// The error of a body that ended in an exception: the connection is closed, so that no client mistakes the
/// answer for complete.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the query failed while its result was being sent")
    }
}

impl std::error::Error for BrokenOff {}

/// A complete body, or one that is streamed.
pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
    Streamed {
        pieces: mpsc::Receiver<AnswerPiece>,
        /// Notified after each flush of the connection.
        flushed: Arc<Notify>,
        /// Set when the last words were queued: resolves when they are sent.
        breaking: Option<Pin<Box<OwnedNotified>>>,
    },
}

impl AnswerBody {
    pub(crate) fn streamed(pieces: mpsc::Receiver<AnswerPiece>, flushed: Arc<Notify>) -> Self {
        Self::Streamed {
            pieces,
            flushed,
            breaking: None,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Streamed {
                breaking: Some(left),
                ..
            } => left.as_mut().poll(cx).map(|()| Some(Err(BrokenOff))),
            Self::Streamed {
                pieces,
                flushed,
                breaking,
            } => pieces.poll_recv(cx).map(|piece| match piece {
                None => None,
                Some(AnswerPiece::Data(data)) => Some(Ok(Frame::data(data))),
                Some(AnswerPiece::LastWords(data)) => {
                    *breaking = Some(Box::pin(Arc::clone(flushed).notified_owned()));
                    Some(Ok(Frame::data(data)))
                }
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Streamed { .. } => SizeHint::default(),
        }
    }
}

/// Bytes that are read of a file at once.
const FILE_BYTES: usize = 256 << 10;
/// Pieces buffered between a file and the connection.
const PIECES_AHEAD: usize = 4;

/// Streams `length` bytes of a file from its current offset. A shorter file aborts the answer.
pub(crate) fn file_pieces(mut file: tokio::fs::File, length: u64) -> mpsc::Receiver<AnswerPiece> {
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    tokio::spawn(async move {
        let mut left = length;
        while left > 0 {
            let mut piece = BytesMut::with_capacity(FILE_BYTES);
            let piece = match (&mut file).take(left).read_buf(&mut piece).await {
                Ok(1..) => {
                    left -= piece.len() as u64;
                    AnswerPiece::Data(piece.freeze())
                }
                Ok(0) | Err(_) => {
                    left = 0;
                    AnswerPiece::LastWords(Bytes::new())
                }
            };
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// The headers that all answers to a query share.
#[derive(Clone)]
pub(crate) struct Heading {
    pub(crate) query_id: String,
    pub(crate) timezone: String,
    pub(crate) display_name: String,
    pub(crate) version: String,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) blocks: bool,
    /// Marks the exception in an aborted body, so that data cannot imitate it.
    pub(crate) exception_tag: String,
    /// The secret that is removed from exceptions.
    secret: Option<String>,
}

impl Heading {
    pub(crate) fn new(
        identity: &Identity,
        query_id: String,
        encoding: Option<Encoding>,
        blocks: bool,
    ) -> Self {
        let tag: String = (0..16)
            .map(|_| char::from(rand::random_range(b'a'..=b'z')))
            .collect();
        Self {
            query_id,
            timezone: identity.timezone.clone(),
            display_name: identity.display_name.clone(),
            version: identity.version.clone(),
            encoding,
            blocks,
            exception_tag: tag,
            secret: None,
        }
    }

    /// Removes a secret from exceptions: the engine repeats URLs that it could not reach.
    pub(crate) fn hiding(mut self, secret: Option<&str>) -> Self {
        self.secret = secret.map(str::to_owned);
        self
    }

    pub(crate) fn encoder(&self) -> std::io::Result<Encoder> {
        Encoder::new(self.encoding, self.blocks)
    }

    /// Compresses a whole body.
    pub(crate) fn encode(&self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut encoder = self.encoder()?;
        let mut body = if plain.is_empty() {
            Vec::new()
        } else {
            encoder.push(plain)?
        };
        body.extend(encoder.finish()?);
        Ok(body)
    }

    /// Returns an answer with these headers; `summary` as far as it is known.
    pub(crate) fn answer(&self, format: &str, body: AnswerBody, summary: &str) -> HttpAnswer {
        let mut answer = Response::new(body);
        let headers = answer.headers_mut();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("x-clickhouse-query-id", &self.query_id);
        put("x-clickhouse-timezone", &self.timezone);
        put("x-clickhouse-server-display-name", &self.display_name);
        put("x-clickhouse-exception-tag", &self.exception_tag);
        put("x-clickhouse-summary", summary);
        put("vary", "Accept-Encoding");
        if !format.is_empty() {
            put("x-clickhouse-format", format);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
        if let (Some(encoding), false) = (self.encoding, self.blocks) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        }
        answer
    }

    /// Returns the answer for an exception that occurs before the answer has started.
    pub(crate) fn refusal(&self, exception: &Exception) -> HttpAnswer {
        // Compressed as requested, like a server's: clients decompress whatever the status.
        let (text, encoded) = match self.encode(self.line(exception).as_bytes()) {
            Ok(body) => (body, true),
            Err(_) => (self.line(exception).into_bytes(), false),
        };
        let mut answer = self.answer(
            "",
            AnswerBody::Whole(Some(text.into())),
            &summary(&StatementCounts::default(), Duration::ZERO),
        );
        if !encoded {
            answer.headers_mut().remove(CONTENT_ENCODING);
        }
        answer.headers_mut().remove("x-clickhouse-exception-tag");
        mark(&mut answer, exception);
        answer
    }

    /// Returns an exception as a line, in the form that clients parse.
    fn line(&self, exception: &Exception) -> String {
        let text = match &self.secret {
            Some(secret) => exception.text.replace(secret.as_str(), "[HIDDEN]"),
            None => exception.text.clone(),
        };
        format!(
            "{} (version {} (embedded build))\n",
            without_passwords(&text),
            self.version
        )
    }

    /// Returns the end of an aborted body, in the form of ClickHouse 25.11 and later.
    pub(crate) fn exception_block(&self, exception: &Exception) -> Vec<u8> {
        let (tag, message) = (&self.exception_tag, self.line(exception));
        format!(
            "\r\n__exception__\r\n{tag}\r\n{message}{} {tag}\r\n__exception__\r\n",
            message.len()
        )
        .into_bytes()
    }
}

/// Returns a text with the value of each `password=…` hidden.
fn without_passwords(text: &str) -> String {
    const NAME: &str = "password=";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(NAME) {
        let (before, value) = rest.split_at(at + NAME.len());
        out.push_str(before);
        out.push_str("[HIDDEN]");
        let end = value
            .find(|c: char| c.is_whitespace() || "&'\"`)#".contains(c))
            .unwrap_or(value.len());
        rest = &value[end..];
    }
    out.push_str(rest);
    out
}

/// Sets status and code of a refusal.
pub(crate) fn mark(answer: &mut HttpAnswer, exception: &Exception) {
    *answer.status_mut() = exception.status();
    let headers = answer.headers_mut();
    headers.insert(
        "x-clickhouse-exception-code",
        HeaderValue::from(exception.code),
    );
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
}

/// Returns plain text, for `/ping` and for refusals before there is a query.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> HttpAnswer {
    let mut answer = Response::new(AnswerBody::Whole(Some(text.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
    answer
}

/// Returns the answer for an exception before there is a query.
pub(crate) fn plain_refusal(exception: &Exception) -> HttpAnswer {
    let mut answer = plain(exception.status(), format!("{}\n", exception.text));
    mark(&mut answer, exception);
    answer
}

/// Returns the value of `X-ClickHouse-Summary`: numbers as text, like ClickHouse.
pub(crate) fn summary(counts: &StatementCounts, elapsed: Duration) -> String {
    let fields = [
        ("read_rows", counts.rows_read),
        ("read_bytes", counts.bytes_read),
        ("written_rows", counts.rows_written),
        ("written_bytes", counts.bytes_written),
        ("total_rows_to_read", counts.rows_read),
        ("result_rows", counts.result_rows),
        ("result_bytes", counts.result_bytes),
        (
            "elapsed_ns",
            u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
        ),
    ];
    let mut text = String::from("{");
    for (i, (name, value)) in fields.into_iter().enumerate() {
        let _ = write!(
            text,
            "{}\"{name}\":\"{value}\"",
            if i == 0 { "" } else { "," }
        );
    }
    text.push('}');
    text
}

fn content_type(format: &str) -> &'static str {
    match format {
        "JSON"
        | "JSONCompact"
        | "JSONStrings"
        | "JSONCompactStrings"
        | "JSONColumns"
        | "JSONColumnsWithMetadata"
        | "JSONObjectEachRow" => "application/json; charset=UTF-8",
        "CSV" => "text/csv; charset=UTF-8; header=absent",
        "CSVWithNames" | "CSVWithNamesAndTypes" => "text/csv; charset=UTF-8; header=present",
        "XML" => "application/xml; charset=UTF-8",
        "Arrow" | "ArrowStream" => "application/vnd.apache.arrow.stream",
        "Parquet"
        | "ORC"
        | "Native"
        | "RowBinary"
        | "RowBinaryWithNames"
        | "RowBinaryWithNamesAndTypes"
        | "MsgPack"
        | "Avro" => "application/octet-stream",
        f if f.starts_with("JSON") && f.contains("EachRow") => {
            "application/x-ndjson; charset=UTF-8"
        }
        f if f.starts_with("TabSeparated") || f.starts_with("TSV") => {
            "text/tab-separated-values; charset=UTF-8"
        }
        _ => "text/plain; charset=UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_hidden() {
        let text = "Cannot reach http://h/?password=a%20b&x=1 and 'http://h/?password=c'.";
        assert_eq!(
            without_passwords(text),
            "Cannot reach http://h/?password=[HIDDEN]&x=1 and 'http://h/?password=[HIDDEN]'."
        );
    }
}
