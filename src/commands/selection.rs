//! The time range that a command line selects.

use jiff::Timestamp;

use crate::cli::Selection;
use mpsync_core::error::{Error, Result};
use mpsync_transfer::{TimeRange, parse_time};

/// Returns the range between `--from` and `--to`; times such as `6h ago` count from `now`.
pub(super) fn time_range(selection: &Selection, now: Timestamp) -> Result<TimeRange> {
    let time = |text: &Option<String>| text.as_ref().map(|t| parse_time(t, now)).transpose();
    let range = TimeRange {
        from: time(&selection.from)?,
        to: time(&selection.to)?,
    };
    match (range.from, range.to) {
        (Some(from), Some(to)) if from >= to => Err(Error::usage(format!(
            "--from must be before --to, but {from} is not before {to}"
        ))),
        _ => Ok(range),
    }
}
