//! The HTTP server: bound addresses, TLS, limits.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::data_sources::ApiState;
use super::router::{BoundAddress, Rules, router};
use mpsync_config::HttpConfig;
use mpsync_core::error::{Context as _, Result};
use mpsync_net::Certificate;
use mpsync_net::connections::{self, Arrived};

/// The maximum size of a request's head, in bytes.
const HEAD_BYTES: usize = 32 << 10;

/// How long requests may still run after the shutdown has begun.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Limits on clients.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Limits on connections. The time for a head also limits a TLS handshake.
    pub connections: connections::ConnectionLimits,
    /// The maximum size of a request's body, in bytes.
    pub body_bytes: usize,
    /// How long a request may take, including its body.
    pub request_time: Duration,
}

impl From<&HttpConfig> for HttpLimits {
    fn from(config: &HttpConfig) -> Self {
        Self {
            connections: connections::ConnectionLimits {
                connections: Some(config.max_connections),
                head_bytes: HEAD_BYTES,
                head_time: config.head_timeout,
                stop_time: STOP_DEADLINE,
            },
            body_bytes: config.max_body_bytes,
            request_time: config.request_timeout,
        }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Listening(TcpListener);

impl Listening {
    /// Binds an address.
    ///
    /// # Errors
    ///
    /// If the port is in use.
    pub async fn on(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .context(|| format!("listening on {address}"))
            .with_hint("another daemon may be running; http.hot_listen and http.cold_listen set other addresses")?;
        Ok(Self(listener))
    }

    /// Returns the bound address.
    ///
    /// # Errors
    ///
    /// If the operating system does not report it.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }
}

/// Serves requests until `shutdown` resolves, over TLS if there is a certificate; then accepts no more connections and waits up
/// to five seconds for requests to end.
pub async fn serve(
    listening: Listening,
    state: ApiState,
    access: Access,
    limits: HttpLimits,
    certificate: Option<Certificate>,
    shutdown: impl Future<Output = ()>,
) {
    let rules = Arc::new(Rules {
        access,
        state,
        request_timeout: limits.request_time,
    });
    let routes = router(rules, limits.body_bytes);
    let tls = certificate.map(|certificate| TlsAcceptor::from(certificate.server()));
    let limits = limits.connections;
    connections::accept(listening.0, limits, shutdown, |arrived| {
        connection(arrived, routes.clone(), tls.clone(), limits)
    })
    .await;
}

async fn connection(
    arrived: Arrived,
    routes: axum::Router,
    tls: Option<TlsAcceptor>,
    limits: connections::ConnectionLimits,
) {
    let Arrived {
        socket,
        bound,
        mut stopping,
    } = arrived;
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(BoundAddress(bound));
        let mut routes = routes.clone();
        async move {
            tower_service::Service::call(&mut routes, request.map(axum::body::Body::new)).await
        }
    });
    let Some(tls) = tls else {
        return connections::answer(socket, limits, service, stopping).await;
    };
    // A client that never completes its handshake counts as a connection and reaches its timeout.
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.head_time, tls.accept(socket)) => shaken,
        () = stopping.stopped() => return,
    };
    match shaken {
        Ok(Ok(socket)) => connections::answer(socket, limits, service, stopping).await,
        Ok(Err(e)) => tracing::debug!(error = %e, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}
