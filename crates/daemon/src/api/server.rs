//! Connections of the daemon's HTTP: bound addresses, TLS, limits.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::router::{BoundAddress, Rules, router};
use super::state::DaemonState;
use mpsync_config::HttpConfig;
use mpsync_core::error::{Context as _, Result};
use mpsync_net::Certificate;
use mpsync_net::connections::{self, Arrived};

/// Bytes of a request's head.
const HEAD_BYTES: usize = 32 << 10;

/// How long requests may still run once the server is told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Of its connections. The time for a head is that for a TLS handshake too.
    pub connections: connections::ConnectionLimits,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a request may take, its body included.
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

/// A bound address.
#[derive(Debug)]
pub struct Listening(TcpListener);

impl Listening {
    /// Binds an address: a port that is taken is an error at once.
    pub async fn on(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .context(|| format!("listening on {address}"))
            .with_hint("another daemon may run already; http.hot_listen and http.cold_listen take other addresses")?;
        Ok(Self(listener))
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }
}

/// Answers on a bound address until `shutdown` resolves, encrypted where there is a certificate; then takes no more connections and
/// lets requests end for five seconds.
pub async fn serve(
    listening: Listening,
    state: DaemonState,
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
    // A client that never ends its handshake is a connection like any other: it counts, and its time ends.
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.head_time, tls.accept(socket)) => shaken,
        () = stopping.stopped() => return,
    };
    match shaken {
        Ok(Ok(socket)) => connections::answer(socket, limits, service, stopping).await,
        Ok(Err(e)) => tracing::debug!(error = %e, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}
