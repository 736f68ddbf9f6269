//! Traces on their way to an OpenTelemetry collector: in lots, over HTTP, never at the price of the work that they tell of.

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

/// Spans that wait at most; further ones are lost.
pub(super) const WAITING_MAX: usize = 4096;
/// Spans of one request at most.
const LOT: usize = 512;
/// How long spans wait for company.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

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
        let uri = uri
            .parse()
            .map_err(|_| Error::config(format!("logging.otlp_endpoint: {uri} is no address")))?;
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

    /// Sends until `finish` is cancelled, and then what is left. A collector that is away costs its spans: nothing is kept for it.
    pub async fn run(mut self, finish: CancellationToken) {
        let mut lot = Vec::new();
        let mut takes = true;
        loop {
            let came = tokio::select! {
                came = self.spans.recv_many(&mut lot, LOT) => came > 0,
                () = finish.cancelled() => {
                    self.spans.close();
                    self.spans.recv_many(&mut lot, LOT).await > 0
                }
            };
            if !came {
                break;
            }
            let gathered = tokio::time::sleep(GATHER);
            let _: Option<()> = finish.run_until_cancelled(gathered).await;
            while lot.len() < LOT
                && let Ok(span) = self.spans.try_recv()
            {
                lot.push(span);
            }
            let sent = self.send(&lot).await;
            self.tell(&mut takes, sent, lot.len());
            lot.clear();
        }
    }

    async fn send(&self, lot: &[EndedSpan]) -> Result<(), String> {
        let body = otlp::request(lot, &self.host).to_string();
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        let answer = answer
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
            .map_err(|e| chain(&e))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }

    /// Says when the collector stops and begins to take traces, and how many were lost.
    fn tell(&self, takes: &mut bool, sent: Result<(), String>, spans: usize) {
        let uri = &self.uri;
        match sent {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if !*takes || lost > 0 {
                    tracing::info!(%uri, lost, "traces are taken again; some were lost");
                }
                *takes = true;
            }
            Err(error) => {
                self.lost.fetch_add(spans as u64, Ordering::Relaxed);
                if *takes {
                    tracing::warn!(%uri, error, "traces are not taken, and lost until they are");
                }
                *takes = false;
            }
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exporter({})", self.uri)
    }
}
