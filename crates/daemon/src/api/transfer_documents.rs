//! What the routes on transfers and dead letters take and answer. The names of the fields are the contract.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use mpsync_ingest::dead_letters::DeadLetter;
use mpsync_transfer::tasks::{HistoryEntry, Page, Task, TaskHistory, TaskId};
use mpsync_transfer::{Event, Stage, Status, WindowStage, WindowStatus};

/// How many are listed where it is not said.
const LIMIT: u32 = 50;

/// A limit within its bounds.
pub(super) fn limit(given: Option<u32>, most: u32) -> Result<usize, Problem> {
    match given.unwrap_or(LIMIT) {
        n if (1..=most).contains(&n) => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        _ => Err(Problem::bad_request(format!("limit must be 1 to {most}"))),
    }
}

/// Which windows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WindowQuery {
    /// Only of this dataset, or of the dataset of this kind of data.
    pub(super) dataset: Option<String>,
    /// Those with any moment from then on; a week before `to` where it is not given. At most 31 days before `to`.
    pub(super) from: Option<Timestamp>,
    /// Up to this moment, exclusive; the end of this hour where it is not given.
    pub(super) to: Option<Timestamp>,
}

/// `GET /windows`
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Windows {
    pub(super) windows: Vec<WindowDocument>,
}

/// How a window stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowDocument {
    pub(super) dataset: String,
    pub(super) start: Timestamp,
    /// Exclusive.
    pub(super) end: Timestamp,
    pub(super) stage: WindowStage,
    /// Rows of it, in hot or in the archive, whichever has more; null where its manifest cannot be read.
    pub(super) rows: Option<u64>,
    /// Exports that found rows of it which were not archived yet.
    pub(super) generations: u64,
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

/// Which tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TaskQuery {
    /// Only of this dataset, or of the dataset of this kind of data.
    pub(super) dataset: Option<String>,
    /// Only of which this was proven last.
    #[param(inline)]
    pub(super) stage: Option<Stage>,
    /// Only in one of these states, divided by commas.
    #[param(style = Form, explode = false, inline, value_type = Option<Vec<Status>>)]
    pub(super) status: Option<Statuses>,
    /// Only windows with any moment from then on.
    pub(super) from: Option<Timestamp>,
    /// Only windows that begin before.
    pub(super) to: Option<Timestamp>,
    /// At most so many; 50 where it is not given.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<u32>,
    /// Those after this one: what the page before said as `next`.
    #[param(value_type = Option<String>, example = "trades@20260101T000000Z-20260101T010000Z",
        pattern = "^[a-z][a-z0-9_]{0,63}@[0-9]{8}T[0-9.]{6,}Z-[0-9]{8}T[0-9.]{6,}Z$")]
    pub(super) after: Option<TaskId>,
}

impl TaskQuery {
    /// Tasks of a page at most.
    pub(super) const LIMIT_MAX: u32 = 1000;
}

/// States, divided by commas.
#[derive(Debug)]
pub(super) struct Statuses(pub(super) Vec<Status>);

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::value::{Error, StrDeserializer};
        let text = String::deserialize(deserializer)?;
        let read = |name: &str| Status::deserialize(StrDeserializer::<Error>::new(name));
        let all: Result<Vec<Status>, Error> = text.split(',').map(read).collect();
        all.map(Self).map_err(serde::de::Error::custom)
    }
}

/// How the transfer of one window stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskDocument {
    /// Its name.
    #[schema(example = "trades@20260101T000000Z-20260101T010000Z")]
    pub(super) id: String,
    pub(super) dataset: String,
    pub(super) start: Timestamp,
    /// Exclusive.
    pub(super) end: Timestamp,
    pub(super) stage: Stage,
    pub(super) status: Status,
    /// The newest attempt; 0 where nobody has tried yet.
    pub(super) attempt: u64,
    /// Who has it now: `host:pid`.
    pub(super) holder: Option<String>,
    pub(super) updated_at: Option<Timestamp>,
    /// What was wrong at the end of the last attempt.
    pub(super) error: Option<String>,
    /// What to do about it.
    pub(super) hint: Option<String>,
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
pub(super) struct TaskPage {
    pub(super) tasks: Vec<TaskDocument>,
    /// What to ask for next as `after`; null at the end.
    pub(super) next: Option<String>,
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
pub(super) struct TaskDetail {
    #[serde(flatten)]
    pub(super) task: TaskDocument,
    /// All that is in its journal, oldest first.
    pub(super) history: Vec<HistoryDocument>,
}

/// An entry of a task's journal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryDocument {
    pub(super) number: u64,
    pub(super) attempt: u64,
    /// By the writer's clock.
    pub(super) at: Timestamp,
    /// Who wrote it: `host:pid`.
    pub(super) holder: String,
    pub(super) event: EventName,
    /// What was proven.
    pub(super) stage: Option<Stage>,
    /// How the attempt ended.
    pub(super) status: Option<Status>,
    /// What was wrong at its end.
    pub(super) error: Option<String>,
    /// What to do about it.
    pub(super) hint: Option<String>,
    /// What a repair or a sweep did.
    pub(super) what: Option<String>,
}

/// What happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventName {
    /// A stage was proven.
    Reached,
    /// Earlier attempts were shut out.
    Fenced,
    /// The attempt ended.
    Ended,
    /// A person wants it tried again.
    Retried,
    /// A person wants it passed over.
    Cancelled,
    /// It is past the archive's retention and leaves the archive.
    Expired,
    /// A repair or a sweep looked after what is there.
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

/// What is asked of `POST /transfer-tasks`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTask {
    /// The dataset, or the kind of data as the subjects name it.
    #[schema(example = "trade")]
    pub(super) data_type: String,
    /// Only this exchange: such a transfer is never the ground for cleanup.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, example = "binance")]
    pub(super) exchange: Option<String>,
    /// Only this symbol: such a transfer is never the ground for cleanup.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, example = "BTC-USDT")]
    pub(super) symbol: Option<String>,
    /// Every window that has any moment from then on.
    pub(super) start: Timestamp,
    /// Up to this moment, exclusive.
    pub(super) end: Timestamp,
}

impl NewTask {
    /// Bytes of an exchange's or a symbol's name at most.
    pub(super) const NAME_BYTES_MAX: usize = 256;
}

/// `POST /transfer-tasks`
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Requested {
    /// The request's name, until it is done.
    pub(super) request: String,
    pub(super) accepted: bool,
}

/// `POST /transfer-tasks/{id}/cancel` and `…/retry`
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskState {
    #[schema(value_type = String)]
    pub(super) task: TaskId,
    pub(super) status: Status,
}

/// How many dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLetterQuery {
    /// At most so many; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<u32>,
}

impl DeadLetterQuery {
    /// Letters of an answer at most.
    pub(super) const LIMIT_MAX: u32 = 200;
}

/// `GET /dead-letters`
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterList {
    /// How many there are; null where that is not known: some lie in the folder and some in the stream.
    pub(super) total: Option<u64>,
    /// The newest first.
    pub(super) letters: Vec<DeadLetterDocument>,
}

/// A message that could not be a row.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterDocument {
    /// `<dataset>.<epoch>.<sequence>`
    pub(super) id: String,
    /// When it was kept.
    pub(super) at: Timestamp,
    pub(super) dataset: String,
    pub(super) subject: String,
    /// A short name of the reason.
    pub(super) reason: String,
    /// The reason, for people.
    pub(super) detail: String,
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
