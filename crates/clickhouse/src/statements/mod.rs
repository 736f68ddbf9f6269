//! Statements: their text, their parameters, and the settings that they carry.

mod insert;
mod kind;
mod server_settings;
mod sql;
mod statement;

pub use insert::Insert;
pub use kind::{StatementKind, decided_settings};
pub(crate) use server_settings::SettingsCache;
pub use sql::{ident, idents, literal, table_name};
pub use statement::{ResultBytes, ResultRows, Statement};
