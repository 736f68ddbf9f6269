//! Exports traces to an OpenTelemetry collector: in batches, over HTTP, without ever delaying the traced work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::otlp::{self, EndedSpan};
use mpsync_config::TracesConfig;
use mpsync_core::error::{Error, Result, chain};

/// The maximum number of waiting spans; further ones are lost.
pub(super) const WAITING_MAX: usize = 4096;
/// The maximum number of spans in a request.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for further ones.
const GATHER: Duration = Duration::from_secs(1);
/// The timeout of a request to the collector.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends traces to a collector.
pub struct Exporter {
    spans: mpsc::Receiver<EndedSpan>,
    lost: Arc<AtomicU64>,
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    host: String,
}

impl Exporter {
    pub(super) fn new(
        config: &TracesConfig,
        spans: mpsc::Receiver<EndedSpan>,
        lost: Arc<AtomicU64>,
    ) -> Result<Self> {
        let uri = format!("{}/v1/traces", config.endpoint.trim_end_matches('/'));
        let uri = uri.parse().map_err(|_| {
            Error::config(format!("logging.otlp_endpoint: invalid address `{uri}`"))
        })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.tls.client())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self {
            spans,
            lost,
            uri,
            client: Client::builder(TokioExecutor::new()).build(connector),
            host: host.trim().to_owned(),
        })
    }

    /// Sends spans until `finish` is cancelled, then the remaining ones. Spans that an unavailable collector does not accept are lost.
    pub async fn run(mut self, finish: CancellationToken) {
        let mut batch = Vec::new();
        let mut is_accepting = true;
        loop {
            let came = tokio::select! {
                came = self.spans.recv_many(&mut batch, BATCH_MAX) => came > 0,
                () = finish.cancelled() => {
                    self.spans.close();
                    self.spans.recv_many(&mut batch, BATCH_MAX).await > 0
                }
            };
            if !came {
                break;
            }
            let gathered = tokio::time::sleep(GATHER);
            let _: Option<()> = finish.run_until_cancelled(gathered).await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            let sent = self.send(&batch).await;
            self.log_outcome(&mut is_accepting, sent, batch.len());
            batch.clear();
        }
    }

    async fn send(&self, batch: &[EndedSpan]) -> Result<(), String> {
        let body = otlp::request(batch, &self.host).to_string();
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.client.request(request)).await;
        let answer = answer
            .map_err(|_| format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))?
            .map_err(|e| chain(&e))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }

    /// Logs when the collector stops or resumes accepting traces, and how many spans were lost.
    fn log_outcome(&self, is_accepting: &mut bool, sent: Result<(), String>, spans: usize) {
        let uri = &self.uri;
        match sent {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if !*is_accepting || lost > 0 {
                    tracing::info!(%uri, lost, "trace collector accepts traces; some were lost");
                }
                *is_accepting = true;
            }
            Err(error) => {
                self.lost.fetch_add(spans as u64, Ordering::Relaxed);
                if *is_accepting {
                    tracing::warn!(%uri, error, "trace collector does not accept traces; they are lost");
                }
                *is_accepting = false;
            }
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exporter({})", self.uri)
    }
}
