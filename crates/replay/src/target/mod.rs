//! Targets of a replay, one file each.
//!
//! [`any`] dispatches: targets of messages are [`file`], [`jetstream`] and [`core_nats`]; targets of
//! rows are behind [`rows`]: the tables of a [`clickhouse`] tier and files ([`csv`], [`arrow`],
//! [`parquet`]).

mod any;
mod arrow;
mod clickhouse;
mod core_nats;
mod csv;
mod file;
mod gate_sweep;
mod insert_gate;
mod jetstream;
pub(crate) mod message;
mod out_file;
mod parquet;
mod pending;
mod publish;
mod rows;
mod schema;

pub use any::Target;
pub use clickhouse::{TableSink, TableTarget};
pub use core_nats::CoreTarget;
pub use file::FileTarget;
pub use gate_sweep::sweep_insert_gates;
pub use jetstream::JetStreamTarget;
pub use rows::{FileFormat, RowTarget};
