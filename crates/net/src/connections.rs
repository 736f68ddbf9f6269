//! Accepts connections of a server: a limit on their number, a timeout for a request's head, and a graceful shutdown.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::open_connections::{Activity, GuardedBody, OpenConnections};

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits on the connections of clients.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The maximum number of open connections. Beyond it, a new connection replaces the one that has been idle the longest, and is
    /// closed if all serve a request. `None` for no limit.
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

/// Resolves when the server stops. It belongs to one connection.
#[derive(Debug, Clone)]
pub struct Stopping {
    server: watch::Receiver<()>,
    activity: Activity,
}

impl Stopping {
    /// Waits until the server stops.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn stopped(&mut self) {
        // A dropped server has stopped as well.
        let _ = self.server.changed().await;
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
    let open = OpenConnections::new(limits.connections);
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    // Idle clients must not lock out others, for example health checks.
                    let Some(mut slot) = open.admit() else {
                        continue;
                    };
                    let Ok(bound) = socket.local_addr() else {
                        continue;
                    };
                    let _ = socket.set_nodelay(true);
                    let stopping = Stopping {
                        server: stopping.clone(),
                        activity: slot.activity(),
                    };
                    let serving = connection(Arrived { socket, bound, stopping });
                    connections.spawn(async move {
                        tokio::select! {
                            () = serving => {}
                            () = slot.evicted() => tracing::debug!("idle connection closed to admit another one"),
                        }
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
pub async fn answer<I, S, B>(io: I, limits: ConnectionLimits, service: S, mut stopping: Stopping)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let activity = stopping.activity.clone();
    let service = service_fn(|request| {
        let request_guard = activity.begin();
        let response = service.call(request);
        async move {
            let response = response.await?;
            Ok::<_, S::Error>(response.map(|body| GuardedBody::new(body, request_guard)))
        }
    });
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Starts a server that answers every request; returns its address.
    async fn server(connections: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let limits = ConnectionLimits {
            connections: Some(connections),
            head_bytes: 16 << 10,
            head_time: Duration::from_mins(5),
            stop_time: Duration::ZERO,
        };
        tokio::spawn(accept(
            listener,
            limits,
            std::future::pending(),
            move |arrived| {
                let service = service_fn(async |_: Request<Incoming>| {
                    Ok::<_, Infallible>(Response::new("healthy".to_owned()))
                });
                answer(arrived.socket, limits, service, arrived.stopping)
            },
        ));
        address
    }

    async fn request(socket: &mut TcpStream) -> String {
        let head = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
        socket.write_all(head).await.expect("sent");
        let (mut response, mut piece) = (Vec::new(), [0; 1024]);
        while !response.ends_with(b"healthy") {
            match socket.read(&mut piece).await.expect("read") {
                0 => break,
                n => response.extend_from_slice(&piece[..n]),
            }
        }
        String::from_utf8(response).expect("text")
    }

    #[tokio::test]
    async fn idle_connections_do_not_shut_out_health_checks() {
        let address = server(16).await;
        let mut idle = Vec::new();
        for n in 0..100 {
            let mut socket = TcpStream::connect(address).await.expect("connected");
            match n % 3 {
                // Never sends anything, sends a part of a head, keeps the connection after a request.
                0 => {}
                1 => socket.write_all(b"GET / HT").await.expect("sent"),
                _ => assert!(request(&mut socket).await.ends_with("healthy")),
            }
            idle.push(socket);
        }
        let mut check = TcpStream::connect(address).await.expect("connected");
        let response = request(&mut check).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }
}
