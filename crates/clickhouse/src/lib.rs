//! The tier client: a ClickHouse server that holds hot or cold, reached over HTTP with the official crate.
//!
//! Whatever is asked fails loudly: no query here turns an error into a value.

mod ddl;
mod insert_gate;
mod options;
mod parts;
mod row_hash;
mod schema;
mod sql;
mod table;
mod tier;

pub use insert_gate::InsertGates;
pub use mpsync_core::error::codes::{
    TABLE_ALREADY_EXISTS, TABLE_IS_DROPPED, TOO_MANY_PARTS, UNKNOWN_TABLE,
};
pub use options::{TierCompression, TierConfig};
pub use parts::{Part, PartSet};
pub use row_hash::row_hash;
pub use schema::check_columns;
pub use sql::{ident, idents, literal, table_name};
pub use table::{Partition, TableColumn, TableSchema};
pub use tier::{Insert, STRICT_INSERT, Tier};
