//! `/windows` and `/transfer-tasks`: the status of transfers, and requests to them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Extract};
use axum::response::{IntoResponse as _, Response};
use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::data_sources::{ApiState, DataSources};
use super::problem::{Problem, Refusals};
use super::transfer_documents::{
    NewTask, Requested, TaskDetail, TaskPage, TaskQuery, TaskState, WindowQuery, Windows,
};
use crate::state::sync_control::Manual;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_transfer::tasks::{self, TaskId};
use mpsync_transfer::{TimeRange, Wish, holder, submit};

/// How many days `/windows` covers by default.
const DAYS: i64 = 7;
/// How many days `/windows` covers at most.
const DAYS_MAX: i64 = 31;
const HOUR: i64 = 3600;

impl ApiState {
    /// Returns the stores of transfers; a refusal if this daemon runs none.
    pub(crate) fn transfers(&self) -> Result<&Arc<DataSources>, Problem> {
        match self.daemon.sync_control() {
            Some(_) => Ok(&self.sources),
            None => Err(no_transfers()),
        }
    }

    /// Requests a run of the cold side; a queued one suffices.
    fn wake(&self) {
        if let Some(sync_control) = self.daemon.sync_control() {
            sync_control.request(Manual::default());
        }
    }
}

pub(crate) fn no_transfers() -> Problem {
    Problem::not_found("this daemon runs no transfers")
        .with_hint("send the request to the daemon that runs with --mode cold or both")
}

/// The status of each window of some days.
#[utoipa::path(get, path = "/windows", tag = "transfers", params(WindowQuery), security(("token" = []), ()),
    responses((status = 200, description = "The windows, dataset by dataset in order of time", body = Windows), Refusals))]
pub(crate) async fn windows(
    Extract(state): Extract<ApiState>,
    query: Result<Query<WindowQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let data_sources = Arc::clone(state.transfers()?);
    let Query(query) = query?;
    let span = span(&query, Timestamp::now())?;
    let datasets = match &query.dataset {
        Some(name) => vec![data_sources.dataset(name)?.name.clone()],
        None => names(&data_sources),
    };
    let question = format!("windows {span:?} {datasets:?}");
    let observed = state.daemon.hot_observations();
    let work = async move {
        let archive = data_sources.archive_to_read().await?;
        let found = data_sources
            .window_status
            .windows(&archive, &datasets, span, &observed)
            .await?;
        Ok(Windows::from(found))
    };
    state.sources.archive.ask(question, work).await
}

fn names(data_sources: &DataSources) -> Vec<DatasetName> {
    data_sources
        .datasets
        .iter()
        .map(|d| d.name.clone())
        .collect()
}

/// Returns the requested days: by default seven up to the end of this hour.
fn span(query: &WindowQuery, now: Timestamp) -> Result<Window, Problem> {
    let beyond = || Problem::bad_request("these times lie outside of the calendar");
    // Whole hours, so that a request a moment later is identical.
    let this_hour = now.as_second().div_euclid(HOUR) * HOUR;
    let to = match query.to {
        Some(to) => to,
        None => Timestamp::from_second(this_hour + HOUR).map_err(|_| beyond())?,
    };
    let from = match query.from {
        Some(from) => from,
        None => to
            .checked_sub(SignedDuration::from_hours(24 * DAYS))
            .map_err(|_| beyond())?,
    };
    let span = Window::new(from, to).map_err(|_| {
        Problem::bad_request(format!(
            "from must be before to, but {from} is not before {to}"
        ))
    })?;
    if to.duration_since(from) > SignedDuration::from_hours(24 * DAYS_MAX) {
        return Err(
            Problem::bad_request(format!("the range is longer than {DAYS_MAX} days"))
                .with_hint("request parts of it, by from and to"),
        );
    }
    Ok(span)
}

/// Transfer tasks, the latest window first. A page may have fewer tasks than the limit although there are more: see `next`.
#[utoipa::path(get, path = "/transfer-tasks", tag = "transfers", params(TaskQuery), security(("token" = []), ()),
    responses((status = 200, description = "A page of tasks", body = TaskPage), Refusals))]
pub(crate) async fn list(
    Extract(state): Extract<ApiState>,
    query: Result<Query<TaskQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let data_sources = Arc::clone(state.transfers()?);
    let Query(query) = query?;
    let dataset = match &query.dataset {
        Some(name) => Some(data_sources.dataset(name)?.name.clone()),
        None => None,
    };
    let query = query.checked(dataset)?;
    let question = format!("tasks {query:?}");
    let work = async move {
        let archive = data_sources.archive_to_read().await?;
        let page = tasks::list(&archive, Timestamp::now(), &query).await?;
        Ok(TaskPage::from(page))
    };
    state.sources.archive.ask(question, work).await
}

/// One transfer task with its journal.
#[utoipa::path(get, path = "/transfer-tasks/{id}", tag = "transfers", params(TaskPath), security(("token" = []), ()),
    responses((status = 200, description = "The task", body = TaskDetail), Refusals))]
pub(crate) async fn show(
    Extract(state): Extract<ApiState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let data_sources = Arc::clone(state.transfers()?);
    let id = task_id(id)?;
    let question = format!("task {id}");
    let work = async move {
        let archive = data_sources.archive_to_read().await?;
        let found = tasks::show(&archive, Timestamp::now(), &id).await?;
        found.map(TaskDetail::from).ok_or_else(|| unknown(&id))
    };
    state.sources.archive.ask(question, work).await
}

/// Requests a transfer of this time range from hot to the archive and to cold, which begins as soon as the cold side is free.
#[utoipa::path(post, path = "/transfer-tasks", tag = "transfers", request_body = NewTask, security(("token" = [])),
    responses((status = 202, description = "The request is recorded in the archive", body = Requested), Refusals))]
pub(crate) async fn create(
    Extract(state): Extract<ApiState>,
    body: Result<Json<NewTask>, JsonRejection>,
) -> Result<Response, Problem> {
    let data_sources = Arc::clone(state.transfers()?);
    let Json(new) = body?;
    let wish = wish(&data_sources, &new, Timestamp::now())?;
    let work = async move {
        let archive = data_sources.archive_to_write().await?;
        Ok(submit(&archive, &wish).await?)
    };
    let request = state.sources.archive.act(work).await?;
    tracing::info!(%request, "transfer submitted over HTTP");
    state.wake();
    let answer = Requested {
        request,
        accepted: true,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Checks a request: an impossible one would be retried forever.
fn wish(data_sources: &DataSources, new: &NewTask, now: Timestamp) -> Result<Wish, Problem> {
    let dataset = data_sources.dataset(&new.data_type)?;
    for (field, value) in [("exchange", &new.exchange), ("symbol", &new.symbol)] {
        let Some(value) = value else { continue };
        if value.is_empty() || value.len() > NewTask::NAME_BYTES_MAX {
            return Err(Problem::bad_request(format!(
                "{field} must have 1 to {} bytes",
                NewTask::NAME_BYTES_MAX
            ))
            .with_hint("omit it, or set it to null, to transfer all"));
        }
        let known = !dataset.columns.is_empty();
        if known && !dataset.columns.iter().any(|(name, _)| name == field) {
            return Err(Problem::bad_request(format!(
                "{} has no column `{field}` to filter by",
                dataset.name
            )));
        }
    }
    let window = Window::new(new.start, new.end).map_err(|_| {
        Problem::bad_request(format!(
            "start must be before end, but {} is not before {}",
            new.start, new.end
        ))
    })?;
    Ok(Wish {
        dataset: dataset.name.clone(),
        window,
        exchanges: new.exchange.iter().cloned().collect(),
        symbols: new.symbol.iter().cloned().collect(),
        at: now,
    })
}

/// Ends a task at its next step; its window is skipped until it is retried.
#[utoipa::path(post, path = "/transfer-tasks/{id}/cancel", tag = "transfers", params(TaskPath), security(("token" = [])),
    responses((status = 202, description = "It is recorded; a running task ends at its next step", body = TaskState), Refusals))]
pub(crate) async fn cancel(
    Extract(state): Extract<ApiState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    change(&state, id, Change::Cancel).await
}

/// Retries a task that halted, was cancelled or waits.
#[utoipa::path(post, path = "/transfer-tasks/{id}/retry", tag = "transfers", params(TaskPath), security(("token" = [])),
    responses((status = 202, description = "The cold side starts it as soon as it is free", body = TaskState), Refusals))]
pub(crate) async fn retry(
    Extract(state): Extract<ApiState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let answer = change(&state, id, Change::Retry).await?;
    state.wake();
    Ok(answer)
}

/// A requested change of a task.
#[derive(Debug, Clone, Copy)]
enum Change {
    Cancel,
    Retry,
}

/// Writes the change to the task's journal.
async fn change(
    state: &ApiState,
    id: Result<Path<String>, PathRejection>,
    change: Change,
) -> Result<Response, Problem> {
    let data_sources = Arc::clone(state.transfers()?);
    let task = task_id(id)?;
    let id = task.clone();
    let work = async move {
        let archive = data_sources.archive_to_write().await?;
        let (now, by) = (Timestamp::now(), holder());
        let status = match change {
            Change::Cancel => tasks::cancel(&archive, now, &by, &id).await?,
            Change::Retry => tasks::retry(&archive, now, &by, &id).await?,
        };
        status.ok_or_else(|| unknown(&id))
    };
    let status = state.sources.archive.act(work).await?;
    tracing::info!(%task, %status, ?change, "task changed over HTTP");
    Ok((StatusCode::ACCEPTED, Json(TaskState { task, status })).into_response())
}

/// The `{id}` of a route.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes the content of `Path<String>`")]
pub(crate) struct TaskPath {
    /// The task, as `/transfer-tasks` names it.
    #[param(
        example = "trades@20260101T000000Z-20260101T010000Z",
        pattern = "^[a-z][a-z0-9_]{0,63}@[0-9]{8}T[0-9.]{6,}Z-[0-9]{8}T[0-9.]{6,}Z$"
    )]
    id: String,
}

fn task_id(id: Result<Path<String>, PathRejection>) -> Result<TaskId, Problem> {
    let Path(id) = id.map_err(|e| Problem::bad_request(e.body_text()))?;
    id.parse::<TaskId>().map_err(|_| {
        Problem::not_found(format!("invalid task `{}`", id.escape_debug())).with_hint(
            "use an id of /transfer-tasks, such as trades@20260101T000000Z-20260101T010000Z",
        )
    })
}

fn unknown(id: &TaskId) -> Problem {
    Problem::not_found(format!("unknown task {id}")).with_hint("/transfer-tasks lists the tasks")
}

impl TaskQuery {
    fn checked(self, dataset: Option<DatasetName>) -> Result<tasks::TaskFilter, Problem> {
        let range = TimeRange {
            from: self.from,
            to: self.to,
        };
        if let (Some(from), Some(to)) = (self.from, self.to)
            && range.window().is_none()
        {
            return Err(Problem::bad_request(format!(
                "from must be before to, but {from} is not before {to}"
            )));
        }
        let limit = super::transfer_documents::limit(self.limit, Self::LIMIT_MAX)?;
        Ok(tasks::TaskFilter {
            datasets: dataset.into_iter().collect(),
            range,
            stage: self.stage,
            statuses: self.status.map(|list| list.0).unwrap_or_default(),
            limit,
            after: self.after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_a_week_by_default_and_a_month_at_most() {
        let now: Timestamp = "2026-03-10T12:34:56Z".parse().unwrap();
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let query = |from, to| WindowQuery {
            dataset: None,
            from,
            to,
        };
        let week = span(&query(None, None), now).unwrap();
        assert_eq!(
            (Some(week.start()), Some(week.end())),
            (at("2026-03-03T13:00:00Z"), at("2026-03-10T13:00:00Z"))
        );
        assert!(span(&query(at("2026-02-10T00:00:00Z"), None), now).is_ok());
        for (from, to) in [
            (at("2026-02-01T00:00:00Z"), None),
            (at("2026-03-01T00:00:00Z"), at("2026-03-01T00:00:00Z")),
            (None, Some(Timestamp::MIN)),
            (Some(Timestamp::MIN), Some(Timestamp::MAX)),
        ] {
            assert!(span(&query(from, to), now).is_err(), "{from:?} {to:?}");
        }
    }
}
