//! The client of a ClickHouse tier, hot or cold, over HTTP with the official crate.
//!
//! Every failure is an error: no query here turns one into a value. And no profile of the server's user changes the meaning of a
//! statement: a [`Statement`] carries its [`StatementKind`], from which come all settings that could.
//!
//! ```no_run
//! use mpsync_clickhouse::{Tier, TierConfig};
//!
//! # async fn example(config: TierConfig) -> mpsync_core::error::Result<()> {
//! use mpsync_core::dataset::TierRole;
//!
//! let hot = Tier::new(TierRole::Hot, &config);
//! let sql = format!("SELECT count() FROM {} WHERE symbol = {{symbol:String}}", hot.table("trades"));
//! let rows: u64 = hot
//!     .query(&sql)
//!     .param("symbol", "BTC-USDT")
//!     .fetch_one()
//!     .await
//!     .map_err(|e| hot.error(e))?;
//! println!("{rows} trades");
//! # Ok(())
//! # }
//! ```

mod connection;
mod exception;
mod options;
mod statements;
mod tables;
mod tier;

pub use mpsync_core::error::codes::{
    TABLE_ALREADY_EXISTS, TABLE_IS_DROPPED, TOO_MANY_PARTS, UNKNOWN_TABLE,
};
pub use options::{TierCompression, TierConfig};
pub use statements::{
    Insert, ResultBytes, ResultRows, Statement, StatementKind, decided_settings, ident, idents,
    literal, table_name,
};
pub use tables::{
    InsertGates, Part, PartSet, Partition, TableColumn, TableSchema, check_columns, row_hash,
};
pub use tier::Tier;
