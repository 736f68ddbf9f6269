//! `/metrics`: Prometheus' text format. Counters that others keep are copied when they are asked for; what HTTP does is counted here.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use super::metric_families::{MetricFamilies, MetricKind, Sample, number};
use super::process::{self, Usage};
use super::results::label;
use super::state::{DaemonState, Sweeps};
use mpsync_ingest::DatasetIngestReport;
use mpsync_transfer::Status;

/// Upper bounds of the buckets of a transfer's steps, in seconds: from a move to a day of order books.
const STEP_BUCKETS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// What this process measures itself: its HTTP interface, and the steps of transfers.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    steps: HistogramVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let requests = Opts::new("mpsync_http_requests_total", "Requests that were answered");
        let seconds = HistogramOpts::new(
            "mpsync_http_request_duration_seconds",
            "How long an answer took",
        );
        let steps = HistogramOpts::new(
            "mpsync_transfer_step_duration_seconds",
            "How long a step of a transfer took",
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
        build().expect("names that are allowed")
    }

    /// A step of a transfer took so long.
    pub fn stepped(&self, step: &str, seconds: f64) {
        self.steps.with_label_values(&[step]).observe(seconds);
    }

    pub(super) fn answered(&self, route: &str, method: &str, status: u16, seconds: f64) {
        self.requests
            .with_label_values(&[route, method, status.to_string().as_str()])
            .inc();
        self.seconds.with_label_values(&[route]).observe(seconds);
    }
}

pub(super) fn text(state: &DaemonState) -> prometheus::Result<String> {
    let mut page = MetricFamilies::default();
    let version = [(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)];
    page.add(
        MetricKind::Gauge,
        "mpsync_build_info",
        "Which version runs",
        &["version"],
        version,
    );
    ingest(&mut page, state);
    stores(&mut page, state);
    sync(&mut page, state);
    process(&mut page);
    page.extend(state.metrics().registry.gather());
    TextEncoder::new().encode_to_string(page.all())
}

type Count = fn(&DatasetIngestReport) -> u64;

/// Counters of each dataset: what stands between `mpsync_ingest_` and `_total`, what it means, where it is counted.
const INGESTED: [(&str, &str, Count); 11] = [
    ("messages", "Messages that JetStream delivered", |d| {
        d.messages
    }),
    ("rows", "Rows that landed in hot", |d| d.rows),
    ("bytes", "Bytes of the messages", |d| d.bytes),
    ("batches", "Batches that were settled", |d| d.batches),
    ("inserts", "Inserts that succeeded", |d| d.inserts),
    ("insert_retries", "Inserts that were tried again", |d| {
        d.insert_retries
    }),
    ("redelivered", "Messages that were delivered again", |d| {
        d.redelivered
    }),
    (
        "already_held",
        "Messages whose rows an earlier run had landed",
        |d| d.already_held,
    ),
    (
        "gap_sequences",
        "Stream sequences that were gone before they were delivered",
        |d| d.gap_sequences,
    ),
    (
        "rewinds",
        "How often the stream was found to be rewound",
        |d| d.rewinds,
    ),
    ("rounded", "Numbers that were rounded", |d| d.rounded),
];

fn ingest(page: &mut MetricFamilies, state: &DaemonState) {
    let Some(counters) = &state.0.ingest else {
        return;
    };
    let all = counters.snapshot().datasets;
    let label = |d: &DatasetIngestReport| vec![d.dataset.clone()];
    for (name, help, count) in INGESTED {
        let name = format!("mpsync_ingest_{name}_total");
        let samples = all.iter().map(|d| (label(d), number(count(d))));
        page.add(MetricKind::Counter, &name, help, &["dataset"], samples);
    }
    let letters = all.iter().flat_map(|d| {
        let of_dataset = d.dead_letters.iter();
        of_dataset.map(|(reason, n)| (vec![d.dataset.clone(), reason.clone()], number(*n)))
    });
    page.add(
        MetricKind::Counter,
        "mpsync_ingest_dead_letters_total",
        "Messages that could not be rows",
        &["dataset", "reason"],
        letters,
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_ingest_lag_messages",
        "Messages that wait in the stream",
        &["dataset"],
        all.iter().map(|d| (label(d), number(d.lag))),
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_ingest_stalled",
        "1 where somebody must help the dataset",
        &["dataset"],
        all.iter()
            .map(|d| (label(d), f64::from(u8::from(d.stalled.is_some())))),
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_ingest_last_insert_timestamp_seconds",
        "When an insert last landed",
        &["dataset"],
        all.iter()
            .filter_map(|d| Some((label(d), seconds(d.last_insert_at?)))),
    );
    page.durations(
        "mpsync_ingest_insert_duration_seconds",
        "How long inserts that succeeded took",
        &["dataset"],
        all.iter().map(|d| (label(d), d.insert_durations)),
    );
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn stores(page: &mut MetricFamilies, state: &DaemonState) {
    let figures = state.figures();
    let tiers = [("hot", &figures.hot), ("cold", &figures.cold)];
    let (mut up, mut rows, mut bytes, mut parts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (tier, figures) in tiers {
        let Some(figures) = figures else { continue };
        up.push((
            vec![tier.to_owned()],
            f64::from(u8::from(figures.reachable)),
        ));
        for d in &figures.datasets {
            let labels = vec![tier.to_owned(), d.dataset.clone()];
            rows.push((labels.clone(), number(d.rows)));
            bytes.push((labels.clone(), number(d.bytes)));
            parts.push((labels, number(d.parts)));
        }
    }
    let by_tier = ["tier", "dataset"];
    let archived = figures.archive.map(|a| a.datasets).unwrap_or_default();
    let of = |count: fn(&super::ArchiveDataset) -> u64| -> Vec<Sample> {
        archived
            .iter()
            .map(|d| (vec![d.dataset.clone()], number(count(d))))
            .collect()
    };
    let readings = state.readings();
    let nats = readings
        .get("nats")
        .map(|r| (Vec::new(), f64::from(u8::from(r.failing.is_none()))));
    let free = readings.iter().filter_map(|(name, r)| {
        let place = name.strip_prefix("disk:")?.to_owned();
        Some((vec![place], number(r.free_bytes?)))
    });
    let gauges: [(&str, &str, &[&str], Vec<Sample>); 8] = [
        ("mpsync_tier_up", "1 where the tier answers", &["tier"], up),
        ("mpsync_tier_rows", "Rows of the tier", &by_tier, rows),
        (
            "mpsync_tier_bytes",
            "Bytes on the tier's disks",
            &by_tier,
            bytes,
        ),
        (
            "mpsync_tier_parts",
            "Active parts of the tier",
            &by_tier,
            parts,
        ),
        (
            "mpsync_archive_rows",
            "Rows of the archive",
            &["dataset"],
            of(|d| d.rows),
        ),
        (
            "mpsync_archive_bytes",
            "Bytes of the archive's chunks",
            &["dataset"],
            of(|d| d.bytes),
        ),
        (
            "mpsync_nats_up",
            "1 where NATS answers",
            &[],
            nats.into_iter().collect(),
        ),
        (
            "mpsync_free_bytes",
            "Bytes that are free at a place that fills",
            &["place"],
            free.collect(),
        ),
    ];
    for (name, help, labels, samples) in gauges {
        page.add(MetricKind::Gauge, name, help, labels, samples);
    }
}

fn sync(page: &mut MetricFamilies, state: &DaemonState) {
    let Some(sync_control) = state.sync_control() else {
        return;
    };
    let sync_control = sync_control.state();
    let moment = |at: Option<jiff::Timestamp>| at.map(|at| (Vec::new(), seconds(at)));
    page.add(
        MetricKind::Gauge,
        "mpsync_sync_last_success_timestamp_seconds",
        "When a sync last succeeded",
        &[],
        moment(sync_control.last_success_at),
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_sync_next_timestamp_seconds",
        "When the schedule runs next",
        &[],
        moment(sync_control.next_at),
    );
    let runs = [
        ("ok", sync_control.succeeded),
        ("failed", sync_control.failed),
    ];
    page.add(
        MetricKind::Counter,
        "mpsync_sync_runs_total",
        "Syncs that ended",
        &["result"],
        runs.map(|(result, runs)| (vec![result.to_owned()], number(runs))),
    );
    sweeps(page, &sync_control.sweeps);
    let transfers = &sync_control.transfers;
    page.add(
        MetricKind::Counter,
        "mpsync_transfer_windows_total",
        "Windows on which a sync changed something or failed",
        &["dataset", "result"],
        transfers.windows.iter().map(|((dataset, result), n)| {
            (vec![dataset.clone(), (*result).to_owned()], number(*n))
        }),
    );
    let of = |counts: &std::collections::BTreeMap<String, u64>| -> Vec<Sample> {
        let samples = counts.iter();
        samples
            .map(|(dataset, n)| (vec![dataset.clone()], number(*n)))
            .collect()
    };
    page.add(
        MetricKind::Counter,
        "mpsync_transfer_rows_total",
        "Rows that were archived",
        &["dataset"],
        of(&transfers.rows),
    );
    page.add(
        MetricKind::Counter,
        "mpsync_transfer_bytes_total",
        "Bytes of the chunks that were archived",
        &["dataset"],
        of(&transfers.bytes),
    );
    let (queued, running) = sync_control.under_way();
    let now = [
        (label(Status::Queued), queued),
        (label(Status::Running), running),
    ];
    page.add(
        MetricKind::Gauge,
        "mpsync_transfer_tasks",
        "Windows by how they stand after the last sync, and in the one that runs",
        &["status"],
        now.into_iter()
            .chain(transfers.all_standing())
            .map(|(status, n)| (vec![status.to_owned()], number(n))),
    );
}

fn sweeps(page: &mut MetricFamilies, sweeps: &Sweeps) {
    let success = sweeps.last_success_at;
    page.add(
        MetricKind::Gauge,
        "mpsync_gc_last_success_timestamp_seconds",
        "When a sweep of what broken-off runs left last succeeded",
        &[],
        success.map(|at| (Vec::new(), seconds(at))),
    );
    let runs = [("ok", sweeps.succeeded), ("failed", sweeps.failed)];
    page.add(
        MetricKind::Counter,
        "mpsync_gc_runs_total",
        "Sweeps that ended",
        &["result"],
        runs.map(|(result, runs)| (vec![result.to_owned()], number(runs))),
    );
    page.add(
        MetricKind::Counter,
        "mpsync_gc_swept_total",
        "Things that were swept",
        &[],
        [(Vec::new(), number(sweeps.swept))],
    );
    page.add(
        MetricKind::Counter,
        "mpsync_gc_swept_bytes_total",
        "Bytes of what was swept",
        &[],
        [(Vec::new(), number(sweeps.bytes))],
    );
}

fn process(page: &mut MetricFamilies) {
    let Some(usage) = process::usage() else {
        return;
    };
    let Usage {
        cpu_seconds,
        resident_bytes,
        virtual_bytes,
        started_at,
        threads,
        open_fds,
        max_fds,
    } = usage;
    let all = [
        (
            MetricKind::Counter,
            "process_cpu_seconds_total",
            "Seconds on a processor",
            Some(cpu_seconds),
        ),
        (
            MetricKind::Gauge,
            "process_resident_memory_bytes",
            "Bytes of memory in use",
            Some(resident_bytes),
        ),
        (
            MetricKind::Gauge,
            "process_virtual_memory_bytes",
            "Bytes of address space",
            Some(virtual_bytes),
        ),
        (
            MetricKind::Gauge,
            "process_start_time_seconds",
            "When the process started, since 1970",
            Some(started_at),
        ),
        (
            MetricKind::Gauge,
            "process_threads",
            "Threads of the process",
            Some(threads),
        ),
        (
            MetricKind::Gauge,
            "process_open_fds",
            "Open files and sockets",
            Some(open_fds),
        ),
        (
            MetricKind::Gauge,
            "process_max_fds",
            "Files and sockets that may be open",
            max_fds,
        ),
    ];
    for (kind, name, help, value) in all {
        page.add(kind, name, help, &[], value.map(|v| (Vec::new(), v)));
    }
}
