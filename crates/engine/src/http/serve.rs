//! Connections, routes, and the way of a request through the other files.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use mpsync_core::error::{Error, Result};
use mpsync_net::connections::{self, Arrived, ConnectionLimits};

use super::file_route;
use crate::exception::Exception;
use crate::files::roots;
use crate::http::answer::{AnswerBody, Heading, HttpAnswer, plain, plain_refusal, summary};
use crate::http::auth::{Auth, check_origin};
use crate::http::body::BodyReader;
use crate::http::flush::FlushSignalling;
use crate::http::request::{EngineRequest, form};
use crate::lifecycle::Engine;
use crate::query::cancel::{CancelOnDrop, Registered};
use crate::query::execute::Job;
use crate::query::select;
use crate::statement::kind::Statement;

/// The limits of connections. A request line may contain a query, hence the long head; all heads together take at most
/// 128 MiB. The number of requests that run at once is the engine's own limit.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: Some(512),
    head_bytes: 256 << 10,
    head_time: Duration::from_secs(30),
    stop_time: Duration::from_secs(10),
};
/// The most bytes of a form, which is held in memory: a statement and its parameters.
const FORM_BYTES_MAX: usize = 8 << 20;
/// The longest time that a form may take: a request is held up by it.
const FORM_TIME_MAX: Duration = Duration::from_mins(1);
/// Interval between two sweeps of expired sessions.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Serves ClickHouse's HTTP interface on `listener` until `shutdown` resolves; then accepts no more
/// connections, waits up to ten seconds for running requests, cancels the rest and closes the engine.
///
/// `hosts` are the names, beside its addresses, by which clients reach it; a request for any other host is
/// refused.
///
/// # Errors
///
/// Fails if authentication is off and the listener is not on loopback.
///
/// # Cancel safety
///
/// Not cancel-safe: dropped, it leaves requests running and the engine open.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    auth: Auth,
    hosts: Vec<String>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let address = listener.local_addr()?;
    if matches!(auth, Auth::Open) && !address.ip().is_loopback() {
        return Err(Error::usage(format!(
            "without authentication the engine listens on loopback only, not on {}",
            address.ip()
        )));
    }
    let access_policy = Arc::new(AccessPolicy { auth, hosts });
    let ended = async {
        shutdown.await;
        tracing::info!("stopping");
    };
    let served = connections::accept(listener, LIMITS, ended, |arrived| {
        connection(arrived, engine.clone(), Arc::clone(&access_policy))
    });
    let in_order = tokio::select! {
        in_order = served => in_order,
        never = sweep(&engine) => match never {},
    };
    if !in_order {
        tracing::warn!("requests still running at the deadline: connections closed");
    }
    engine.close(Duration::from_secs(1)).await;
    Ok(())
}

/// Removes expired sessions, for ever.
async fn sweep(engine: &Engine) -> Infallible {
    let mut due = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        due.tick().await;
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || engine.inner.sessions.expire());
    }
}

/// The clients that are admitted.
struct AccessPolicy {
    auth: Auth,
    /// Names of the server, beside its addresses.
    hosts: Vec<String>,
}

async fn connection(arrived: Arrived, engine: Engine, access_policy: Arc<AccessPolicy>) {
    let Arrived {
        socket,
        bound,
        stopping,
    } = arrived;
    let (socket, flushed) = FlushSignalling::new(socket);
    let service = service_fn(move |request| {
        let (engine, access_policy, flushed) = (
            engine.clone(),
            Arc::clone(&access_policy),
            Arc::clone(&flushed),
        );
        async move { Ok::<_, Infallible>(handle(request, engine, &access_policy, bound, flushed).await) }
    });
    connections::answer(socket, LIMITS, service, stopping).await;
}

async fn handle(
    request: hyper::Request<Incoming>,
    engine: Engine,
    access_policy: &AccessPolicy,
    bound: SocketAddr,
    flushed: Arc<Notify>,
) -> HttpAnswer {
    if let Err(e) = check_origin(request.headers(), bound, &access_policy.hosts) {
        tracing::warn!(error = %e, "foreign request refused");
        return plain_refusal(&e);
    }
    if request.uri().path().starts_with(roots::ROUTE) {
        let (parts, body) = request.into_parts();
        return file_route::answer(&engine, &parts, body, flushed).await;
    }
    let bare = request.uri().query().is_none_or(str::is_empty);
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/ping" | "/replicas_status") => {
            return plain(StatusCode::OK, "Ok.\n");
        }
        (&Method::GET | &Method::HEAD, "/") if bare => return plain(StatusCode::OK, "Ok.\n"),
        (&Method::GET | &Method::HEAD | &Method::POST, "/" | "/query") => {}
        (&Method::GET | &Method::HEAD | &Method::POST, path) => {
            return plain(
                StatusCode::NOT_FOUND,
                format!("There is no handle {path}\n"),
            );
        }
        _ => {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "Only GET, HEAD and POST are served\n",
            );
        }
    }
    let (parts, body) = request.into_parts();
    let fields = match EngineRequest::parse(&parts) {
        Ok(fields) => fields,
        Err(e) => return plain_refusal(&e),
    };
    let anonymous = fields.credentials.user.is_none() && fields.credentials.password.is_none();
    if let Err(e) = access_policy.auth.check(&fields.credentials) {
        tracing::warn!("wrong user or password");
        let mut answer = plain_refusal(&e);
        if anonymous {
            // Without `WWW-Authenticate`: a browser that asked its user for the password would send it with the
            // requests of every page from then on.
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
        }
        return answer;
    }
    let query_id = fields.query_id.clone().unwrap_or_else(new_query_id);
    let heading = Heading::new(
        &engine.inner.identity,
        query_id,
        fields.answer_encoding,
        fields.answer_blocks,
    )
    .hiding(access_policy.auth.secret());
    if parts.method == Method::HEAD {
        // `url()` and others probe with HEAD, which runs nothing.
        let format = fields.default_format.as_deref().unwrap_or("TabSeparated");
        return heading.answer(
            format,
            AnswerBody::Whole(Some(Bytes::new())),
            &summary(&crate::ffi::StatementCounts::default(), Duration::ZERO),
        );
    }
    match execute(fields, body, engine, &heading, flushed, bound).await {
        Ok(answer) => answer,
        Err(exception) => {
            tracing::debug!(query_id = heading.query_id, error = %exception, "query failed");
            heading.refusal(&exception)
        }
    }
}

async fn execute(
    mut fields: EngineRequest,
    body: Incoming,
    engine: Engine,
    heading: &Heading,
    flushed: Arc<Notify>,
    bound: SocketAddr,
) -> Result<HttpAnswer, Exception> {
    // First, so that no more bodies are in memory than requests may run.
    let permit = engine.inner.permit().await?;
    let body = match fields.boundary.take() {
        Some(boundary) => {
            let too_large =
                |e| Exception::bad_arguments(format!("The form could not be read: {e}"));
            let collecting = Limited::new(body, FORM_BYTES_MAX).collect();
            let bytes = tokio::time::timeout(FORM_TIME_MAX, collecting)
                .await
                .map_err(|_| Exception::bad_arguments("The form took too long"))?
                .map_err(too_large)?
                .to_bytes();
            fields.accept_form(form(&bytes, &boundary)?)?;
            BodyReader::of(Bytes::new())
        }
        None => BodyReader::start(body),
    };
    let tag = format!("{:032x}", rand::random::<u128>());
    let registered = Registered::new(&engine, &tag, &heading.query_id);
    let reading = engine.clone();
    let job = blocking(move || Job::read(&reading, fields, body, tag, bound)).await?;
    log_start(&job, heading);
    if matches!(job.statement, Statement::Select { .. }) {
        return select::answer(job, &engine, permit, heading.clone(), flushed, registered).await;
    }
    let format = job.answer_format();
    let cancel = CancelOnDrop::new(engine.clone(), &job);
    let outcome = blocking(move || job.run(&engine, permit)).await;
    cancel.disarm();
    let outcome = outcome?;
    let body = heading
        .encode(&outcome.body)
        .map_err(|e| Exception::internal(format!("the result could not be compressed: {e}")))?;
    Ok(heading.answer(
        &format,
        AnswerBody::Whole(Some(body.into())),
        &summary(&outcome.counts, outcome.elapsed),
    ))
}

fn log_start(job: &Job, heading: &Heading) {
    let text = match &job.statement {
        Statement::Select { head: text, .. }
        | Statement::Insert { head: text, .. }
        | Statement::Other { text, .. } => text,
    };
    tracing::debug!(
        query_id = heading.query_id,
        query = crate::statement::lexer::without_literals(text),
        "running"
    );
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Exception> + Send + 'static,
) -> Result<T, Exception> {
    let lost = |_| Err(Exception::internal("the request's thread panicked"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(lost)
}

/// Returns a query id like a server's: a random UUID.
fn new_query_id() -> String {
    let random = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{random:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
