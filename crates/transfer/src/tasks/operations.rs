//! Listing, showing, retrying and cancelling tasks.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::Serialize;

use super::id::TaskId;
use super::requests::{Wish, submit};
use super::state::{self, HistoryEntry, Task};
use crate::time_range::TimeRange;
use crate::window::journal::Journal;
use crate::window::task::{Event, JournalEntry, Stage, Status};
use mpsync_archive::Archive;
use mpsync_archive::layout::{leases_root, parse_internal_window, tasks_root};
use mpsync_core::dataset::DatasetName;
use mpsync_core::error::{Error, Result};

/// Windows whose journals are read at a time.
const AT_A_TIME: usize = 16;
/// Windows whose journals one page reads at most, where a filter lets few of them through.
const READ_AT_MOST: usize = 2_000;

/// Which tasks are wanted.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Of these datasets; of all where empty.
    pub datasets: Vec<DatasetName>,
    /// Whose windows have any moment of it.
    pub range: TimeRange,
    /// Only at this stage.
    pub stage: Option<Stage>,
    /// Only in these states; in all where empty.
    pub statuses: Vec<Status>,
    /// At most so many.
    pub limit: usize,
    /// Those after this one.
    pub after: Option<TaskId>,
}

/// Some tasks, the latest window first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The tasks. Fewer than were asked for, where a filter let few of many through.
    pub tasks: Vec<Task>,
    /// The value of `after` for the next page; `None` at the end.
    pub next: Option<TaskId>,
}

/// A task with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskHistory {
    /// How it stands.
    #[serde(flatten)]
    pub task: Task,
    /// All that is in its journal, oldest first.
    pub history: Vec<HistoryEntry>,
}

/// A page of tasks. The names of all are listed; of the journals only the newest entries of those that are looked at are
/// read.
pub async fn list(archive: &Archive, now: Timestamp, query: &TaskFilter) -> Result<Page> {
    let mut ids = ids(archive, &query.datasets).await?;
    ids.retain(|id| query.range.touches(id.window));
    ids.sort_by(|a, b| a.rank().cmp(&b.rank()));
    if let Some(after) = &query.after {
        ids.retain(|id| id.rank() > after.rank());
    }
    let limit = query.limit.max(1);
    let unfiltered = query.stage.is_none() && query.statuses.is_empty();
    let (all, reads) = (ids.len(), if unfiltered { limit } else { READ_AT_MOST });
    let looks = ids
        .into_iter()
        .take(reads)
        .map(|id| async move { read_task(archive, &id, now).await });
    let mut looks = futures_util::stream::iter(looks).buffered(AT_A_TIME);
    let (mut page, mut looked) = (Vec::new(), 0);
    let mut last = None;
    while page.len() < limit
        && let Some(task) = looks.try_next().await?
    {
        looked += 1;
        last = Some(task.id.clone());
        if query.stage.is_none_or(|stage| stage == task.stage)
            && (query.statuses.is_empty() || query.statuses.contains(&task.status))
        {
            page.push(task);
        }
    }
    Ok(Page {
        tasks: page,
        next: last.filter(|_| looked < all),
    })
}

/// One task with its history; `None` where there is none of that name.
pub async fn show(archive: &Archive, now: Timestamp, id: &TaskId) -> Result<Option<TaskHistory>> {
    let all = Journal::of(archive, &id.dataset, id.window).all().await?;
    let lease = archive.view_lease(&id.dataset, id.window, now).await?;
    if all.is_empty() && lease.is_none() {
        return Ok(None);
    }
    let newest: Vec<_> = all.iter().rev().cloned().collect();
    Ok(Some(TaskHistory {
        task: state::task(id, &newest, lease.as_ref()),
        history: all
            .into_iter()
            .map(|(number, entry)| HistoryEntry { number, entry })
            .collect(),
    }))
}

/// Has a task tried again: what halted or cancelled it no longer counts, and the next routine sync takes it, whatever its
/// look-back. `None` where there is none of that name; a busy error where there is nothing to try again.
///
/// Idempotent; after an error it may or may not have taken effect.
pub async fn retry(
    archive: &Archive,
    now: Timestamp,
    by: &str,
    id: &TaskId,
) -> Result<Option<Status>> {
    let nothing = "every sync looks at it again; there is nothing to try again";
    let Some(task) = undone(archive, now, id, nothing).await? else {
        return Ok(None);
    };
    if task.status == Status::Running {
        return Err(Error::busy(format!("{id} is being worked on"))
            .with_hint("`mpsync tasks cancel` ends it at its next step"));
    }
    record(archive, now, by, &task, Event::Retried).await?;
    let wish = Wish {
        dataset: id.dataset.clone(),
        window: id.window,
        exchanges: Vec::new(),
        symbols: Vec::new(),
        at: now,
    };
    submit(archive, &wish).await?;
    Ok(Some(Status::Queued))
}

/// Cancels a task: the worker that runs it ends at the next step, and every worker skips it until it is retried. `None` if
/// there is none of that name; a busy error where it is done.
///
/// Idempotent; after an error it may or may not have taken effect.
pub async fn cancel(
    archive: &Archive,
    now: Timestamp,
    by: &str,
    id: &TaskId,
) -> Result<Option<Status>> {
    let nothing = "there is nothing to cancel";
    let Some(task) = undone(archive, now, id, nothing).await? else {
        return Ok(None);
    };
    if task.status == Status::Cancelled {
        return Ok(Some(Status::Cancelled));
    }
    record(archive, now, by, &task, Event::Cancelled).await?;
    Ok(Some(match task.status {
        Status::Running => Status::Running,
        _ => Status::Cancelled,
    }))
}

async fn record(
    archive: &Archive,
    now: Timestamp,
    by: &str,
    task: &Task,
    event: Event,
) -> Result<()> {
    let entry = JournalEntry {
        attempt: task.attempt,
        at: now,
        holder: by.to_owned(),
        event,
    };
    let journal = Journal::of(archive, &task.dataset, task.id.window);
    journal.write(&entry).await.map(drop)
}

/// The task that a person wants to stand otherwise; a busy error, with what to say of it, where it is done.
async fn undone(
    archive: &Archive,
    now: Timestamp,
    id: &TaskId,
    nothing: &'static str,
) -> Result<Option<Task>> {
    match show(archive, now, id).await?.map(|found| found.task) {
        Some(task) if task.status == Status::Done => {
            let done = format!("{id} is done, as far as {}", task.stage);
            Err(Error::busy(done).with_hint(nothing))
        }
        other => Ok(other),
    }
}

/// How a task stands, from the newest entries of its journal alone.
async fn read_task(archive: &Archive, id: &TaskId, now: Timestamp) -> Result<Task> {
    let mut enough = state::Enough::default();
    let journal = Journal::of(archive, &id.dataset, id.window);
    let newest = journal.newest(|_, entry| enough.with(entry)).await?;
    let lease = archive.view_lease(&id.dataset, id.window, now).await?;
    Ok(state::task(id, &newest.entries, lease.as_ref()))
}

/// All tasks of these datasets, by the names of their folders.
async fn ids(archive: &Archive, datasets: &[DatasetName]) -> Result<Vec<TaskId>> {
    let mut found = BTreeSet::new();
    for root in [tasks_root(), leases_root()] {
        for folder in archive.list_folder(&root).await?.common_prefixes {
            let name = folder.filename().and_then(|name| name.parse().ok());
            let Some(dataset) = name.filter(|n| datasets.is_empty() || datasets.contains(n)) else {
                continue;
            };
            for window in archive.list_folder(&folder).await?.common_prefixes {
                if let Some(window) = window.filename().and_then(parse_internal_window) {
                    found.insert((dataset.clone(), window));
                }
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|(dataset, window)| TaskId::new(dataset, window))
        .collect())
}
