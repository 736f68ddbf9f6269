//! Columns that hot got after a window was archived.
//!
//! A window's generations have the same columns, those of its first. A column that was added since is allowed where it has a
//! default: it stays outside of the hashed column list, and nothing is lost by that, because it is refused as soon as a row of
//! the window holds anything but the default in it. Every other difference is refused, and named.

use clickhouse::Row;
use serde::Deserialize;

use crate::dataset_run::difference;
use crate::rows::columns::archived_columns;
use crate::rows::window_rows::Rows;
use mpsync_archive::Manifest;
use mpsync_clickhouse::{ident, literal};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::HashedColumn;

#[derive(Row, Deserialize)]
struct Default {
    name: String,
    type_name: String,
    expression: String,
}

/// The columns over which a window's rows are hashed and archived, beside these generations of it.
pub(crate) async fn window_columns(
    rows: &Rows<'_>,
    known: &[Manifest],
) -> Result<Vec<HashedColumn>> {
    let live = archived_columns(rows.schema);
    let Some(first) = known.first() else {
        return Ok(live);
    };
    let archived = &first.schema.columns;
    let added: Vec<_> = live.iter().filter(|c| !archived.contains(c)).collect();
    let allowed = |column: &HashedColumn| {
        let found = rows.schema.columns.iter().find(|c| c.name == column.name);
        found.is_some_and(|c| c.default_kind == "DEFAULT")
            && !archived.iter().any(|c| c.name == column.name)
    };
    if archived.iter().any(|c| !live.contains(c)) || !added.iter().all(|c| allowed(c)) {
        return Err(Error::schema(format!(
            "the table has other columns than {} has in the archive: {}",
            first.id(),
            difference(&live, archived)
        ))
        .with_hint(
            "a window's generations must have the same columns: set the table back, or give an added column a DEFAULT",
        ));
    }
    if !added.is_empty() {
        refuse_values(rows, &added).await?;
    }
    Ok(archived.clone())
}

/// Refuses rows that hold anything but the default in one of these columns.
async fn refuse_values(rows: &Rows<'_>, added: &[&HashedColumn]) -> Result<()> {
    let names: Vec<_> = added.iter().map(|c| c.name.as_str()).collect();
    let defaults = rows
        .tier
        .query(
            "SELECT name, type AS type_name, default_expression AS expression FROM system.columns \
             WHERE database = {database:String} AND table = {table:String} AND has({names:Array(String)}, name)",
        )
        .param("database", rows.tier.database())
        .param("table", rows.table)
        .param("names", names.as_slice())
        .fetch_all::<Default>()
        .await
        .map_err(|e| rows.tier.error(e).context("asking for the defaults of added columns"))?;
    if defaults.len() != added.len() {
        return Err(Error::busy(format!(
            "the columns of {} change while they are read",
            rows.tier.table(rows.table)
        )));
    }
    // The server's own text of the default. Hashes compare a NULL and an array as well as a number.
    let other = defaults.iter().map(|column| {
        format!(
            "cityHash64(tuple({})) != cityHash64(tuple(CAST({}, {})))",
            ident(&column.name),
            column.expression,
            literal(&column.type_name)
        )
    });
    let other = other.collect::<Vec<_>>().join(" OR ");
    let count = rows.count_where(&other).await?;
    if count == 0 {
        return Ok(());
    }
    Err(Error::schema(format!(
        "{count} rows of {} hold values in {}, which this window has not in the archive",
        rows.tier.table(rows.table),
        names.join(", ")
    ))
    .with_hint(
        "the window was archived before the column was added; nothing was cleaned; set the column to its default in these \
         rows, or keep them elsewhere",
    ))
}
