//! `/metrics`: Prometheus' text format. Counters that others keep are copied when they are asked for; what HTTP does is counted here.

use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::state::{State, lock};

/// What this process measures of its HTTP interface.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let requests = Opts::new("mpsync_http_requests_total", "Requests that were answered");
        let seconds = HistogramOpts::new(
            "mpsync_http_request_duration_seconds",
            "How long an answer took",
        );
        Self {
            requests: IntCounterVec::new(requests, &["route", "method", "status"])
                .expect("names that are allowed"),
            seconds: HistogramVec::new(seconds, &["route"]).expect("names that are allowed"),
        }
    }

    pub(super) fn answered(&self, route: &str, method: &str, status: u16, seconds: f64) {
        self.requests
            .with_label_values(&[route, method, status.to_string().as_str()])
            .inc();
        self.seconds.with_label_values(&[route]).observe(seconds);
    }
}

/// A registry of one answer.
struct Page(Registry);

impl Page {
    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: &[(Vec<String>, u64)],
    ) -> prometheus::Result<()> {
        let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
        for (label_values, value) in values {
            counter
                .get_metric_with_label_values(label_values)?
                .inc_by(*value);
        }
        self.0.register(Box::new(counter))
    }

    fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: &[(Vec<String>, u64)],
    ) -> prometheus::Result<()> {
        let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
        for (label_values, value) in values {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            gauge.get_metric_with_label_values(label_values)?.set(value);
        }
        self.0.register(Box::new(gauge))
    }

    fn moment(
        &self,
        name: &str,
        help: &str,
        at: Option<jiff::Timestamp>,
    ) -> prometheus::Result<()> {
        let gauge = GaugeVec::new(Opts::new(name, help), &[])?;
        if let Some(at) = at {
            gauge
                .get_metric_with_label_values::<&str>(&[])?
                .set(at.as_duration().as_secs_f64());
        }
        self.0.register(Box::new(gauge))
    }
}

pub(super) fn text(state: &State) -> prometheus::Result<String> {
    let page = Page(Registry::new());
    let version = vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1)];
    page.gauge(
        "mpsync_build_info",
        "Which version runs",
        &["version"],
        &version,
    )?;
    ingest(&page, state)?;
    stores(&page, state)?;
    sync(&page, state)?;
    page.0
        .register(Box::new(state.metrics().requests.clone()))?;
    page.0.register(Box::new(state.metrics().seconds.clone()))?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.0.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn ingest(page: &Page, state: &State) -> prometheus::Result<()> {
    type Count = fn(&crate::ingest::DatasetReport) -> u64;
    let Some(counted) = &state.0.ingest else {
        return Ok(());
    };
    let all = counted.snapshot().datasets;
    let counters: [(&str, &str, Count); 11] = [
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
    let label = |d: &crate::ingest::DatasetReport| vec![d.dataset.clone()];
    for (name, help, count) in counters {
        let values: Vec<_> = all.iter().map(|d| (label(d), count(d))).collect();
        page.counter(
            &format!("mpsync_ingest_{name}_total"),
            help,
            &["dataset"],
            &values,
        )?;
    }
    let letters: Vec<_> = all
        .iter()
        .flat_map(|d| {
            d.dead_letters
                .iter()
                .map(|(reason, n)| (vec![d.dataset.clone(), reason.clone()], *n))
        })
        .collect();
    let help = "Messages that could not be rows";
    page.counter(
        "mpsync_ingest_dead_letters_total",
        help,
        &["dataset", "reason"],
        &letters,
    )?;
    let lag: Vec<_> = all.iter().map(|d| (label(d), d.lag)).collect();
    page.gauge(
        "mpsync_ingest_lag_messages",
        "Messages that wait in the stream",
        &["dataset"],
        &lag,
    )?;
    let stalled: Vec<_> = all
        .iter()
        .map(|d| (label(d), u64::from(d.stalled.is_some())))
        .collect();
    page.gauge(
        "mpsync_ingest_stalled",
        "1 where somebody must help the dataset",
        &["dataset"],
        &stalled,
    )?;
    let history = lock(&state.0.history);
    let last: Vec<_> = all
        .iter()
        .enumerate()
        .filter_map(|(n, d)| {
            Some((
                label(d),
                history.last_insert_at(n)?.as_second().unsigned_abs(),
            ))
        })
        .collect();
    let help = "When an insert last landed";
    page.gauge(
        "mpsync_ingest_last_insert_timestamp_seconds",
        help,
        &["dataset"],
        &last,
    )
}

fn stores(page: &Page, state: &State) -> prometheus::Result<()> {
    let figures = state.figures();
    let tiers = [("hot", &figures.hot), ("cold", &figures.cold)];
    let (mut up, mut rows, mut bytes, mut parts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (tier, figures) in tiers {
        let Some(figures) = figures else { continue };
        up.push((vec![tier.to_owned()], u64::from(figures.reachable)));
        for d in &figures.datasets {
            let labels = vec![tier.to_owned(), d.dataset.clone()];
            rows.push((labels.clone(), d.rows));
            bytes.push((labels.clone(), d.bytes));
            parts.push((labels, d.parts));
        }
    }
    page.gauge("mpsync_tier_up", "1 where the tier answers", &["tier"], &up)?;
    page.gauge(
        "mpsync_tier_rows",
        "Rows of the tier",
        &["tier", "dataset"],
        &rows,
    )?;
    page.gauge(
        "mpsync_tier_bytes",
        "Bytes on the tier's disks",
        &["tier", "dataset"],
        &bytes,
    )?;
    page.gauge(
        "mpsync_tier_parts",
        "Active parts of the tier",
        &["tier", "dataset"],
        &parts,
    )?;
    let archived = figures.archive.map(|a| a.datasets).unwrap_or_default();
    let of = |count: fn(&super::ArchiveDataset) -> u64| -> Vec<_> {
        archived
            .iter()
            .map(|d| (vec![d.dataset.clone()], count(d)))
            .collect()
    };
    page.gauge(
        "mpsync_archive_rows",
        "Rows of the archive",
        &["dataset"],
        &of(|d| d.rows),
    )?;
    page.gauge(
        "mpsync_archive_bytes",
        "Bytes of the archive's chunks",
        &["dataset"],
        &of(|d| d.bytes),
    )?;
    let readings = state.readings();
    if let Some(nats) = readings.get("nats") {
        let up = vec![(Vec::new(), u64::from(nats.failing.is_none()))];
        page.gauge("mpsync_nats_up", "1 where NATS answers", &[], &up)?;
    }
    let free: Vec<_> = readings
        .iter()
        .filter_map(|(name, r)| Some((vec![name.strip_prefix("disk:")?.to_owned()], r.free_bytes?)))
        .collect();
    page.gauge(
        "mpsync_free_bytes",
        "Bytes that are free at a place that fills",
        &["place"],
        &free,
    )
}

fn sync(page: &Page, state: &State) -> prometheus::Result<()> {
    let Some(desk) = state.desk() else {
        return Ok(());
    };
    let desk = desk.state();
    let at = desk.last_success_at;
    page.moment(
        "mpsync_sync_last_success_timestamp_seconds",
        "When a sync last succeeded",
        at,
    )?;
    page.moment(
        "mpsync_sync_next_timestamp_seconds",
        "When the schedule runs next",
        desk.next_at,
    )?;
    let runs = vec![
        (vec!["ok".to_owned()], desk.succeeded),
        (vec!["failed".to_owned()], desk.failed),
    ];
    page.counter(
        "mpsync_sync_runs_total",
        "Syncs that ended",
        &["result"],
        &runs,
    )?;
    let tasks = vec![(vec!["halted".to_owned()], desk.halted)];
    page.gauge(
        "mpsync_transfer_tasks",
        "Windows by how they stand after the last sync",
        &["status"],
        &tasks,
    )
}
