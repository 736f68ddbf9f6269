//! Tables: their description, their creation, their parts, and the gates through which rows are inserted.

mod ddl;
mod insert_gate;
mod parts;
mod row_hash;
mod schema;
mod table;

pub use insert_gate::InsertGates;
pub use parts::{Part, PartSet};
pub use row_hash::row_hash;
pub use schema::check_columns;
pub use table::{Partition, TableColumn, TableSchema};
