//! A client of `/health`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use mpsync_core::error::{Cause, Error, Result, chain};
use mpsync_net::{Certificate, Tls};

/// The maximum size of a response, in bytes.
const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// The way in which a client verifies the daemon's certificate.
#[derive(Debug, Clone)]
pub enum Trust {
    /// By the authorities that the system trusts.
    System,
    /// By private authorities.
    Authorities(Tls),
    /// By comparison with this certificate.
    This(Certificate),
}

/// The health of a daemon. It may be newer than the client: unknown fields are ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct DaemonHealth {
    /// `ok`, `degraded` or `down`.
    pub status: String,
    /// The sides that it runs.
    pub mode: String,
    /// The checks.
    pub checks: Vec<ReportedCheck>,
}

/// One check of a daemon.
#[derive(Debug, Clone, Deserialize)]
pub struct ReportedCheck {
    /// The name of the check.
    pub name: String,
    /// Whether the check succeeded.
    pub ok: bool,
    /// The duration of the last response.
    pub latency_seconds: Option<f64>,
    /// The time of the last success, RFC 3339.
    pub last_success_at: Option<String>,
    /// The failure, or further information.
    pub detail: Option<String>,
    /// The free bytes, if it is a disk.
    pub free_bytes: Option<u64>,
}

impl DaemonHealth {
    /// Returns whether data cannot flow.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.status == "down"
    }

    /// Returns the names of the failing checks.
    pub fn failing(&self) -> impl Iterator<Item = &str> {
        let bad = self.checks.iter().filter(|check| !check.ok);
        bad.map(|check| check.name.as_str())
    }
}

/// Requests `/health` of the daemon at `url` (`http://…` or `https://…`, without a path). Returns the health, and the JSON document.
///
/// Sends no secret.
///
/// # Errors
///
/// If there is no response within `timeout`, or the response is not that of an mpsync daemon.
///
/// # Cancel safety
///
/// Cancel-safe.
pub async fn health(
    url: &str,
    trust: Trust,
    timeout: Duration,
) -> Result<(DaemonHealth, serde_json::Value)> {
    let uri = health_uri(url)?;
    let context = || format!("requesting {uri}");
    let down = |text: String| Error::new(Cause::Down(text)).context(context());
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector(&uri, trust)?);
    let request = async {
        let answer = client.get(uri.clone()).await.map_err(|e| {
            down(format!("no answer: {}", chain(&e)))
                .with_hint("is it running? It logs `http listens` with its address")
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), RESPONSE_BYTES_MAX);
        let body = body.collect().await;
        let body = body.map_err(|e| down(format!("the response was interrupted: {e}")))?;
        Ok::<_, Error>((status, body.to_bytes()))
    };
    let (status, body) = tokio::time::timeout(timeout, request)
        .await
        .map_err(|_| down(format!("no answer within {} s", timeout.as_secs())))??;
    let understood = matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE)
        .then(|| serde_json::from_slice::<serde_json::Value>(&body).ok())
        .flatten()
        .and_then(|document| Some((DaemonHealth::deserialize(&document).ok()?, document)));
    understood.ok_or_else(|| {
        down(format!("the response ({status}) is not that of an mpsync daemon"))
            .with_hint("check that no other program listens there, and that http.allow_hosts contains the host name of the URL")
    })
}

fn health_uri(url: &str) -> Result<Uri> {
    let refused = || {
        Error::usage("--url must be http://HOST:PORT or https://HOST:PORT, without login and path")
    };
    let uri: Uri = url.parse().map_err(|_| refused())?;
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return Err(refused());
    };
    let is_http = matches!(scheme.as_str(), "http" | "https");
    if !is_http || authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
        return Err(refused());
    }
    format!("{scheme}://{authority}/health")
        .parse()
        .map_err(|_| refused())
}

fn connector(uri: &Uri, trust: Trust) -> Result<HttpsConnector<HttpConnector>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let tls = match trust {
        Trust::Authorities(tls) => tls.client(),
        Trust::This(certificate) => certificate.client()?,
        Trust::System if uri.scheme_str() == Some("https") => Tls::system()?.client(),
        // A container may have no authorities at all, and needs none for an unencrypted connection.
        Trust::System => Tls::without_authorities()?.client(),
    };
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_an_address_only() {
        for (url, expected) in [
            ("http://127.0.0.1:8085", "http://127.0.0.1:8085/health"),
            ("https://[::1]:8085/", "https://[::1]:8085/health"),
        ] {
            assert_eq!(health_uri(url).unwrap().to_string(), expected);
        }
        for url in [
            "127.0.0.1:8085",
            "ftp://h",
            "http://u:secret@h:1",
            "http://h/x",
            "http://h/?a",
            "",
        ] {
            let e = health_uri(url).unwrap_err().to_string();
            assert!(!e.contains("secret"), "{e}");
        }
    }
}
