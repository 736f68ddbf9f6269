//! Connections: so many at once, each with so much time for its head.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::access::Access;
use super::router::{Bound, Rules, router};
use super::state::State;
use crate::error::{Context as _, Result};

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones are closed.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// How long a client may take to send it; an idle connection is closed after it.
    pub head_time: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a request may take, its body included.
    pub request_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head_bytes: 32 << 10,
            head_time: Duration::from_secs(10),
            body_bytes: 64 << 10,
            request_time: Duration::from_secs(30),
        }
    }
}

/// How long requests may still run once the server is told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A bound address.
#[derive(Debug)]
pub struct Listening(TcpListener);

impl Listening {
    /// Binds an address: a port that is taken is an error at once.
    pub async fn on(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .doing(|| format!("listening on {address}"))
            .hint("another daemon may run already; --hot-listen and --cold-listen take other addresses")?;
        Ok(Self(listener))
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }
}

/// Answers on a bound address until `shutdown` resolves; then takes no more connections and lets requests end for five seconds.
pub async fn serve(
    listening: Listening,
    state: State,
    access: Access,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let Listening(listener) = listening;
    let rules = Arc::new(Rules {
        access,
        state,
        request_timeout: limits.request_time,
    });
    let routes = router(rules, limits.body_bytes);
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    // Beyond the limit the connection is closed at once: it must not cost memory, nor hold up the others.
                    if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                        let (routes, stopping) = (routes.clone(), stopping.clone());
                        connections.spawn(async move {
                            connection(socket, routes, limits, stopping).await;
                            drop(permit);
                        });
                    }
                }
                Err(e) => {
                    // Out of file descriptors, or a client that went at once: neither is a reason to end.
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    drop(stopping);
    let _ = stop.send(());
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_DEADLINE, all).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(
    socket: TcpStream,
    routes: axum::Router,
    limits: Limits,
    mut stopping: watch::Receiver<()>,
) {
    let Ok(bound) = socket.local_addr() else {
        return;
    };
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Bound(bound));
        let mut routes = routes.clone();
        async move {
            tower_service::Service::call(&mut routes, request.map(axum::body::Body::new)).await
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(socket), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection broke");
    }
}
