//! HTTP to an S3-compatible store, over the client that also reaches the tiers.
//!
//! A request times out when no bytes move in either direction for a time, however long the whole of it takes: a large part
//! on a slow or rate-limited line has not failed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use tokio::time::{Instant, Sleep};

use crate::store::rate_limiter::{PIECE, RateLimiter};
use mpsync_core::error::{Error, Result};
use mpsync_net::Tls;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How long no bytes may move: a store that assembles the parts of a large object is silent meanwhile.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct S3HttpClient {
    client: Client<HttpsConnector<Tcp>, PacedBody>,
    rate_limiter: Option<Arc<RateLimiter>>,
    stall_timeout: Duration,
}

impl S3HttpClient {
    /// Returns a client that trusts these authorities, or the system's, and sends at the limited rate.
    pub(crate) fn new(tls: Option<&Tls>, rate_limiter: Option<Arc<RateLimiter>>) -> Result<Self> {
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new();
        let builder = match tls {
            Some(tls) => builder.with_tls_config(tls.client()),
            None => builder
                .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
                .map_err(|e| {
                    Error::config(format!(
                        "the system's certificate authorities cannot be read: {e}"
                    ))
                    .with_hint("install ca-certificates, or set archive.s3_tls_ca_file")
                })?,
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE)
                .pool_timer(TokioTimer::new())
                .build(connector),
            rate_limiter,
            stall_timeout: STALL_TIMEOUT,
        })
    }
}

impl HttpConnector for S3HttpClient {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for S3HttpClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let moved = Arc::new(Moved::default());
        let (parts, body) = request.into_parts();
        let body = PacedBody {
            body,
            rest: Bytes::new(),
            moved: Arc::clone(&moved),
            rate_limiter: self.rate_limiter.clone(),
            booked: None,
        };
        let mut answer = Box::pin(self.client.request(hyper::Request::from_parts(parts, body)));
        let answer = loop {
            let last = moved.last();
            match tokio::time::timeout_at(last + self.stall_timeout, &mut answer).await {
                Ok(answer) => break answer.map_err(to_error)?,
                Err(_) if moved.last() > last => {}
                Err(e) => return Err(HttpError::new(HttpErrorKind::Timeout, e)),
            }
        };
        let (parts, body) = answer.into_parts();
        if parts.status == StatusCode::NOT_IMPLEMENTED {
            return Err(HttpError::new(HttpErrorKind::Unknown, FeatureMissing));
        }
        let body = StreamBody::new(frames(body, self.stall_timeout));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

/// The store's answer that it does not implement what was requested (501).
#[derive(Debug)]
pub(super) struct FeatureMissing;

impl std::fmt::Display for FeatureMissing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the store answered 501 Not Implemented")
    }
}

impl std::error::Error for FeatureMissing {}

/// When a request's body was last asked for more.
#[derive(Debug)]
struct Moved(Mutex<Instant>);

impl Default for Moved {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Moved {
    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A request's body, in pieces that keep to the rate.
#[derive(Debug)]
struct PacedBody {
    body: HttpRequestBody,
    rest: Bytes,
    moved: Arc<Moved>,
    rate_limiter: Option<Arc<RateLimiter>>,
    /// The wait for the next piece, once it is booked.
    booked: Option<Pin<Box<Sleep>>>,
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => this.rest = frame.into_data().unwrap_or_default(),
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                None => return Poll::Ready(None),
            }
        }
        let length = this.rest.len().min(PIECE);
        if let Some(rate_limiter) = &this.rate_limiter {
            let booked = this
                .booked
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(rate_limiter.book(length))));
            this.moved.touch();
            ready!(booked.as_mut().poll(context));
            this.booked = None;
        }
        this.moved.touch();
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match self.body.size_hint().exact() {
            Some(body) => SizeHint::with_exact(rest + body),
            None => SizeHint::default(),
        }
    }
}

/// Returns the frames of an answer, and an error if it stalls while the client waits for it. A slow reader is not an error.
fn frames(
    body: Incoming,
    stall_timeout: Duration,
) -> impl Stream<Item = Result<Frame<Bytes>, HttpError>> + Send + Sync + 'static {
    let frames = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(stall_timeout, body.frame()).await {
            Ok(None) => None,
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(e))) => Some((Err(HttpError::new(kind_of(&e), e)), None)),
            Err(_) => {
                let e = io::Error::new(io::ErrorKind::TimedOut, "the answer stalled");
                Some((Err(HttpError::new(HttpErrorKind::Timeout, e)), None))
            }
        }
    });
    // A body may be asked again after its end.
    frames.fuse()
}

fn to_error(e: legacy::Error) -> HttpError {
    let kind = if e.is_connect() {
        HttpErrorKind::Connect
    } else {
        kind_of(&e)
    };
    HttpError::new(kind, e)
}

/// Classifies a failure, which decides whether the request is repeated.
fn kind_of(e: &(dyn std::error::Error + 'static)) -> HttpErrorKind {
    use std::io::ErrorKind;
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(e) = e.downcast_ref::<hyper::Error>() {
            if e.is_closed() || e.is_incomplete_message() || e.is_body_write_aborted() {
                return HttpErrorKind::Request;
            }
            if e.is_timeout() {
                return HttpErrorKind::Timeout;
            }
        }
        match e.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::TimedOut) => return HttpErrorKind::Timeout,
            Some(
                ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof,
            ) => return HttpErrorKind::Interrupted,
            _ => {}
        }
        next = e.source();
    }
    HttpErrorKind::Unknown
}
