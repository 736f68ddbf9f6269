//! The ClickHouse side: pending batches, insert gates, inserts.

pub(crate) mod gate_name;
pub(crate) mod insert_gate;
pub(crate) mod partition_split;
pub(crate) mod pending_batch;
pub(crate) mod sink;
