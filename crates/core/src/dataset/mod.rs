//! The definition of a dataset: one kind of market data, its subjects, its table and how a message's fields map to columns.
//!
//! A dataset is configuration (YAML) and a DDL file. The eight built-in ones are made the same way and embedded in the
//! binary, so that a new kind of data needs no code.

mod builtin;
mod column_type;
mod ddl;
mod definition;
mod name;
mod position;
mod select;
mod tier_role;
mod window;
mod yaml;

pub use builtin::builtin;
pub use column_type::ColumnType;
pub use ddl::DdlOptions;
pub use definition::{
    BookSide, ColumnSource, Dataset, EPOCH_COLUMN, ExcessDigits, LevelPart, SEQ_COLUMN,
    TierPartition,
};
pub use name::DatasetName;
pub use position::{Epoch, Position, PositionSet};
pub use select::select;
pub use tier_role::TierRole;
pub use window::Window;
