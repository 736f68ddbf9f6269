//! Accepts connections of a server: a limit on their number, a timeout for a request's head, and a graceful shutdown.

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

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits on the connections of clients.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The maximum number of open connections; further ones are closed. `None` for no limit.
    pub connections: Option<usize>,
    /// The maximum size of a request's head, in bytes.
    pub head_bytes: usize,
    /// How long a client may take to send the head; an idle connection is closed after it.
    pub head_time: Duration,
    /// How long requests may still run after the shutdown has begun.
    pub stop_time: Duration,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Arrived {
    /// The connection.
    pub socket: TcpStream,
    /// The local address of the connection.
    pub bound: SocketAddr,
    /// Resolves when the connection must end.
    pub stopping: Stopping,
}

/// Resolves when the server stops.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<()>);

impl Stopping {
    /// Waits until the server stops.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn stopped(&mut self) {
        // A dropped server has stopped as well.
        let _ = self.0.changed().await;
    }
}

/// Accepts connections until `shutdown` resolves, each in a task of its own; then accepts no more, and waits for the open ones
/// to end, for as long as the limits allow. Returns `false` if some had to be aborted.
///
/// # Cancel safety
///
/// Dropping the future aborts all connections.
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
                    // Beyond the limit a connection is closed at once: it must not cost memory or delay the others.
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
                    // Out of file descriptors, or a client that has disconnected: the server goes on in both cases.
                    tracing::warn!(error = %e, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
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

/// Serves the requests of a connection over HTTP/1 until it ends; after the server has stopped, only the one in progress.
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
        tracing::debug!(error = %e, "connection failed");
    }
}
