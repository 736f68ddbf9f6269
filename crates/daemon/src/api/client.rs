//! Asking a daemon how it is, from outside.

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

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// By what a daemon that is asked over TLS is known.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Authorities that the system trusts.
    System,
    /// Authorities of one's own.
    Authorities(Tls),
    /// Its very certificate.
    This(Certificate),
}

/// What a daemon says of itself, as far as it is understood: it may be newer than who asks.
#[derive(Debug, Clone, Deserialize)]
pub struct DaemonHealth {
    /// `ok`, `degraded` or `down`.
    pub status: String,
    /// Which sides it runs.
    pub mode: String,
    /// What it looks at.
    pub checks: Vec<ReportedCheck>,
}

/// One thing that a daemon looks at.
#[derive(Debug, Clone, Deserialize)]
pub struct ReportedCheck {
    /// What.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// How long its last answer took.
    pub latency_seconds: Option<f64>,
    /// When it was last well, RFC 3339.
    pub last_success_at: Option<String>,
    /// What is wrong with it, or what there is to say.
    pub detail: Option<String>,
    /// Where it is a place that fills.
    pub free_bytes: Option<u64>,
}

impl DaemonHealth {
    /// Whether data cannot flow.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.status == "down"
    }

    /// What is not as it should be.
    pub fn failing(&self) -> impl Iterator<Item = &str> {
        let bad = self.checks.iter().filter(|check| !check.ok);
        bad.map(|check| check.name.as_str())
    }
}

/// Asks `/health` of the daemon at `url` (`http://…` or `https://…`, without a path); what it says, and its own JSON document.
///
/// Fails where there is no answer within `patience`, or none that a daemon of ours would give. Sends no secret. Cancel-safe.
pub async fn health(
    url: &str,
    trust: Trust,
    patience: Duration,
) -> Result<(DaemonHealth, serde_json::Value)> {
    let uri = health_uri(url)?;
    let context = || format!("asking {uri}");
    let unwell = |what: String| Error::new(Cause::Down(what)).context(context());
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector(&uri, trust)?);
    let asked = async {
        let answer = client.get(uri.clone()).await.map_err(|e| {
            unwell(format!("no answer: {}", chain(&e)))
                .with_hint("is it running? It logs `http listens` with its address")
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await;
        let body = body.map_err(|e| unwell(format!("the answer broke off: {e}")))?;
        Ok::<_, Error>((status, body.to_bytes()))
    };
    let (status, body) = tokio::time::timeout(patience, asked)
        .await
        .map_err(|_| unwell(format!("no answer within {} s", patience.as_secs())))??;
    let understood = matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE)
        .then(|| serde_json::from_slice::<serde_json::Value>(&body).ok())
        .flatten()
        .and_then(|document| Some((DaemonHealth::deserialize(&document).ok()?, document)));
    understood.ok_or_else(|| {
        unwell(format!("it answered {status}, and not as mpsync does"))
            .with_hint("does another program listen there, or is the daemon reached by a name that http.allow_hosts does not have?")
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
        // A container may have no authorities at all, and need none for what is not encrypted.
        Trust::System => Tls::nobody()?.client(),
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
    fn a_url_is_an_address_and_nothing_more() {
        for (url, asked) in [
            ("http://127.0.0.1:8085", "http://127.0.0.1:8085/health"),
            ("https://[::1]:8085/", "https://[::1]:8085/health"),
        ] {
            assert_eq!(health_uri(url).unwrap().to_string(), asked);
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
