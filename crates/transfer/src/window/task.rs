//! The transfer of one window: what was last proven of it, and how its run stands. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use mpsync_core::error::{Cause, Error};

/// The last thing that was proven of a window. Each can be asked of the data again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Hot holds rows of it.
    Planned,
    /// Every row that hot held is in the archive.
    Archived,
    /// The archive's rows are in cold.
    Loaded,
    /// Hot, the archive's manifests and cold were found to be the same.
    Verified,
    /// Hot no longer holds it.
    Cleaned,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Planned => "planned",
            Self::Archived => "archived",
            Self::Loaded => "loaded",
            Self::Verified => "verified",
            Self::Cleaned => "cleaned",
        })
    }
}

/// How a run of a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not begun, or broken off: the next run takes it.
    Queued,
    /// Under way.
    Running,
    /// It reached its stage.
    Done,
    /// Something has to pass first: another worker's lease, rows that keep coming, an error that is not one of the data.
    /// The next run tries it again.
    Waiting,
    /// Data was found not to be what it was proven to be: no routine run tries it again before a person says so.
    Halted,
    /// A person ended it: it is passed over until a person wants it again.
    Cancelled,
}

impl Status {
    /// How a run stands that ended with this error.
    #[must_use]
    pub fn after(error: &Error) -> Self {
        match error.cause() {
            Cause::Integrity(_) => Self::Halted,
            Cause::Interrupted | Cause::Cancelled(_) => Self::Cancelled,
            _ => Self::Waiting,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Halted => "halted",
            Self::Cancelled => "cancelled",
        })
    }
}

/// An entry of a window's journal: history for people, and the end of attempts for those that come after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The attempt that wrote it.
    pub attempt: u64,
    /// When, by the writer's clock; for people only.
    pub at: Timestamp,
    /// Who wrote it.
    pub holder: String,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

impl JournalEntry {
    /// Returns the same entry with each of its texts mapped, as when they are escaped to be shown.
    #[must_use]
    pub(super) fn map_text(mut self, map: impl Fn(&str) -> String) -> Self {
        self.holder = map(&self.holder);
        match &mut self.event {
            Event::Ended { error, hint, .. } => {
                for text in [error, hint].into_iter().flatten() {
                    *text = map(text);
                }
            }
            Event::Tended { what } => *what = map(what),
            Event::Reached { .. }
            | Event::Fenced
            | Event::Retried
            | Event::Cancelled
            | Event::Expired => {}
        }
        self
    }
}

/// An event of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A stage was proven.
    Reached {
        /// The stage.
        stage: Stage,
    },
    /// The staging tables of all attempts before this one are shut for good.
    Fenced,
    /// The attempt is over: nothing that it sent can still take effect, and it will send nothing more.
    Ended {
        /// How it ended.
        status: Status,
        /// The error, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// The remedy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// The attempt only looked after what is there (a repair, a sweep): it is over, nothing that it sent can still take
    /// effect, and it says nothing of how the window stands.
    Tended {
        /// The work that was done.
        what: String,
    },
    /// A person wants it tried again, whatever came before.
    Retried,
    /// A person wants it passed over, and ended where it runs.
    Cancelled,
    /// It is past the archive's retention: its generations are being removed.
    Expired,
}

impl Event {
    /// Whether nothing that its attempt sent can still take effect.
    pub(crate) fn ends_attempt(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Tended { .. })
    }
}

/// Whether a window may be worked on, by its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JournalVerdict {
    /// It may.
    Open,
    /// Its data was found not to be what it was proven to be, and no operator has retried it since.
    Halted {
        /// The mismatch.
        error: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// A person cancelled it.
    Cancelled,
}

impl JournalVerdict {
    /// Returns the verdict of one entry; `None` if it has none, and the one before it counts.
    pub(crate) fn said_by(event: &Event) -> Option<Self> {
        match event {
            Event::Reached { .. } | Event::Fenced | Event::Expired | Event::Tended { .. } => None,
            Event::Cancelled
            | Event::Ended {
                status: Status::Cancelled,
                ..
            } => Some(Self::Cancelled),
            Event::Ended {
                status: Status::Halted,
                error,
                hint,
            } => Some(Self::Halted {
                error: error.clone().unwrap_or_default(),
                hint: hint.clone(),
            }),
            Event::Retried | Event::Ended { .. } => Some(Self::Open),
        }
    }
}

/// Which attempts before `attempt` may still be asleep somewhere with a staging table in mind.
///
/// Those that ended cannot, nor those that a later attempt has already shut out.
#[must_use]
pub(crate) fn may_be_asleep(attempt: u64, journal: &[JournalEntry]) -> Vec<u64> {
    let fenced = journal
        .iter()
        .filter(|e| e.event == Event::Fenced && e.attempt < attempt)
        .map(|e| e.attempt)
        .max()
        .unwrap_or(1);
    let ended = |n: u64| {
        journal
            .iter()
            .any(|e| e.attempt == n && e.event.ends_attempt())
    };
    (fenced..attempt).filter(|n| !ended(*n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attempt: u64, event: Event) -> JournalEntry {
        JournalEntry {
            attempt,
            at: Timestamp::UNIX_EPOCH,
            holder: "h".into(),
            event,
        }
    }

    #[test]
    fn an_attempt_that_neither_ended_nor_was_shut_out_may_be_asleep() {
        let ended = || Event::Ended {
            status: Status::Done,
            error: None,
            hint: None,
        };
        assert_eq!(may_be_asleep(1, &[]), [0; 0]);
        assert_eq!(may_be_asleep(4, &[]), [1, 2, 3]);
        assert_eq!(may_be_asleep(4, &[entry(2, ended())]), [1, 3]);
        let tended = Event::Tended {
            what: String::new(),
        };
        assert_eq!(may_be_asleep(4, &[entry(3, tended)]), [1, 2]);
        let journal = [
            entry(1, ended()),
            entry(3, Event::Fenced),
            entry(5, ended()),
        ];
        assert_eq!(may_be_asleep(7, &journal), [3, 4, 6]);
    }

    #[test]
    fn an_entry_reads_as_plain_json() {
        let entry = entry(
            2,
            Event::Reached {
                stage: Stage::Archived,
            },
        );
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            json,
            r#"{"attempt":2,"at":"1970-01-01T00:00:00Z","holder":"h","event":"reached","stage":"archived"}"#
        );
        assert_eq!(serde_json::from_str::<JournalEntry>(&json).unwrap(), entry);
    }
}
