//! The buffers of a column under construction: offsets of lists, and room for the next batch.

use arrow::datatypes::DataType;

use super::fault::{Fault, ValueFlaw};
use mpsync_core::error::Error;

/// Takes a column's values and leaves room for as many again.
pub(super) fn renew<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

pub(super) fn inconsistent(data_type: &DataType) -> Error {
    Error::schema(format!(
        "a column's values do not fit its Arrow type {data_type}"
    ))
}

/// How many elements a list column with these offsets has.
pub(super) fn elements(offsets: &[i32]) -> usize {
    offsets
        .last()
        .map_or(0, |&end| usize::try_from(end).unwrap_or(0))
}

/// The end of a list whose elements so far are `count`.
pub(super) fn offset(count: usize) -> Result<i32, Fault> {
    i32::try_from(count).map_err(|_| ValueFlaw::Full.into())
}
