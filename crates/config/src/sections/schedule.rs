//! The schedule of syncs: an interval, or a cron expression in UTC. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The times at which syncs begin.
#[derive(Debug, Clone, PartialEq)]
pub enum SyncSchedule {
    /// This long after the end of the previous sync.
    Every(Duration),
    /// At the times that an expression matches.
    Cron(CronExpression),
}

impl fmt::Display for SyncSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => {
                let interval = SignedDuration::try_from(*interval).unwrap_or(SignedDuration::MAX);
                write!(f, "every {interval:#}")
            }
            Self::Cron(cron) => write!(f, "cron {} (UTC)", cron.text),
        }
    }
}

/// A cron expression: minute, hour, day of the month, month, day of the week, optionally with seconds before them.
#[derive(Debug, Clone)]
pub struct CronExpression {
    text: Arc<str>,
    cron: Box<Cron>,
}

impl PartialEq for CronExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl CronExpression {
    /// Parses an expression. Returns `None` for an invalid one, and for one that never matches, such as 30 February.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = Self {
            text: text.trim().into(),
            cron: Box::new(parser.parse(text).ok()?),
        };
        cron.after(Timestamp::UNIX_EPOCH).map(|_| cron)
    }

    /// Returns the expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the first matching time after a time, to the second; `None` at the end of the calendar.
    #[must_use]
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let moment = moment.to_zoned(TimeZone::UTC);
        let next = self.cron.find_next_occurrence(&moment, false).ok()?;
        Some(next.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_expression_matches_times_in_utc() {
        for (text, before, next) in [
            ("15 * * * *", "2026-01-01T05:15:00Z", "2026-01-01T06:15:00Z"),
            (
                "15 * * * *",
                "2026-01-01T05:14:59.5Z",
                "2026-01-01T05:15:00Z",
            ),
            (
                "0 3 * * *",
                "2026-12-31T03:00:00.001Z",
                "2027-01-01T03:00:00Z",
            ),
            (
                "*/10 * * * * *",
                "2026-01-01T05:15:01Z",
                "2026-01-01T05:15:10Z",
            ),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // A European day on which clocks go forward: UTC has no such hour.
            ("30 1 * * *", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"),
            (
                "0 12 * * MON-FRI",
                "2026-01-02T12:00:00Z",
                "2026-01-05T12:00:00Z",
            ),
        ] {
            let cron = CronExpression::parse(text).unwrap();
            assert_eq!(cron.after(at(before)), Some(at(next)), "{text}");
        }
    }

    #[test]
    fn invalid_and_impossible_expressions_are_rejected() {
        for text in [
            "",
            "hourly",
            "60 * * * *",
            "* * * *",
            "0 0 30 2 *",
            "0 0 * * * * 2027",
        ] {
            assert_eq!(CronExpression::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_schedule_is_displayed_as_it_was_written() {
        let every = SyncSchedule::Every(Duration::from_mins(90));
        assert_eq!(every.to_string(), "every 1h 30m");
        let cron = SyncSchedule::Cron(CronExpression::parse(" 15 * * * * ").unwrap());
        assert_eq!(cron.to_string(), "cron 15 * * * * (UTC)");
    }
}
