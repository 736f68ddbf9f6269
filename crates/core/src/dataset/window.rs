//! A window: a half-open span of event time of one dataset, `[start, end)`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A half-open span of event time, `[start, end)`. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Span", into = "Span")]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Span {
    start: Timestamp,
    end: Timestamp,
}

impl TryFrom<Span> for Window {
    type Error = Error;
    fn try_from(span: Span) -> Result<Self> {
        Self::new(span.start, span.end)
    }
}

impl From<Window> for Span {
    fn from(window: Window) -> Self {
        Self {
            start: window.start,
            end: window.end,
        }
    }
}

impl Window {
    /// A window; its end must lie after its start.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(Error::usage(format!(
                "a window must end after it starts, but {start} is not before {end}"
            )))
        }
    }

    /// The first moment in it.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The first moment after it.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Whether the moment lies in it.
    #[must_use]
    pub fn contains(&self, moment: Timestamp) -> bool {
        self.start <= moment && moment < self.end
    }

    /// Its length in seconds.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.end.as_second() - self.start.as_second()
    }

    /// Returns the span that both have in common, if there is one.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }

    /// Its name in the archive and in logs: `2026-01-01T00` for an hour, `2026-01-01` for a day,
    /// `2026-01-01T00:05:00Z_2026-01-01T00:10:00Z` for anything else. [`Window::from_str`] reads it back.
    #[must_use]
    pub fn id(&self) -> String {
        let aligned = |unit: i64| self.seconds() == unit && self.is_aligned_to(unit);
        if aligned(3600) {
            self.start.strftime("%Y-%m-%dT%H").to_string()
        } else if aligned(86_400) {
            self.start.strftime("%Y-%m-%d").to_string()
        } else {
            format!("{}_{}", self.start, self.end)
        }
    }

    fn is_aligned_to(&self, seconds: i64) -> bool {
        self.start.as_second().rem_euclid(seconds) == 0
            && self.start.subsec_nanosecond() == 0
            && self.end.subsec_nanosecond() == 0
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

impl FromStr for Window {
    type Err = Error;

    /// Reads the text that [`Window::id`] writes.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::usage(format!(
                "invalid window `{text}`: expected 2026-01-01T00, 2026-01-01, or start_end in RFC 3339"
            ))
        };
        let parse = |text: &str| text.parse::<Timestamp>().map_err(|_| bad());
        let after = |start: Timestamp, hours: i64| {
            let end = start
                .checked_add(jiff::SignedDuration::from_hours(hours))
                .map_err(|_| bad())?;
            Self::new(start, end)
        };
        match (text.split_once('_'), text.len()) {
            (Some((start, end)), _) => Self::new(parse(start)?, parse(end)?),
            (None, 13) => after(parse(&format!("{text}:00:00Z"))?, 1),
            (None, 10) => after(parse(&format!("{text}T00:00:00Z"))?, 24),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_named_by_its_hour_or_day_and_read_back() {
        for (start, end, id) in [
            (
                "2026-01-01T05:00:00Z",
                "2026-01-01T06:00:00Z",
                "2026-01-01T05",
            ),
            ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-01"),
            (
                "2026-01-01T00:05:00Z",
                "2026-01-01T01:05:00Z",
                "2026-01-01T00:05:00Z_2026-01-01T01:05:00Z",
            ),
        ] {
            let window = Window::new(start.parse().unwrap(), end.parse().unwrap()).unwrap();
            assert_eq!(window.id(), id);
            assert_eq!(id.parse::<Window>().unwrap(), window);
        }
    }

    #[test]
    fn a_window_holds_its_start_but_not_its_end() {
        let window: Window = "2026-01-01T05".parse().unwrap();
        assert!(window.contains(window.start()) && !window.contains(window.end()));
        assert!(Window::new(window.end(), window.end()).is_err());
    }
}
