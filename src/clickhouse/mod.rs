//! The tier client: a ClickHouse server that holds hot or cold.

mod codes;

pub use codes::{TABLE_ALREADY_EXISTS, TABLE_IS_DROPPED, TOO_MANY_PARTS, UNKNOWN_TABLE, disposition_of};
