//! Times and ages on the command line, such as those of `--from` and `--to`. Pure: `now` is a parameter.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use mpsync_core::dataset::Window;
use mpsync_core::error::{Error, Result};

/// Over which event time windows are taken: those that have any moment of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Up to this moment, exclusive. Where it is given, it is the user's word, and the grace period does not hold back a
    /// window that has not ended for long enough.
    pub to: Option<Timestamp>,
}

impl TimeRange {
    /// Whether the window has any moment of the range.
    #[must_use]
    pub fn touches(&self, window: Window) -> bool {
        self.from.is_none_or(|from| from < window.end())
            && self.to.is_none_or(|to| window.start() < to)
    }

    /// The range as a window, where both ends are given.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        Window::new(self.from?, self.to?).ok()
    }
}

/// Reads a moment: RFC 3339 with its offset, a date or an hour of UTC (`2026-01-01`, `2026-01-01T05`), `now`, or a distance
/// back from now: `90s ago`, `30m ago`, `6h ago`, `2d ago`, `1w ago`.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let text = text.trim();
    let bad = || {
        Error::usage(format!("invalid time `{}`", text.escape_debug())).with_hint(
            "write RFC 3339 with an offset (2026-01-01T05:00:00Z), a date (2026-01-01), an hour of UTC (2026-01-01T05), \
             or a distance such as `6h ago`",
        )
    };
    if text == "now" {
        return Ok(now);
    }
    if let Some(distance) = text.strip_suffix("ago") {
        let back = parse_distance(distance.trim()).ok_or_else(bad)?;
        return now.checked_sub(back).map_err(|_| bad());
    }
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        13 => format!("{text}:00:00Z"),
        _ => text.to_owned(),
    };
    full.parse().map_err(|_| bad())
}

/// Reads an age: `24h`, `90m`, `7d`.
pub fn parse_age(text: &str) -> Result<Duration> {
    let age = parse_distance(text.trim()).and_then(|age| Duration::try_from(age).ok());
    age.ok_or_else(|| {
        Error::usage(format!("invalid age `{}`", text.escape_debug()))
            .with_hint("write a whole number and a unit: 24h, 90m, 7d")
    })
}

/// `6h`, `6 h`: a whole number and a unit.
fn parse_distance(text: &str) -> Option<SignedDuration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..unit].parse().ok()?;
    let seconds = match text[unit..].trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(SignedDuration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (text, meant) in [
            ("2026-01-01", "2026-01-01T00:00:00Z"),
            ("2026-01-01T05", "2026-01-01T05:00:00Z"),
            ("2026-01-01T05:30:00+08:00", "2025-12-31T21:30:00Z"),
            ("6h ago", "2026-03-01T06:00:00Z"),
            (" 2 d ago ", "2026-02-27T12:00:00Z"),
            ("now", "2026-03-01T12:00:00Z"),
        ] {
            let meant: Timestamp = meant.parse().unwrap();
            assert_eq!(parse_time(text, now).unwrap(), meant, "{text}");
        }
    }

    #[test]
    fn an_invalid_time_is_refused_with_the_valid_forms() {
        let now = Timestamp::UNIX_EPOCH;
        for text in [
            "",
            "yesterday",
            "6 ago",
            "h ago",
            "-6h ago",
            "2026-13-01",
            "2026-01-01T05:00:00",
            "99999999999999999w ago",
        ] {
            let e = parse_time(text, now).unwrap_err();
            assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Usage);
            assert!(e.to_string().contains("6h ago"), "{text}: {e}");
        }
    }
}
