//! ClickHouse column types as mpsync sees them: parsed from the server's text, printed back, mapped to Arrow.
//!
//! Only what travels exactly is allowed to travel: [`ColumnType::refusal`] names the types whose hash does not survive
//! Arrow and Parquet (tried; see `ARCHITECTURE.md`), so that a table with such a column is refused before anything moves.

mod arrow;
mod definition;
mod display;
mod parser;
mod plain_types;

pub use definition::ColumnType;
