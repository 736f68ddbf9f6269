//! The routes, and the checks of every request: host, token, time limit, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Extract};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use tracing::Instrument as _;

use super::access::Access;
use super::data_sources::ApiState;
use super::problem::Problem;
use super::{dead_letters, exposition, openapi, status, transfers};
use crate::page::routes as page;
use mpsync_net::access::foreign_header;

/// The rules for every request.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) access: Access,
    pub(crate) state: ApiState,
    pub(crate) request_timeout: Duration,
}

/// The local address of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BoundAddress(pub(crate) SocketAddr);

pub(crate) fn router(rules: Arc<Rules>, body_bytes_max: usize) -> Router {
    let state = rules.state.clone();
    routes()
        .into_iter()
        .fold(page::routes(), |router, (path, methods)| {
            router.route(path, methods)
        })
        .fallback(async || Problem::not_found("unknown route"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this route does not support this method",
            )
        })
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(from_fn_with_state(rules, gate))
        .with_state(state)
}

/// Returns every route except the files of the page.
fn routes() -> Vec<(&'static str, MethodRouter<ApiState>)> {
    vec![
        ("/health", get(status::health)),
        ("/ready", get(status::ready)),
        ("/stats", get(status::stats)),
        ("/sync", post(status::ask_sync)),
        ("/windows", get(transfers::windows)),
        (
            "/transfer-tasks",
            get(transfers::list).post(transfers::create),
        ),
        ("/transfer-tasks/{id}", get(transfers::show)),
        ("/transfer-tasks/{id}/cancel", post(transfers::cancel)),
        ("/transfer-tasks/{id}/retry", post(transfers::retry)),
        ("/dead-letters", get(dead_letters::newest)),
        ("/metrics", get(exposition::metrics)),
        ("/openapi.json", get(openapi::document)),
    ]
}

async fn gate(Extract(rules): Extract<Arc<Rules>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let id = format!("{:016x}", rand::random::<u64>());
    // Read requests come every few seconds: their log lines are useful for debugging only.
    let span = match method.is_safe() {
        true => tracing::debug_span!("request", id, %method, route),
        false => tracing::error_span!("request", id, %method, route),
    };
    let mut answer = answered(&rules, request, next)
        .instrument(span.clone())
        .await;
    let status = answer.status().as_u16();
    span.in_scope(|| match method.is_safe() {
        true => tracing::debug!(status, "request answered"),
        false => tracing::info!(status, "request answered"),
    });
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    let seconds = started.elapsed().as_secs_f64();
    // A method is any text of the client: only known ones become labels.
    let known = matches!(
        method.as_str(),
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH"
    );
    let method = if known { method.as_str() } else { "other" };
    rules
        .state
        .daemon
        .metrics()
        .answered(&route, method, status, seconds);
    answer
}

async fn answered(rules: &Rules, request: Request, next: Next) -> Response {
    if let Some(refusal) = refusal(rules, &request) {
        return refusal.into_response();
    }
    match tokio::time::timeout(rules.request_timeout, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
        }
    }
}

fn refusal(rules: &Rules, request: &Request) -> Option<Problem> {
    let bound = request.extensions().get::<BoundAddress>()?.0;
    if let Some(name) = foreign_header(request.headers(), bound, &rules.access.hosts) {
        return Some(
            Problem::new(
                StatusCode::FORBIDDEN,
                format!("the {name} header names a foreign host"),
            )
            .with_hint(
                "use the address of the server, or add the host to http.allow_hosts or by --allow-host",
            ),
        );
    }
    if rules
        .access
        .allows(request.method(), request.uri().path(), request.headers())
    {
        return None;
    }
    let hint = match &rules.access.token_file {
        Some(file) => format!(
            "send `Authorization: Bearer TOKEN` with the token in {}",
            file.display()
        ),
        None => "send `Authorization: Bearer TOKEN`".to_owned(),
    };
    Some(Problem::new(StatusCode::UNAUTHORIZED, "this request requires the token").with_hint(hint))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use hyper::Method;
    use hyper::header::AUTHORIZATION;

    use super::super::data_sources::testing::data_sources;
    use super::*;
    use crate::state::daemon_state::DaemonState;
    use crate::state::mode::Mode;
    use mpsync_net::Secret;

    /// Returns the router of a daemon without sides, so that no route sends a request.
    fn idle() -> Router {
        let access = Access {
            token: Secret::new("right"),
            token_file: None,
            require_token_for_reads: false,
            hosts: Vec::new(),
        };
        let rules = Rules {
            access,
            state: ApiState::new(DaemonState::new(Mode::Cold, None, None), data_sources()),
            request_timeout: Duration::from_secs(30),
        };
        router(Arc::new(rules), 1000)
    }

    /// Returns whether the router has the route, and the route the method.
    async fn serves(router: &Router, path: &str, method: &Method) -> bool {
        let request = Request::builder()
            .method(method)
            .uri(path.replace("{id}", "x"))
            .header(AUTHORIZATION, "Bearer right")
            .body(Body::empty())
            .unwrap();
        let mut router = router.clone();
        let answer = tower_service::Service::call(&mut router, request)
            .await
            .unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        status != StatusCode::METHOD_NOT_ALLOWED
            && !String::from_utf8_lossy(&body).contains("unknown route")
    }

    #[tokio::test]
    async fn routes_and_their_description_agree() {
        let described = serde_json::to_value(openapi::description()).unwrap();
        let described = described["paths"].as_object().unwrap();
        let served = routes().into_iter().map(|(path, _)| path);
        let paths: BTreeSet<&str> = described
            .keys()
            .map(String::as_str)
            .chain(served)
            .chain(page::files().map(|(path, _)| path))
            .collect();
        let router = idle();
        for path in paths {
            for method in [
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ] {
                let name = method.as_str().to_lowercase();
                let is_described = described
                    .get(path)
                    .is_some_and(|item| item.get(&name).is_some());
                assert_eq!(
                    serves(&router, path, &method).await,
                    is_described,
                    "{method} {path}"
                );
            }
        }
    }
}
