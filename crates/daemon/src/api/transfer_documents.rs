//! The requests and responses of the routes for transfers and dead letters. The names of the fields are the contract.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use mpsync_ingest::dead_letters::DeadLetter;
use mpsync_transfer::tasks::{HistoryEntry, Page, Task, TaskHistory, TaskId};
use mpsync_transfer::{Event, Stage, Status, WindowStage, WindowStatus};

/// The default limit of lists.
const LIMIT: u32 = 50;

/// Returns a limit within its bounds.
pub(crate) fn limit(limit: Option<u32>, most: u32) -> Result<usize, Problem> {
    match limit.unwrap_or(LIMIT) {
        n if (1..=most).contains(&n) => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        _ => Err(Problem::bad_request(format!("limit must be 1 to {most}"))),
    }
}

/// The requested windows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WindowQuery {
    /// Only of this dataset, or of the dataset of this kind of data.
    pub(crate) dataset: Option<String>,
    /// Windows with any time at or after this; by default a week before `to`, at most 31 days before `to`.
    pub(crate) from: Option<Timestamp>,
    /// Windows before this time, exclusive; by default the end of this hour.
    pub(crate) to: Option<Timestamp>,
}

/// `GET /windows`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Windows {
    pub(crate) windows: Vec<WindowDocument>,
}

/// The status of a window.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowDocument {
    pub(crate) dataset: String,
    pub(crate) start: Timestamp,
    /// Exclusive.
    pub(crate) end: Timestamp,
    pub(crate) stage: WindowStage,
    /// Its rows in hot or in the archive, whichever has more; null if its manifest cannot be read.
    pub(crate) rows: Option<u64>,
    /// Exports that archived rows of it.
    pub(crate) generations: u64,
}

impl From<Vec<WindowStatus>> for Windows {
    fn from(all: Vec<WindowStatus>) -> Self {
        let document = |w: WindowStatus| WindowDocument {
            dataset: w.dataset.into(),
            start: w.window.start(),
            end: w.window.end(),
            stage: w.stage,
            rows: w.rows,
            generations: w.generations,
        };
        Self {
            windows: all.into_iter().map(document).collect(),
        }
    }
}

/// The requested tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TaskQuery {
    /// Only of this dataset, or of the dataset of this kind of data.
    pub(crate) dataset: Option<String>,
    /// Only with this as the last completed stage.
    #[param(inline)]
    pub(crate) stage: Option<Stage>,
    /// Only with one of these statuses, separated by commas.
    #[param(style = Form, explode = false, inline, value_type = Option<Vec<Status>>)]
    pub(crate) status: Option<Statuses>,
    /// Only windows with any time at or after this.
    pub(crate) from: Option<Timestamp>,
    /// Only windows that begin before this.
    pub(crate) to: Option<Timestamp>,
    /// The maximum number; 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<u32>,
    /// Only tasks after this one: `next` of the previous page.
    #[param(value_type = Option<String>, example = "trades@20260101T000000Z-20260101T010000Z",
        pattern = "^[a-z][a-z0-9_]{0,63}@[0-9]{8}T[0-9.]{6,}Z-[0-9]{8}T[0-9.]{6,}Z$")]
    pub(crate) after: Option<TaskId>,
}

impl TaskQuery {
    /// The maximum number of tasks of a page.
    pub(crate) const LIMIT_MAX: u32 = 1000;
}

/// Statuses, separated by commas.
#[derive(Debug)]
pub(crate) struct Statuses(pub(crate) Vec<Status>);

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::value::{Error, StrDeserializer};
        let text = String::deserialize(deserializer)?;
        let read = |name: &str| Status::deserialize(StrDeserializer::<Error>::new(name));
        let all: Result<Vec<Status>, Error> = text.split(',').map(read).collect();
        all.map(Self).map_err(serde::de::Error::custom)
    }
}

/// The transfer of one window.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskDocument {
    /// The id of the task.
    #[schema(example = "trades@20260101T000000Z-20260101T010000Z")]
    pub(crate) id: String,
    pub(crate) dataset: String,
    pub(crate) start: Timestamp,
    /// Exclusive.
    pub(crate) end: Timestamp,
    pub(crate) stage: Stage,
    pub(crate) status: Status,
    /// The newest attempt; 0 before the first one.
    pub(crate) attempt: u64,
    /// The current worker: `host:pid`.
    pub(crate) holder: Option<String>,
    pub(crate) updated_at: Option<Timestamp>,
    /// The error of the last attempt.
    pub(crate) error: Option<String>,
    /// The recommended action.
    pub(crate) hint: Option<String>,
}

impl From<Task> for TaskDocument {
    fn from(task: Task) -> Self {
        Self {
            id: task.id.to_string(),
            dataset: task.dataset.into(),
            start: task.start,
            end: task.end,
            stage: task.stage,
            status: task.status,
            attempt: task.attempt,
            holder: task.holder,
            updated_at: task.updated_at,
            error: task.error,
            hint: task.hint,
        }
    }
}

/// `GET /transfer-tasks`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskPage {
    pub(crate) tasks: Vec<TaskDocument>,
    /// The value of `after` for the next page; null at the end.
    pub(crate) next: Option<String>,
}

impl From<Page> for TaskPage {
    fn from(page: Page) -> Self {
        Self {
            tasks: page.tasks.into_iter().map(TaskDocument::from).collect(),
            next: page.next.map(|id| id.to_string()),
        }
    }
}

/// `GET /transfer-tasks/{id}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskDetail {
    #[serde(flatten)]
    pub(crate) task: TaskDocument,
    /// The entries of its journal, oldest first.
    pub(crate) history: Vec<HistoryDocument>,
}

/// An entry of a task's journal.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryDocument {
    pub(crate) number: u64,
    pub(crate) attempt: u64,
    /// The time, by the clock of the worker.
    pub(crate) at: Timestamp,
    /// The worker that wrote it: `host:pid`.
    pub(crate) holder: String,
    pub(crate) event: EventName,
    /// The completed stage.
    pub(crate) stage: Option<Stage>,
    /// The status at the end of the attempt.
    pub(crate) status: Option<Status>,
    /// The error of the attempt.
    pub(crate) error: Option<String>,
    /// The recommended action.
    pub(crate) hint: Option<String>,
    /// The action of a repair or a garbage collection.
    pub(crate) what: Option<String>,
}

/// The event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EventName {
    /// A stage was completed.
    Reached,
    /// Earlier attempts were fenced.
    Fenced,
    /// The attempt ended.
    Ended,
    /// The operator requested a retry.
    Retried,
    /// The operator cancelled the task.
    Cancelled,
    /// The window is past the archive's retention and is deleted from the archive.
    Expired,
    /// A repair or a garbage collection changed stored objects.
    Tended,
}

impl From<HistoryEntry> for HistoryDocument {
    fn from(HistoryEntry { number, entry }: HistoryEntry) -> Self {
        let mut document = Self {
            number,
            attempt: entry.attempt,
            at: entry.at,
            holder: entry.holder,
            event: EventName::Fenced,
            stage: None,
            status: None,
            error: None,
            hint: None,
            what: None,
        };
        match entry.event {
            Event::Reached { stage } => {
                document.event = EventName::Reached;
                document.stage = Some(stage);
            }
            Event::Fenced => {}
            Event::Ended {
                status,
                error,
                hint,
            } => {
                document.event = EventName::Ended;
                (document.status, document.error, document.hint) = (Some(status), error, hint);
            }
            Event::Retried => document.event = EventName::Retried,
            Event::Cancelled => document.event = EventName::Cancelled,
            Event::Expired => document.event = EventName::Expired,
            Event::Tended { what } => {
                document.event = EventName::Tended;
                document.what = Some(what);
            }
        }
        document
    }
}

impl From<TaskHistory> for TaskDetail {
    fn from(found: TaskHistory) -> Self {
        Self {
            task: found.task.into(),
            history: found
                .history
                .into_iter()
                .map(HistoryDocument::from)
                .collect(),
        }
    }
}

/// The body of `POST /transfer-tasks`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTask {
    /// The dataset, or the kind of data in the subjects.
    #[schema(example = "trade")]
    pub(crate) data_type: String,
    /// Only this exchange: cleanup never relies on such a transfer.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, example = "binance")]
    pub(crate) exchange: Option<String>,
    /// Only this symbol: cleanup never relies on such a transfer.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, example = "BTC-USDT")]
    pub(crate) symbol: Option<String>,
    /// Windows with any time at or after this.
    pub(crate) start: Timestamp,
    /// Windows before this time, exclusive.
    pub(crate) end: Timestamp,
}

impl NewTask {
    /// The maximum size of the name of an exchange or a symbol, in bytes.
    pub(crate) const NAME_BYTES_MAX: usize = 256;
}

/// `POST /transfer-tasks`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Requested {
    /// The name of the request, until it is completed.
    pub(crate) request: String,
    pub(crate) accepted: bool,
}

/// `POST /transfer-tasks/{id}/cancel` and `…/retry`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskState {
    #[schema(value_type = String)]
    pub(crate) task: TaskId,
    pub(crate) status: Status,
}

/// The number of dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLetterQuery {
    /// The maximum number; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
}

impl DeadLetterQuery {
    /// The maximum number of dead letters of a response.
    pub(crate) const LIMIT_MAX: u32 = 200;
}

/// `GET /dead-letters`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterList {
    /// The total number; null if unknown, because some are in the folder and some in the stream.
    pub(crate) total: Option<u64>,
    /// The newest first.
    pub(crate) letters: Vec<DeadLetterDocument>,
}

/// A message that could not be converted to a row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterDocument {
    /// `<dataset>.<epoch>.<sequence>`
    pub(crate) id: String,
    /// The time at which it was stored.
    pub(crate) at: Timestamp,
    pub(crate) dataset: String,
    pub(crate) subject: String,
    /// The short name of the reason.
    pub(crate) reason: String,
    /// The reason as text.
    pub(crate) detail: String,
}

impl From<DeadLetter> for DeadLetterDocument {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id(),
            at: letter.kept_at,
            dataset: letter.dataset.into(),
            subject: letter.subject,
            reason: letter.reason,
            detail: letter.detail,
        }
    }
}
