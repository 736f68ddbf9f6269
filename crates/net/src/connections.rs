//! How the servers of ours take connections: so many at once, each with so much time for a request's head, and an end in order.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long nothing is accepted after it failed.
const PAUSE: Duration = Duration::from_millis(50);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at once; further ones are closed. `None`: as many as come.
    pub connections: Option<usize>,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// How long a client may take to send it; an idle connection is closed after it.
    pub head_time: Duration,
    /// How long requests may still run once the server is told to stop.
    pub stop_time: Duration,
}

/// A connection that has come.
#[derive(Debug)]
pub struct Arrived {
    /// The connection.
    pub socket: TcpStream,
    /// The address of ours at which it came.
    pub bound: SocketAddr,
    /// Tells when it is to end.
    pub stopping: Stopping,
}

/// Tells a connection when the server stops.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<()>);

impl Stopping {
    /// Waits until the server stops. Cancel-safe.
    pub async fn stopped(&mut self) {
        // A server that is gone has stopped too.
        let _ = self.0.changed().await;
    }
}

/// Takes connections until `shutdown` resolves, each in a task of its own; then takes no more, and lets those that are there end
/// for as long as the limits say. `false` where some had to be broken then.
///
/// Dropping the future breaks all connections.
pub async fn accept<C>(
    listener: TcpListener,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
    connection: impl Fn(Arrived) -> C,
) -> bool
where
    C: Future<Output = ()> + Send + 'static,
{
    let permits = limits.connections.unwrap_or(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    // Beyond the limit it is closed at once: it must not cost memory, nor hold up the others.
                    let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                        continue;
                    };
                    let Ok(bound) = socket.local_addr() else {
                        continue;
                    };
                    let _ = socket.set_nodelay(true);
                    let stopping = Stopping(stopping.clone());
                    let serving = connection(Arrived { socket, bound, stopping });
                    connections.spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                Err(e) => {
                    // Out of file descriptors, or a client that went at once: neither is a reason to end.
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    drop(stopping);
    let _ = stop.send(());
    let all = async { while connections.join_next().await.is_some() {} };
    let in_order = tokio::time::timeout(limits.stop_time, all).await.is_ok();
    if !in_order {
        connections.shutdown().await;
    }
    in_order
}

/// Answers a connection's requests over HTTP/1 until it ends; once the server stops, only the one that runs.
pub async fn answer<I, S>(io: I, limits: ConnectionLimits, service: S, mut stopping: Stopping)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(io), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping.stopped() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection broke");
    }
}
