//! The facts from which a plan is made: hot's partitions and their rows by the hour. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::plan::partitioning::{CalendarUnit, Partitioning};
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// The rows of one partition within one hour, as hot counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HourFacts {
    /// The partition's id.
    pub(crate) partition: String,
    /// How many rows.
    pub(crate) rows: u64,
    /// The earliest event time, in milliseconds since 1970.
    pub(crate) min_ms: i64,
    /// The latest event time, in milliseconds since 1970.
    pub(crate) max_ms: i64,
}

/// One partition of hot, as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionFacts {
    /// Its id.
    pub(crate) id: String,
    /// Its value.
    pub(crate) value: String,
}

/// The partitioning and the contents of a dataset's tables, as far as a plan needs them.
#[derive(Debug, Clone)]
pub(crate) struct HotInventory {
    /// The dataset.
    pub(crate) dataset: DatasetName,
    /// How hot is partitioned.
    pub(crate) hot: Partitioning,
    /// How cold is partitioned.
    pub(crate) cold: Partitioning,
    /// Whether hot is a table from which single rows are deleted.
    pub(crate) deletes: bool,
    /// Whether a partition of hot can be set aside as a whole: not if another replica may hold rows that this one has not fetched.
    pub(crate) sets_aside: bool,
    /// Hot's partitions.
    pub(crate) partitions: Vec<PartitionFacts>,
    /// The rows of each partition by the hour.
    pub(crate) hours: Vec<HourFacts>,
    /// The windows that the archive holds already.
    pub(crate) archived: Vec<Window>,
}

/// The windows in which a partition has rows, each with its count; rows outside of the partition's span are an error.
pub(crate) fn windows_of<'a>(
    hours: impl Iterator<Item = &'a HourFacts>,
    span: Option<Window>,
    unit: CalendarUnit,
    value: &str,
) -> Result<BTreeMap<Window, u64>> {
    let mut windows = BTreeMap::new();
    for hour in hours {
        let moment = |ms| {
            Timestamp::from_millisecond(ms).map_err(|_| {
                Error::integrity(format!(
                    "partition `{value}` has a row {ms} ms from 1970, which is not a valid date"
                ))
            })
        };
        let (min, max) = (moment(hour.min_ms)?, moment(hour.max_ms)?);
        if let Some(span) = span
            && !(span.contains(min) && span.contains(max))
        {
            return Err(Error::integrity(format!(
                "partition `{value}` should hold {span}, but has rows from {min} to {max}"
            ))
            .with_hint("a 32-bit partition key wraps beyond 2106, and a time zone other than UTC shifts it; nothing of this partition is moved"));
        }
        let window = unit.window_at(min)?;
        if !window.contains(max) {
            return Err(Error::integrity(format!(
                "an hour of partition `{value}` reaches from {min} to {max}"
            )));
        }
        *windows.entry(window).or_default() += hour.rows;
    }
    Ok(windows)
}
