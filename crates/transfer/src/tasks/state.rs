//! How a task stands, told from the newest entries of its journal and one look at its lease. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::id::TaskId;
use crate::window::task::{Event, JournalEntry, JournalVerdict, Stage, Status};
use mpsync_archive::{LeaseView, Liveness};
use mpsync_core::dataset::DatasetName;

/// How the transfer of one window stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The dataset.
    pub dataset: DatasetName,
    /// The first moment of its window.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
    /// Its last proven stage.
    pub stage: Stage,
    /// How its run stands.
    pub status: Status,
    /// The newest attempt; 0 if there was none yet.
    pub attempt: u64,
    /// The worker that holds its lease; `None` if it is free.
    pub holder: Option<String>,
    /// Whether the holder looks alive.
    pub holder_alive: bool,
    /// The time of its last journal entry or lease, by the writer's clock.
    pub updated_at: Option<Timestamp>,
    /// The error at the end of the last attempt.
    pub error: Option<String>,
    /// The remedy.
    pub hint: Option<String>,
}

/// One entry of a task's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// Its number in the journal.
    pub number: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: JournalEntry,
}

/// Whether the entries before this one say nothing more of how the task stands, given what was seen of them so far.
#[derive(Debug, Default)]
pub(crate) struct Enough {
    stage: bool,
    standing: bool,
}

impl Enough {
    pub(crate) fn with(&mut self, entry: &JournalEntry) -> bool {
        self.stage |= matches!(entry.event, Event::Reached { .. });
        self.standing |= JournalVerdict::said_by(&entry.event).is_some();
        self.stage && self.standing
    }
}

/// How a task stands, from the newest entries of its journal, the newest first.
pub(super) fn task(id: &TaskId, newest: &[(u64, JournalEntry)], lease: Option<&LeaseView>) -> Task {
    let held = lease.filter(|lease| lease.liveness != Liveness::Released);
    let alive = held.is_some_and(|lease| lease.liveness == Liveness::Beating);
    let stage = newest.iter().find_map(|(_, entry)| match entry.event {
        Event::Reached { stage } => Some(stage),
        _ => None,
    });
    let (status, error, hint) = if alive {
        (Status::Running, None, None)
    } else {
        standing(id, newest)
    };
    let newest_entry = newest.first().map(|(_, entry)| entry);
    let attempts = newest.iter().map(|(_, entry)| entry.attempt);
    Task {
        id: id.clone(),
        dataset: id.dataset.clone(),
        start: id.window.start(),
        end: id.window.end(),
        stage: stage.unwrap_or(Stage::Planned),
        status,
        attempt: attempts.chain(lease.map(|l| l.attempt)).max().unwrap_or(0),
        holder: held.map(|lease| lease.holder.clone()),
        holder_alive: alive,
        updated_at: newest_entry
            .map(|entry| entry.at)
            .max(lease.map(|l| l.acquired_at)),
        error,
        hint,
    }
}

fn standing(
    id: &TaskId,
    newest: &[(u64, JournalEntry)],
) -> (Status, Option<String>, Option<String>) {
    let decisive = newest
        .iter()
        .map(|(_, entry)| &entry.event)
        .find(|event| JournalVerdict::said_by(event).is_some());
    match decisive {
        // An attempt that was broken off, or an operator that retries it: the next run takes it.
        None
        | Some(
            Event::Retried
            | Event::Reached { .. }
            | Event::Fenced
            | Event::Expired
            | Event::Tended { .. },
        ) => (Status::Queued, None, None),
        Some(Event::Cancelled) => (Status::Cancelled, None, Some(retry(id))),
        Some(Event::Ended {
            status,
            error,
            hint,
        }) => {
            let hint = match status {
                Status::Halted => Some(match hint {
                    Some(hint) => format!("{hint}; then {}", retry(id)),
                    None => retry(id),
                }),
                Status::Cancelled => Some(retry(id)),
                _ => hint.clone(),
            };
            (*status, error.clone(), hint)
        }
    }
}

fn retry(id: &TaskId) -> String {
    format!("`mpsync tasks retry {id}` has it tried again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(event: Event) -> JournalEntry {
        JournalEntry {
            attempt: 3,
            at: Timestamp::UNIX_EPOCH,
            holder: "h:1".into(),
            event,
        }
    }

    fn ended(status: Status, error: Option<&str>) -> Event {
        Event::Ended {
            status,
            error: error.map(ToOwned::to_owned),
            hint: error.map(|_| "look".to_owned()),
        }
    }

    fn task_of(events: &[Event], liveness: Option<Liveness>) -> Task {
        let id = TaskId::new("trades".parse().unwrap(), "2026-01-01T05".parse().unwrap());
        let newest: Vec<_> = (1..)
            .zip(events.iter().cloned().map(entry))
            .collect::<Vec<_>>();
        let newest: Vec<_> = newest.into_iter().rev().collect();
        let lease = liveness.map(|liveness| LeaseView {
            attempt: 4,
            holder: "h:2".into(),
            acquired_at: Timestamp::UNIX_EPOCH,
            liveness,
        });
        task(&id, &newest, lease.as_ref())
    }

    #[test]
    fn how_a_task_stands_follows_from_the_newest_word_about_it() {
        let loaded = Event::Reached {
            stage: Stage::Loaded,
        };
        let halted = ended(Status::Halted, Some("rows differ"));
        let done = task_of(&[loaded.clone(), ended(Status::Done, None)], None);
        assert_eq!((done.stage, done.status), (Stage::Loaded, Status::Done));
        let stuck = task_of(&[loaded.clone(), halted.clone()], Some(Liveness::Released));
        assert_eq!((stuck.stage, stuck.status), (Stage::Loaded, Status::Halted));
        assert_eq!((stuck.attempt, &stuck.holder), (4, &None));
        assert_eq!(stuck.error.as_deref(), Some("rows differ"));
        assert!(
            stuck
                .hint
                .unwrap()
                .starts_with("look; then `mpsync tasks retry trades@")
        );
        let again = task_of(&[halted.clone(), Event::Retried], None);
        assert_eq!((again.status, again.error), (Status::Queued, None));
        // What was under way when it was cancelled does not undo that.
        let cancelled = task_of(&[Event::Cancelled, loaded.clone()], Some(Liveness::Gone));
        assert_eq!(cancelled.status, Status::Cancelled);
        assert_eq!(cancelled.holder.as_deref(), Some("h:2"));
        let running = task_of(&[halted, loaded], Some(Liveness::Beating));
        assert_eq!(
            (running.status, running.holder_alive),
            (Status::Running, true)
        );
        assert_eq!(task_of(&[], Some(Liveness::Silent)).status, Status::Queued);
    }
}
