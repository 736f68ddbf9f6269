//! Data past its retention, and its removal, as values. Pure.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::serialize;
use crate::time_range::TimeRange;
use mpsync_archive::ArchiveConfig;
use mpsync_clickhouse::TierConfig;
use mpsync_core::dataset::Window;
use mpsync_core::error::Error;

/// For how long what is proven stays; `None` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// In cold.
    pub cold: Option<SignedDuration>,
    /// In the archive.
    pub archive: Option<SignedDuration>,
}

impl Retention {
    /// As the configuration says.
    #[must_use]
    pub fn of(cold: &TierConfig, archive: &ArchiveConfig) -> Self {
        let days = |n: u32| SignedDuration::from_hours(i64::from(n) * 24);
        Self {
            cold: (cold.retention_days > 0).then(|| days(cold.retention_days)),
            archive: archive.retention_days.map(|n| days(n.get())),
        }
    }
}

/// Where something leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ExpiryTier {
    /// Cold: a partition.
    #[serde(rename = "cold")]
    InCold,
    /// The archive: a window.
    #[serde(rename = "archive")]
    InArchive,
}

impl fmt::Display for ExpiryTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InCold => "cold",
            Self::InArchive => "the archive",
        })
    }
}

/// A span past its retention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedExpiry {
    /// Where it is.
    pub place: ExpiryTier,
    /// A partition of cold, or a window of the archive.
    pub span: Window,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

impl fmt::Display for PlannedExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, span, rows) = (self.place, self.span, self.rows);
        let provided = match place {
            ExpiryTier::InCold => "if the archive proves to hold every row of it",
            ExpiryTier::InArchive => {
                "once hot holds none of it, and cold neither where cold has a retention"
            }
        };
        write!(f, "{span}  {rows} rows leave {place}, {provided}")
    }
}

/// The removal of a span past its retention.
#[derive(Debug, Serialize)]
pub struct ExpiryReport {
    /// Where it was.
    pub place: ExpiryTier,
    /// A partition of cold, or a window of the archive.
    pub span: Window,
    /// Rows that left.
    pub rows: u64,
    /// Bytes that left.
    pub bytes: u64,
    /// Why it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// The error that prevented its removal.
    #[serde(
        serialize_with = "serialize::error",
        skip_serializing_if = "Option::is_none"
    )]
    pub error: Option<Error>,
}

impl ExpiryReport {
    pub(super) fn new(place: ExpiryTier, span: Window) -> Self {
        Self {
            place,
            span,
            rows: 0,
            bytes: 0,
            kept: None,
            error: None,
        }
    }
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It is gone.
    Removed { rows: u64, bytes: u64 },
    /// It stays, for this reason.
    Kept(String),
}

/// Whether something that ended then has stayed for long enough.
pub(crate) fn is_past(end: Timestamp, stays: SignedDuration, now: Timestamp) -> bool {
    end.checked_add(stays).is_ok_and(|until| until <= now)
}

/// Whether a span ended long enough ago, in a range that a person may have named.
pub(super) fn is_due(
    span: Window,
    range: TimeRange,
    stays: SignedDuration,
    now: Timestamp,
) -> bool {
    range.touches(span) && is_past(span.end(), stays, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_config::Config;

    #[test]
    fn a_span_is_past_when_its_end_has_stayed_for_so_long() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let day = SignedDuration::from_hours(24);
        let end = at("2026-01-02T00:00:00Z");
        assert!(!is_past(end, day, at("2026-01-02T23:59:59Z")));
        assert!(is_past(end, day, at("2026-01-03T00:00:00Z")));
        assert!(!is_past(
            end,
            SignedDuration::MAX,
            at("2026-01-03T00:00:00Z")
        ));
    }

    #[test]
    fn nothing_leaves_where_no_days_are_said() {
        let of = |environment: &[(&str, &str)]| {
            let said = environment
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            let config = Config::load(None, said).unwrap();
            Retention::of(&config.cold, &config.archive)
        };
        let year = Some(SignedDuration::from_hours(365 * 24));
        assert_eq!(
            of(&[]),
            Retention {
                cold: year,
                archive: None
            }
        );
        let cold = ("MPSYNC__COLD_STORAGE__RETENTION_DAYS", "0");
        let archive = ("MPSYNC__ARCHIVE__RETENTION_DAYS", "365");
        assert_eq!(of(&[cold]), Retention::default());
        assert_eq!(
            of(&[archive]),
            Retention {
                cold: year,
                archive: year
            }
        );
    }
}
