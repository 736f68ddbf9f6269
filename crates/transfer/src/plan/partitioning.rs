//! How a table is partitioned in time, and how windows are cut from that. Pure.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, civil};

use mpsync_core::dataset::Window;
use mpsync_core::error::{Error, Result};

/// A span of the calendar in UTC. Finer ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum CalendarUnit {
    /// `toStartOfHour`.
    Hour,
    /// `toDate`, `toYYYYMMDD`, `toStartOfDay`.
    Day,
    /// `toYYYYMM`, `toStartOfMonth`.
    Month,
}

impl fmt::Display for CalendarUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        })
    }
}

impl CalendarUnit {
    /// The span of this unit in which the moment lies.
    pub(crate) fn window_at(self, moment: Timestamp) -> Result<Window> {
        let at = TimeZone::UTC.to_datetime(moment);
        let day = at.date();
        let start = match self {
            Self::Hour => day.at(at.hour(), 0, 0, 0),
            Self::Day => day.at(0, 0, 0, 0),
            Self::Month => day.first_of_month().at(0, 0, 0, 0),
        };
        self.window_from(start)
    }

    fn window_from(self, start: civil::DateTime) -> Result<Window> {
        let beyond = |e: jiff::Error| Error::malformed(format!("no window begins at {start}: {e}"));
        let span = match self {
            Self::Hour => 1.hour(),
            Self::Day => 1.day(),
            Self::Month => 1.month(),
        };
        let utc = |at: civil::DateTime| TimeZone::UTC.to_timestamp(at).map_err(beyond);
        Window::new(utc(start)?, utc(start.checked_add(span).map_err(beyond)?)?)
    }
}

/// How a table is partitioned: by a unit of its time column, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partitioning(pub(crate) Option<CalendarUnit>);

impl Partitioning {
    /// Reads a `PARTITION BY` expression; `table` names the table in errors.
    ///
    /// An expression of anything but the time column is refused: a window would lie in several partitions, and moving it
    /// would no longer be one atomic step.
    pub(crate) fn parse(expression: &str, time_column: &str, table: &str) -> Result<Self> {
        let plain: String = expression
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '`')
            .collect();
        if matches!(plain.as_str(), "" | "tuple()") {
            return Ok(Self(None));
        }
        let unit = plain
            .strip_suffix(')')
            .and_then(|call| call.split_once('('))
            .filter(|(_, argument)| argument.split(',').next() == Some(time_column))
            .and_then(|(function, _)| match function {
                "toStartOfHour" => Some(CalendarUnit::Hour),
                "toDate" | "toDate32" | "toYYYYMMDD" | "toStartOfDay" => Some(CalendarUnit::Day),
                "toYYYYMM" | "toStartOfMonth" => Some(CalendarUnit::Month),
                _ => None,
            });
        unit.map(|unit| Self(Some(unit))).ok_or_else(|| {
            Error::schema(format!(
                "table {table} is partitioned by `{expression}`, from which no windows of {time_column} can be cut"
            ))
            .with_hint("partition it by toStartOfHour, toDate or toYYYYMM of its time column, or not at all")
        })
    }

    /// The span that a partition's value stands for; `None` where the table is not partitioned.
    ///
    /// Values are read as `system.parts` shows them: `2026-01-01 05:00:00`, `2026-01-01`, `20260101`, `202601`.
    pub(crate) fn span(self, value: &str) -> Result<Option<Window>> {
        let Some(unit) = self.0 else { return Ok(None) };
        let bad = || Error::integrity(format!("partition `{value}` is not a valid {unit}"));
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        let number = |from: usize, to: usize, missing: i16| match digits.get(from..to) {
            Some(text) => text.parse::<i16>().map_err(|_| bad()),
            None => Ok(missing),
        };
        let small = |n: i16| i8::try_from(n).map_err(|_| bad());
        if !matches!(digits.len(), 6 | 8 | 14) {
            return Err(bad());
        }
        let (month, day) = (small(number(4, 6, 1)?)?, small(number(6, 8, 1)?)?);
        let hour = small(number(8, 10, 0)?)?;
        let start =
            civil::DateTime::new(number(0, 4, 0)?, month, day, hour, 0, 0, 0).map_err(|_| bad())?;
        let span = unit.window_from(start)?;
        // A day's value in an hour's table, or a time that does not begin its unit, is not what the key says.
        let whole = unit.window_at(span.start())? == span
            && digits.get(10..).is_none_or(|rest| rest == "0000");
        whole.then_some(Some(span)).ok_or_else(bad)
    }
}

/// The unit by which windows are cut: the finer of both tiers' partitionings, so that a window lies within one partition
/// of each; the hour where neither is partitioned.
#[must_use]
pub(crate) fn cut(hot: Partitioning, cold: Partitioning) -> CalendarUnit {
    match (hot.0, cold.0) {
        (Some(hot), Some(cold)) => hot.min(cold),
        (Some(unit), None) | (None, Some(unit)) => unit,
        (None, None) => CalendarUnit::Hour,
    }
}

/// A window in a table's name: `20260101T05`, `20260101`, or `20260101T000000Z_20260201T000000Z`.
#[must_use]
pub(crate) fn window_in_name(window: Window) -> String {
    window.id().replace(['-', ':'], "")
}

/// Reads back what [`window_in_name`] wrote.
#[must_use]
pub(crate) fn window_from_name(name: &str) -> Option<Window> {
    let date = |d: &str| Some(format!("{}-{}-{}", d.get(..4)?, d.get(4..6)?, d.get(6..8)?));
    let moment = |t: &str| {
        let (day, time) = t.split_once('T')?;
        let time = match time.len() {
            2 => time.to_owned(),
            _ => format!("{}:{}:{}", time.get(..2)?, time.get(2..4)?, time.get(4..)?),
        };
        Some(format!("{}T{time}", date(day)?))
    };
    let id = match name.split_once('_') {
        Some((start, end)) => format!("{}_{}", moment(start)?, moment(end)?),
        None if name.contains('T') => moment(name)?,
        None => date(name)?,
    };
    let window: Window = id.parse().ok()?;
    (window_in_name(window) == name).then_some(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(id: &str) -> Window {
        id.parse().unwrap()
    }

    #[test]
    fn the_usual_partition_keys_are_understood_and_others_refused_by_name() {
        for (expression, unit) in [
            ("toStartOfHour(timestamp)", Some(CalendarUnit::Hour)),
            ("toDate(`timestamp`)", Some(CalendarUnit::Day)),
            ("toYYYYMMDD(timestamp)", Some(CalendarUnit::Day)),
            ("toYYYYMM(timestamp, 'UTC')", Some(CalendarUnit::Month)),
            ("", None),
            ("tuple()", None),
        ] {
            let read = Partitioning::parse(expression, "timestamp", "t").unwrap();
            assert_eq!(read.0, unit, "{expression}");
        }
        for expression in [
            "(toDate(timestamp), exchange)",
            "toDate(created_at)",
            "toMonday(timestamp)",
            "exchange",
        ] {
            let e = Partitioning::parse(expression, "timestamp", "t").unwrap_err();
            assert!(e.to_string().contains(expression), "{e}");
        }
    }

    #[test]
    fn a_partitions_value_is_its_span() {
        let span = |unit, value| Partitioning(Some(unit)).span(value).map(Option::unwrap);
        assert_eq!(
            span(CalendarUnit::Hour, "2026-01-01 05:00:00").unwrap(),
            window("2026-01-01T05")
        );
        assert_eq!(
            span(CalendarUnit::Day, "2026-01-01").unwrap(),
            window("2026-01-01")
        );
        assert_eq!(
            span(CalendarUnit::Day, "20260101").unwrap(),
            window("2026-01-01")
        );
        let february = window("2026-02-01T00:00:00Z_2026-03-01T00:00:00Z");
        assert_eq!(span(CalendarUnit::Month, "202602").unwrap(), february);
        assert_eq!(span(CalendarUnit::Month, "2026-02-01").unwrap(), february);
        for (unit, value) in [
            (CalendarUnit::Hour, "2026-01-01 05:30:00"),
            (CalendarUnit::Day, "2026-01-01 05:00:00"),
            (CalendarUnit::Month, "2026-01-02"),
            (CalendarUnit::Day, "tuple()"),
            (CalendarUnit::Day, "20261301"),
        ] {
            assert!(span(unit, value).is_err(), "{value}");
        }
        assert_eq!(Partitioning(None).span("tuple()").unwrap(), None);
    }

    #[test]
    fn windows_are_cut_at_the_finer_of_both_and_by_the_hour_where_neither_is() {
        let by = |unit| Partitioning(Some(unit));
        assert_eq!(
            cut(by(CalendarUnit::Hour), by(CalendarUnit::Day)),
            CalendarUnit::Hour
        );
        assert_eq!(
            cut(by(CalendarUnit::Month), by(CalendarUnit::Day)),
            CalendarUnit::Day
        );
        assert_eq!(
            cut(Partitioning(None), by(CalendarUnit::Day)),
            CalendarUnit::Day
        );
        assert_eq!(
            cut(Partitioning(None), Partitioning(None)),
            CalendarUnit::Hour
        );
    }

    #[test]
    fn a_window_survives_a_tables_name() {
        for id in [
            "2026-01-01T05",
            "2026-01-01",
            "2026-02-01T00:00:00Z_2026-03-01T00:00:00Z",
        ] {
            let name = window_in_name(window(id));
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
                "{name}"
            );
            assert_eq!(window_from_name(&name), Some(window(id)));
        }
        for name in ["", "x", "2026", "20260101T5", "20260101T05:00", "2026010ü"] {
            assert_eq!(window_from_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_moment_lies_in_the_window_of_its_unit() {
        let moment: Timestamp = "2026-02-28T23:59:59.999Z".parse().unwrap();
        for (unit, id) in [
            (CalendarUnit::Hour, "2026-02-28T23"),
            (CalendarUnit::Day, "2026-02-28"),
            (
                CalendarUnit::Month,
                "2026-02-01T00:00:00Z_2026-03-01T00:00:00Z",
            ),
        ] {
            assert_eq!(unit.window_at(moment).unwrap(), window(id));
        }
    }
}
