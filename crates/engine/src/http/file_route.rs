//! Serves files to the queries that named them by `file()`, see `files/roots.rs`.

use std::io::{self, SeekFrom};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::io::AsyncSeekExt;
use tokio::sync::Notify;

use crate::files::roots::{FileLocation, ROUTE};
use crate::http::answer::{AnswerBody, HttpAnswer, file_pieces, plain};
use crate::http::body::BodyReader;
use crate::lifecycle::Engine;

/// Answers GET and HEAD with the file or a range of it; accepts a new file by POST, which gets its name when its query
/// has succeeded.
pub(crate) async fn answer(
    engine: &Engine,
    parts: &Parts,
    body: Incoming,
    flushed: Arc<Notify>,
) -> HttpAnswer {
    let named = parts
        .uri
        .path()
        .strip_prefix(ROUTE)
        .and_then(|path| path.split_once('/'))
        .filter(|(tag, _)| engine.inner.running.knows(tag))
        .and_then(|(tag, path)| Some((tag, engine.inner.files.place_of_url(path)?)));
    let Some((tag, place)) = named else {
        return plain(
            StatusCode::FORBIDDEN,
            "Files are served to running queries only\n",
        );
    };
    let done = match parts.method {
        Method::GET | Method::HEAD => send(engine, parts, place, flushed).await,
        Method::POST => receive(engine, tag.to_owned(), place, body).await,
        _ => {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "Only GET, HEAD and POST are served\n",
            );
        }
    };
    done.unwrap_or_else(|e| refusal(&e))
}

fn refusal(error: &io::Error) -> HttpAnswer {
    let status = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
        io::ErrorKind::AlreadyExists => StatusCode::CONFLICT,
        io::ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        io::ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    plain(status, format!("{error}\n"))
}

async fn send(
    engine: &Engine,
    parts: &Parts,
    place: FileLocation,
    flushed: Arc<Notify>,
) -> io::Result<HttpAnswer> {
    let engine = engine.clone();
    let file = blocking(move || engine.inner.files.open(&place)).await?;
    let mut file = tokio::fs::File::from_std(file);
    let bytes = file.metadata().await?.len();
    let wanted = parts.headers.get(RANGE).and_then(|value| {
        let ranges = http_range_header::parse_range_header(value.to_str().ok()?).ok()?;
        Some(ranges.validate(bytes))
    });
    let (status, from, length) = match wanted {
        // The reader requests one range at a time; several are answered with the whole file.
        Some(Ok(ranges)) if ranges.len() == 1 => {
            let (first, last) = (*ranges[0].start(), *ranges[0].end());
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Some(Err(_)) if bytes > 0 => {
            return Ok(plain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The file is shorter\n",
            ));
        }
        _ => (StatusCode::OK, 0, bytes),
    };
    let body = if parts.method == Method::HEAD {
        AnswerBody::Whole(None)
    } else {
        file.seek(SeekFrom::Start(from)).await?;
        AnswerBody::streamed(file_pieces(file, length), flushed)
    };
    let mut answer = HttpAnswer::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{bytes}", from + length - 1);
        headers.insert(
            CONTENT_RANGE,
            HeaderValue::from_str(&range).map_err(io::Error::other)?,
        );
    }
    Ok(answer)
}

async fn receive(
    engine: &Engine,
    tag: String,
    place: FileLocation,
    body: Incoming,
) -> io::Result<HttpAnswer> {
    let (engine, mut body) = (engine.clone(), BodyReader::start(body));
    blocking(move || {
        let mut file = engine.inner.files.create(&place)?;
        io::copy(&mut body, &mut file.file)?;
        if engine.inner.running.store(&tag, file) {
            return Ok(());
        }
        Err(io::Error::other("the query has ended"))
    })
    .await?;
    Ok(plain(StatusCode::OK, ""))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
