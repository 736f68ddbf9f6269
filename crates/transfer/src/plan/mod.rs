//! The plan of a run, made from the rows that hot holds.

pub(crate) mod batch_limit;
pub(crate) mod facts;
pub(crate) mod hot_inventory;
pub(crate) mod partitioning;
pub(crate) mod transfer_plan;
