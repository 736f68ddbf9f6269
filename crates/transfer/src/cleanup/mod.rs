//! The removal of proven rows from hot: whole partitions, or single rows.

mod by_position;
pub(crate) mod delete_rows;
pub(crate) mod drop_partition;
pub(crate) mod set_aside;
