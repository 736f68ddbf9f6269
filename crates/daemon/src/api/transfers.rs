//! `/windows` and `/transfer-tasks`: how transfers stand, and what people ask of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Extract};
use axum::response::{IntoResponse as _, Response};
use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::data_sources::DataSources;
use super::problem::{Problem, Refusals};
use super::state::{DaemonState, Manual};
use super::transfer_documents::{
    NewTask, Requested, TaskDetail, TaskPage, TaskQuery, TaskState, WindowQuery, Windows,
};
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_transfer::tasks::{self, TaskId};
use mpsync_transfer::{TimeRange, Wish, holder, submit};

/// How far `/windows` looks back where it is not said.
const DAYS: i64 = 7;
/// How many days it shows at most.
const DAYS_MAX: i64 = 31;
const HOUR: i64 = 3600;

impl DaemonState {
    /// What transfers work with; a refusal where this daemon runs none.
    pub(super) fn transfers(&self) -> Result<&Arc<DataSources>, Problem> {
        match self.sync_control() {
            Some(_) => Ok(self.data_sources()),
            None => Err(no_transfers()),
        }
    }

    /// Lets the cold side look at once. A run that waits already does it.
    fn wake(&self) {
        if let Some(sync_control) = self.sync_control() {
            sync_control.ask(Manual::default());
        }
    }
}

pub(super) fn no_transfers() -> Problem {
    Problem::not_found("this daemon runs no transfers")
        .with_hint("ask the daemon that runs with --mode cold or both")
}

/// How each window of some days stands.
#[utoipa::path(get, path = "/windows", tag = "transfers", params(WindowQuery), security(("token" = []), ()),
    responses((status = 200, description = "The windows, dataset by dataset in order of time", body = Windows), Refusals))]
pub(super) async fn windows(
    Extract(state): Extract<DaemonState>,
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
    let work = async move {
        let archive = data_sources.archive_to_read().await?;
        let seen = data_sources.seen();
        let found = data_sources
            .window_status
            .windows(&archive, &datasets, span, &seen)
            .await?;
        Ok(Windows::from(found))
    };
    state.data_sources().archive.ask(question, work).await
}

fn names(data_sources: &DataSources) -> Vec<DatasetName> {
    data_sources
        .datasets
        .iter()
        .map(|d| d.name.clone())
        .collect()
}

/// The days that are asked for: seven up to the end of this hour, where nothing else is said.
fn span(query: &WindowQuery, now: Timestamp) -> Result<Window, Problem> {
    let beyond = || Problem::bad_request("these times lie outside of the calendar");
    // Whole hours, so that who asks a moment later asks the same.
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
            Problem::bad_request(format!("that is more than {DAYS_MAX} days"))
                .with_hint("ask for them in parts, by from and to"),
        );
    }
    Ok(span)
}

/// Transfer tasks, the latest window first. A page may hold fewer than were asked for although there are more: `next` says so.
#[utoipa::path(get, path = "/transfer-tasks", tag = "transfers", params(TaskQuery), security(("token" = []), ()),
    responses((status = 200, description = "A page of tasks", body = TaskPage), Refusals))]
pub(super) async fn list(
    Extract(state): Extract<DaemonState>,
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
    state.data_sources().archive.ask(question, work).await
}

/// One transfer task with all that is in its journal.
#[utoipa::path(get, path = "/transfer-tasks/{id}", tag = "transfers", params(TaskPath), security(("token" = []), ()),
    responses((status = 200, description = "The task", body = TaskDetail), Refusals))]
pub(super) async fn show(
    Extract(state): Extract<DaemonState>,
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
    state.data_sources().archive.ask(question, work).await
}

/// Asks for a transfer: what hot holds of this span goes to the archive and to cold, as soon as the cold side is free.
#[utoipa::path(post, path = "/transfer-tasks", tag = "transfers", request_body = NewTask, security(("token" = [])),
    responses((status = 202, description = "It is noted in the archive", body = Requested), Refusals))]
pub(super) async fn create(
    Extract(state): Extract<DaemonState>,
    body: Result<Json<NewTask>, JsonRejection>,
) -> Result<Response, Problem> {
    let data_sources = Arc::clone(state.transfers()?);
    let Json(new) = body?;
    let wish = wish(&data_sources, &new, Timestamp::now())?;
    let work = async move {
        let archive = data_sources.archive_to_write().await?;
        Ok(submit(&archive, &wish).await?)
    };
    let request = state.data_sources().archive.act(work).await?;
    tracing::info!(%request, "a transfer was submitted over HTTP");
    state.wake();
    let answer = Requested {
        request,
        accepted: true,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// What is asked for, once it can be done: a request that can never be would be tried for ever.
fn wish(data_sources: &DataSources, new: &NewTask, now: Timestamp) -> Result<Wish, Problem> {
    let dataset = data_sources.dataset(&new.data_type)?;
    for (field, given) in [("exchange", &new.exchange), ("symbol", &new.symbol)] {
        let Some(value) = given else { continue };
        if value.is_empty() || value.len() > NewTask::NAME_BYTES_MAX {
            return Err(Problem::bad_request(format!(
                "{field} must have 1 to {} bytes",
                NewTask::NAME_BYTES_MAX
            ))
            .with_hint("leave it out, or null, to transfer all"));
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

/// Ends a task at its next step, and has its window passed over until it is retried.
#[utoipa::path(post, path = "/transfer-tasks/{id}/cancel", tag = "transfers", params(TaskPath), security(("token" = [])),
    responses((status = 202, description = "It is noted; a task that runs ends at its next step", body = TaskState), Refusals))]
pub(super) async fn cancel(
    Extract(state): Extract<DaemonState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    change(&state, id, Change::Cancel).await
}

/// Has a task tried again that halted, was cancelled or waits.
#[utoipa::path(post, path = "/transfer-tasks/{id}/retry", tag = "transfers", params(TaskPath), security(("token" = [])),
    responses((status = 202, description = "The cold side takes it as soon as it is free", body = TaskState), Refusals))]
pub(super) async fn retry(
    Extract(state): Extract<DaemonState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let answer = change(&state, id, Change::Retry).await?;
    state.wake();
    Ok(answer)
}

/// What a person wants of a task.
#[derive(Debug, Clone, Copy)]
enum Change {
    Cancel,
    Retry,
}

/// Writes it into the task's journal.
async fn change(
    state: &DaemonState,
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
    let status = state.data_sources().archive.act(work).await?;
    tracing::info!(%task, %status, ?change, "a task was changed over HTTP");
    Ok((StatusCode::ACCEPTED, Json(TaskState { task, status })).into_response())
}

/// The `{id}` of a route.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `Path<String>` takes")]
pub(super) struct TaskPath {
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
        Problem::not_found(format!("`{}` is no task", id.escape_debug()))
            .with_hint("tasks are called as /transfer-tasks lists them: trades@20260101T000000Z-20260101T010000Z")
    })
}

fn unknown(id: &TaskId) -> Problem {
    Problem::not_found(format!("there is no task {id}"))
        .with_hint("/transfer-tasks lists those that are")
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
    fn a_week_is_shown_and_more_than_a_month_is_refused() {
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
