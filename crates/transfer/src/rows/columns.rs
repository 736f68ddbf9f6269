//! The columns of a table that are hashed and archived, and whether two lists of them fit. Pure.

use crate::rows::window_rows::{EXCHANGE_COLUMN, SYMBOL_COLUMN};
use mpsync_archive::RowFilter;
use mpsync_clickhouse::TableSchema;
use mpsync_core::dataset::{ColumnType, EPOCH_COLUMN, SEQ_COLUMN};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::HashedColumn;

/// The columns of a table that are hashed and archived: those that are stored, under their types.
pub(crate) fn archived_columns(schema: &TableSchema) -> Vec<HashedColumn> {
    schema
        .stored_columns()
        .map(|c| HashedColumn {
            name: c.name.clone(),
            type_name: c.column_type.to_string(),
        })
        .collect()
}

/// Returns whether rows with these columns have a position.
pub(crate) fn have_positions(columns: &[HashedColumn]) -> bool {
    [EPOCH_COLUMN, SEQ_COLUMN].iter().all(|wanted| {
        columns
            .iter()
            .any(|c| c.name == *wanted && c.type_name == "UInt64")
    })
}

/// Refuses a table that cannot take archived rows as they are, each difference named.
pub(crate) fn check_takes(schema: &TableSchema, columns: &[HashedColumn]) -> Result<()> {
    let mut differences = schema.misfits(columns);
    for live in schema.stored_columns() {
        let filled = columns.iter().any(|c| c.name == live.name);
        if !filled && live.default_kind.is_empty() {
            differences.push(format!("column `{}` is not in the archive", live.name));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::schema(format!(
        "table {}.{} does not fit the archived rows: {}",
        schema.database,
        schema.table,
        differences.join("; ")
    ))
    .with_hint(
        "alter the table so that it has the archived columns; a further column needs a DEFAULT",
    ))
}

/// Refuses a table that does not have the archived columns under their types, each difference named.
pub(crate) fn check_gives(schema: &TableSchema, columns: &[HashedColumn]) -> Result<()> {
    let live = archived_columns(schema);
    let missing: Vec<_> = columns
        .iter()
        .filter(|column| !live.contains(column))
        .map(|column| format!("`{}` {}", column.name, column.type_name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::schema(format!(
        "table {}.{} has no columns {}",
        schema.database,
        schema.table,
        missing.join(", ")
    )))
}

/// Refuses a filter by a column that the table does not have.
pub(crate) fn check_filter(schema: &TableSchema, filter: Option<&RowFilter>) -> Result<()> {
    let Some(filter) = filter else { return Ok(()) };
    for (values, column) in [
        (&filter.exchanges, EXCHANGE_COLUMN),
        (&filter.symbols, SYMBOL_COLUMN),
    ] {
        let text = schema
            .column_type(column)
            .is_some_and(|t| *t.inner() == ColumnType::String);
        if !values.is_empty() && !text {
            return Err(Error::usage(format!(
                "table {}.{} has no text column `{column}` to filter by",
                schema.database, schema.table
            )));
        }
    }
    Ok(())
}
