//! The metrics that the daemon counts itself: HTTP requests and the steps of transfers.

use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The upper bounds of the buckets of a transfer's steps, in seconds: from a move to a day of order books.
const STEP_BUCKETS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// Counters of HTTP requests and of the steps of transfers.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    steps: HistogramVec,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests = Opts::new("mpsync_http_requests_total", "Answered requests");
        let seconds = HistogramOpts::new(
            "mpsync_http_request_duration_seconds",
            "Duration of requests",
        );
        let steps = HistogramOpts::new(
            "mpsync_transfer_step_duration_seconds",
            "Duration of the steps of transfers",
        )
        .buckets(STEP_BUCKETS.to_vec());
        let build = || {
            let requests = IntCounterVec::new(requests, &["route", "method", "status"])?;
            let seconds = HistogramVec::new(seconds, &["route"])?;
            let steps = HistogramVec::new(steps, &["step"])?;
            let registry = Registry::new();
            registry.register(Box::new(requests.clone()))?;
            registry.register(Box::new(seconds.clone()))?;
            registry.register(Box::new(steps.clone()))?;
            Ok::<_, prometheus::Error>(Self {
                registry,
                requests,
                seconds,
                steps,
            })
        };
        build().expect("valid names")
    }

    /// Records the duration of a step of a transfer.
    pub fn stepped(&self, step: &str, seconds: f64) {
        self.steps.with_label_values(&[step]).observe(seconds);
    }

    /// Returns the current values.
    pub(crate) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Records an answered request.
    pub(crate) fn answered(&self, route: &str, method: &str, status: u16, seconds: f64) {
        self.requests
            .with_label_values(&[route, method, status.to_string().as_str()])
            .inc();
        self.seconds.with_label_values(&[route]).observe(seconds);
    }
}
