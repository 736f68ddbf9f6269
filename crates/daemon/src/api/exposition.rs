//! `/metrics`: the text format of Prometheus. Counters of other parts are copied at each request.

use axum::extract::State as Extract;
use axum::response::{IntoResponse as _, Response};
use hyper::header::CONTENT_TYPE;
use prometheus::TextEncoder;

use super::metric_families::{MetricFamilies, MetricKind, Sample, number};
use super::problem::{Problem, Refusals};
use super::process::{self, Usage};
use crate::state::daemon_state::DaemonState;
use crate::state::figures::ArchiveDataset;
use crate::state::sync_control::Sweeps;
use crate::state::transfer_results::label;
use mpsync_ingest::DatasetIngestReport;
use mpsync_transfer::Status;

/// The metrics of the daemon, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "daemon", security(("token" = []), ()),
    responses((status = 200, description = "The text format of Prometheus", body = String, content_type = "text/plain"), Refusals))]
pub(crate) async fn metrics(Extract(state): Extract<DaemonState>) -> Result<Response, Problem> {
    let text = text(&state).map_err(|e| Problem::unavailable(e.to_string()))?;
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

fn text(state: &DaemonState) -> prometheus::Result<String> {
    let mut page = MetricFamilies::default();
    let version = [(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)];
    page.add(
        MetricKind::Gauge,
        "mpsync_build_info",
        "The version of the daemon",
        &["version"],
        version,
    );
    ingest(&mut page, state);
    stores(&mut page, state);
    sync(&mut page, state);
    process(&mut page);
    page.extend(state.metrics().gather());
    TextEncoder::new().encode_to_string(page.all())
}

type Count = fn(&DatasetIngestReport) -> u64;

/// Counters of each dataset: the name between `mpsync_ingest_` and `_total`, the help text, the value.
const INGESTED: [(&str, &str, Count); 11] = [
    ("messages", "Messages delivered by JetStream", |d| {
        d.messages
    }),
    ("rows", "Rows inserted into hot", |d| d.rows),
    ("bytes", "Bytes of the messages", |d| d.bytes),
    ("batches", "Batches whose messages were acknowledged", |d| {
        d.batches
    }),
    ("inserts", "Successful inserts", |d| d.inserts),
    ("insert_retries", "Retried inserts", |d| d.insert_retries),
    ("redelivered", "Redelivered messages", |d| d.redelivered),
    (
        "already_held",
        "Messages whose rows an earlier session had inserted",
        |d| d.already_held,
    ),
    (
        "gap_sequences",
        "Stream sequences deleted before they were delivered",
        |d| d.gap_sequences,
    ),
    ("rewinds", "Detected rewinds of the stream", |d| d.rewinds),
    ("rounded", "Rounded numbers", |d| d.rounded),
];

fn ingest(page: &mut MetricFamilies, state: &DaemonState) {
    let Some(report) = state.ingest_report() else {
        return;
    };
    let all = report.datasets;
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
        "Messages that could not be converted to rows",
        &["dataset", "reason"],
        letters,
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_ingest_lag_messages",
        "Messages waiting in the stream",
        &["dataset"],
        all.iter().map(|d| (label(d), number(d.lag))),
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_ingest_stalled",
        "1 if ingest of the dataset is stalled and needs operator action",
        &["dataset"],
        all.iter()
            .map(|d| (label(d), f64::from(u8::from(d.stalled.is_some())))),
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_ingest_last_insert_timestamp_seconds",
        "Time of the last successful insert",
        &["dataset"],
        all.iter()
            .filter_map(|d| Some((label(d), seconds(d.last_insert_at?)))),
    );
    page.durations(
        "mpsync_ingest_insert_duration_seconds",
        "Duration of successful inserts",
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
    let of = |count: fn(&ArchiveDataset) -> u64| -> Vec<Sample> {
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
        ("mpsync_tier_up", "1 if the tier answers", &["tier"], up),
        ("mpsync_tier_rows", "Rows in the tier", &by_tier, rows),
        (
            "mpsync_tier_bytes",
            "Bytes on the tier's disks",
            &by_tier,
            bytes,
        ),
        (
            "mpsync_tier_parts",
            "Active parts in the tier",
            &by_tier,
            parts,
        ),
        (
            "mpsync_archive_rows",
            "Rows in the archive",
            &["dataset"],
            of(|d| d.rows),
        ),
        (
            "mpsync_archive_bytes",
            "Bytes of chunks in the archive",
            &["dataset"],
            of(|d| d.bytes),
        ),
        (
            "mpsync_nats_up",
            "1 if NATS answers",
            &[],
            nats.into_iter().collect(),
        ),
        (
            "mpsync_free_bytes",
            "Free bytes of a disk",
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
        "Time of the last successful sync",
        &[],
        moment(sync_control.last_success_at),
    );
    page.add(
        MetricKind::Gauge,
        "mpsync_sync_next_timestamp_seconds",
        "Time of the next scheduled sync",
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
        "Completed syncs",
        &["result"],
        runs.map(|(result, runs)| (vec![result.to_owned()], number(runs))),
    );
    sweeps(page, &sync_control.sweeps);
    let transfers = &sync_control.transfers;
    page.add(
        MetricKind::Counter,
        "mpsync_transfer_windows_total",
        "Windows that a sync changed or failed to transfer",
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
        "Archived rows",
        &["dataset"],
        of(&transfers.rows),
    );
    page.add(
        MetricKind::Counter,
        "mpsync_transfer_bytes_total",
        "Bytes of archived chunks",
        &["dataset"],
        of(&transfers.bytes),
    );
    let (queued, running) = sync_control.in_progress();
    let now = [
        (label(Status::Queued), queued),
        (label(Status::Running), running),
    ];
    page.add(
        MetricKind::Gauge,
        "mpsync_transfer_tasks",
        "Windows by status, after the last sync and in the current one",
        &["status"],
        now.into_iter()
            .chain(transfers.statuses())
            .map(|(status, n)| (vec![status.to_owned()], number(n))),
    );
}

fn sweeps(page: &mut MetricFamilies, sweeps: &Sweeps) {
    let success = sweeps.last_success_at;
    page.add(
        MetricKind::Gauge,
        "mpsync_gc_last_success_timestamp_seconds",
        "Time of the last successful garbage collection",
        &[],
        success.map(|at| (Vec::new(), seconds(at))),
    );
    let runs = [("ok", sweeps.succeeded), ("failed", sweeps.failed)];
    page.add(
        MetricKind::Counter,
        "mpsync_gc_runs_total",
        "Completed garbage collections",
        &["result"],
        runs.map(|(result, runs)| (vec![result.to_owned()], number(runs))),
    );
    page.add(
        MetricKind::Counter,
        "mpsync_gc_swept_total",
        "Objects deleted by garbage collection",
        &[],
        [(Vec::new(), number(sweeps.swept))],
    );
    page.add(
        MetricKind::Counter,
        "mpsync_gc_swept_bytes_total",
        "Bytes deleted by garbage collection",
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
            "CPU time in seconds",
            Some(cpu_seconds),
        ),
        (
            MetricKind::Gauge,
            "process_resident_memory_bytes",
            "Resident memory in bytes",
            Some(resident_bytes),
        ),
        (
            MetricKind::Gauge,
            "process_virtual_memory_bytes",
            "Virtual memory in bytes",
            Some(virtual_bytes),
        ),
        (
            MetricKind::Gauge,
            "process_start_time_seconds",
            "Start time of the process, in seconds since 1970",
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
            "Open file descriptors",
            Some(open_fds),
        ),
        (
            MetricKind::Gauge,
            "process_max_fds",
            "Maximum number of open file descriptors",
            max_fds,
        ),
    ];
    for (kind, name, help, value) in all {
        page.add(kind, name, help, &[], value.map(|v| (Vec::new(), v)));
    }
}
