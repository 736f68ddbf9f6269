//! Rows of a window in a table: as SQL, as Arrow, new or archived already.

pub(crate) mod arrow_rows;
pub(crate) mod columns;
pub(crate) mod completeness;
pub(crate) mod decimals;
pub(crate) mod deletion;
pub(crate) mod insert_body;
pub(crate) mod row_deduplicator;
pub(crate) mod window_rows;
