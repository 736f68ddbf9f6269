//! How a task is called: `trades@20260101T000000Z-20260101T010000Z`. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// The name of a task: dataset, start and end of its window in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    /// The dataset.
    pub dataset: DatasetName,
    /// The window.
    pub window: Window,
}

impl TaskId {
    /// The task of a window.
    #[must_use]
    pub fn new(dataset: DatasetName, window: Window) -> Self {
        Self { dataset, window }
    }

    /// The order of listings: the latest window first.
    pub(super) fn rank(&self) -> (std::cmp::Reverse<Window>, &DatasetName) {
        (std::cmp::Reverse(self.window), &self.dataset)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Dashes and colons divide the text, and colons cannot be part of a file's name everywhere.
        let plain = |at: Timestamp| at.to_string().replace(['-', ':'], "");
        let (start, end) = (self.window.start(), self.window.end());
        write!(f, "{}@{}-{}", self.dataset, plain(start), plain(end))
    }
}

impl FromStr for TaskId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::usage(format!("invalid task `{}`", text.escape_debug()))
                .with_hint("tasks are called as `mpsync tasks list` shows them: trades@20260101T000000Z-20260101T010000Z")
        };
        let moment = |plain: &str| -> Option<Timestamp> {
            let (day, time) = plain.split_once('T')?;
            let (date, clock) = (
                (day.get(..4)?, day.get(4..6)?, day.get(6..)?),
                (time.get(..2)?, time.get(2..4)?, time.get(4..)?),
            );
            format!(
                "{}-{}-{}T{}:{}:{}",
                date.0, date.1, date.2, clock.0, clock.1, clock.2
            )
            .parse()
            .ok()
        };
        let read = || {
            let (dataset, span) = text.split_once('@')?;
            let (start, end) = span.split_once('-')?;
            let window = Window::new(moment(start)?, moment(end)?).ok()?;
            Some(Self::new(dataset.parse().ok()?, window))
        };
        read().filter(|id| id.to_string() == text).ok_or_else(bad)
    }
}

impl TryFrom<String> for TaskId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_called_by_its_dataset_and_window_and_read_back() {
        for (window, text) in [
            ("2026-01-01T05", "trades@20260101T050000Z-20260101T060000Z"),
            ("2026-01-01", "trades@20260101T000000Z-20260102T000000Z"),
            (
                "2026-01-01T00:00:00.5Z_2026-02-01T00:00:00Z",
                "trades@20260101T000000.5Z-20260201T000000Z",
            ),
        ] {
            let id = TaskId::new("trades".parse().unwrap(), window.parse().unwrap());
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse::<TaskId>().unwrap(), id);
        }
        for text in [
            "",
            "trades",
            "trades@2026-01-01T05",
            "trades@20260101T060000Z-20260101T050000Z",
            "../x@20260101T050000Z-20260101T060000Z",
            "trades@ééééééTéé-20260101T060000Z",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }
}
