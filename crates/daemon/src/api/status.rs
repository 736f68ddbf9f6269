//! `/health`, `/ready`, `/stats`, `/sync`: the state of the daemon as documents.

use std::time::Instant;

use axum::Json;
use axum::extract::State as Extract;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::documents::{Accepted, Ingest, IngestDataset, RunningTask, Stats, Sync, Tiers};
use super::problem::{Problem, Refusals};
use super::transfers::no_transfers;
use crate::state::daemon_state::DaemonState;
use crate::state::health_report::{Condition, Health, Ready};
use crate::state::sync_control::{Manual, SyncControl};
use mpsync_core::dataset::Window;
use mpsync_core::progress::WorkSnapshot;

/// Each dependency and side: the duration and time of its last response, and its failure.
#[utoipa::path(get, path = "/health", tag = "daemon",
    responses((status = 200, description = "`ok` or `degraded`", body = Health),
        (status = 503, description = "`down`: data cannot flow", body = Health), Refusals))]
pub(crate) async fn health(Extract(state): Extract<DaemonState>) -> Response {
    let health = state.health(Instant::now());
    let status = match health.status {
        Condition::Down => StatusCode::SERVICE_UNAVAILABLE,
        Condition::Ok | Condition::Degraded => StatusCode::OK,
    };
    (status, Json(health)).into_response()
}

/// Whether the daemon is ready.
#[utoipa::path(get, path = "/ready", tag = "daemon",
    responses((status = 200, description = "It is ready", body = Ready),
        (status = 503, description = "It is waiting", body = Ready), Refusals))]
pub(crate) async fn ready(Extract(state): Extract<DaemonState>) -> Response {
    let ready = state.ready();
    let status = match ready.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(ready)).into_response()
}

/// Rates, lags and counters of ingest, the figures of tiers and archive as last observed, the schedule and its runs.
#[utoipa::path(get, path = "/stats", tag = "daemon", security(("token" = []), ()),
    responses((status = 200, description = "A side that this mode does not run is null", body = Stats), Refusals))]
pub(crate) async fn stats(Extract(state): Extract<DaemonState>) -> Json<Stats> {
    let figures = state.figures();
    Json(Stats {
        version: env!("CARGO_PKG_VERSION"),
        mode: state.mode(),
        started_at: state.started_at(),
        now: Timestamp::now(),
        uptime_seconds: state.uptime().as_secs_f64(),
        ingest: ingest(&state),
        tiers: Tiers {
            hot: figures.hot,
            cold: figures.cold,
        },
        archive: figures.archive,
        sync: state.sync_control().map(sync),
    })
}

/// Eleven years, in hours.
const LOOKBACK_HOURS_MAX: u32 = 100_000;

/// Reads a whole number of hours. JSON has one type of number: `24.0` is 24.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let whole = number.as_f64().filter(|n| n.fract() == 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds of the type"
    )]
    whole
        .filter(|n| (0.0..=f64::from(u32::MAX)).contains(n))
        .map(|n| Some(n as u32))
        .ok_or_else(|| serde::de::Error::custom(format!("{number} is not a whole number of hours")))
}

/// The body of `POST /sync`.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyncRequest {
    /// Only windows that end within this many hours before now; null for all that are due.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 100_000)]
    lookback_hours: Option<u32>,
}

/// Requests a sync, which begins after the current one, if any.
#[utoipa::path(post, path = "/sync", tag = "transfers", request_body = SyncRequest, security(("token" = [])),
    responses((status = 202, description = "It is queued", body = Accepted), Refusals))]
pub(crate) async fn ask_sync(
    Extract(state): Extract<DaemonState>,
    body: Result<Json<SyncRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = body?;
    let sync_control = state.sync_control().ok_or_else(no_transfers)?;
    if request
        .lookback_hours
        .is_some_and(|hours| !(1..=LOOKBACK_HOURS_MAX).contains(&hours))
    {
        return Err(Problem::bad_request(format!(
            "lookback_hours must be 1 to {LOOKBACK_HOURS_MAX}"
        )));
    }
    let manual = Manual {
        lookback_hours: request.lookback_hours,
    };
    match sync_control.request(manual) {
        true => Ok((StatusCode::ACCEPTED, Json(Accepted { accepted: true })).into_response()),
        false => Err(
            Problem::new(StatusCode::CONFLICT, "a sync is queued already")
                .with_hint("wait until it has begun: see /stats"),
        ),
    }
}

fn ingest(state: &DaemonState) -> Option<Ingest> {
    let report = state.ingest_report()?;
    let history = state.history();
    let datasets: Vec<_> = report
        .datasets
        .iter()
        .enumerate()
        .map(|(number, d)| {
            let last = history.points(number).next_back();
            IngestDataset {
                dataset: d.dataset.clone(),
                messages: d.messages,
                rows: d.rows,
                bytes: d.bytes,
                messages_per_second: last.map_or(0.0, |p| p.messages_per_second),
                rows_per_second: last.map_or(0.0, |p| p.rows_per_second),
                lag: d.lag,
                batches: d.batches,
                inserts: d.inserts,
                insert_retries: d.insert_retries,
                already_held: d.already_held,
                redelivered: d.redelivered,
                dead_letters: d.dead_letters.clone(),
                gap_sequences: d.gap_sequences,
                rewinds: d.rewinds,
                rounded: d.rounded,
                unknown_fields: d.unknown_fields.clone(),
                stalled: d.stalled.clone(),
                last_insert_at: d.last_insert_at,
                settled_seq: d.settled_seq,
                history: history
                    .points(number)
                    .map(|p| (p.unix_ms, p.rows_per_second, p.lag))
                    .collect(),
            }
        })
        .collect();
    Some(Ingest {
        rows_per_second: datasets.iter().map(|d| d.rows_per_second).sum(),
        lag: datasets.iter().map(|d| d.lag).sum(),
        dead_letters: report.dead_letters(),
        datasets,
    })
}

fn sync(sync_control: &SyncControl) -> Sync {
    let state = sync_control.state();
    let active = state
        .running
        .as_ref()
        .map(|p| p.snapshot().active)
        .unwrap_or_default();
    Sync {
        schedule: state.schedule.clone(),
        next_at: state.next_at,
        last: state.last.clone(),
        last_sweep: state.sweeps.last.clone(),
        running: active.iter().filter_map(running).collect(),
        halted: state.halted(),
        queued: u64::from(state.queued.is_some()),
    }
}

/// Returns the task of work on a window; other work (a cleanup) has no task.
fn running(work: &WorkSnapshot) -> Option<RunningTask> {
    let (dataset, window) = work.what.split_once(' ')?;
    let window: Window = window.parse().ok()?;
    let compact = |t: Timestamp| t.strftime("%Y%m%dT%H%M%SZ").to_string();
    Some(RunningTask {
        task: format!(
            "{dataset}@{}-{}",
            compact(window.start()),
            compact(window.end())
        ),
        dataset: dataset.to_owned(),
        start: window.start(),
        end: window.end(),
        step: work.step,
        rows: work.rows,
        rows_total: (work.expected > 0).then_some(work.expected),
        bytes: work.bytes,
        seconds: work.seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_a_whole_number() {
        let read = |text: &str| serde_json::from_str::<SyncRequest>(text).map(|r| r.lookback_hours);
        for (text, hours) in [
            ("{}", None),
            (r#"{"lookback_hours":null}"#, None),
            (r#"{"lookback_hours":24}"#, Some(24)),
            (r#"{"lookback_hours":24.0}"#, Some(24)),
        ] {
            assert_eq!(read(text).unwrap(), hours, "{text}");
        }
        for text in [
            r#"{"lookback_hours":1.5}"#,
            r#"{"lookback_hours":-1}"#,
            r#"{"lookback_hours":1e300}"#,
            r#"{"hours":1}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
