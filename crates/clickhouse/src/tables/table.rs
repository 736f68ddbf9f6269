//! What a live table is: its columns, engine and keys, and its partitions.

use clickhouse::Row;
use serde::Deserialize;

use super::Tier;
use super::sql::literal;
use mpsync_core::dataset::ColumnType;
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::HashedColumn;

/// A column of a live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// `DEFAULT`, `MATERIALIZED`, `ALIAS`, `EPHEMERAL`, or empty.
    pub default_kind: String,
}

/// A live table, as the server describes it.
#[derive(Debug, Clone)]
pub struct TableSchema {
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
    /// `MergeTree`, `ReplicatedMergeTree`, ….
    pub engine: String,
    /// `PARTITION BY`, empty where there is none.
    pub partition_key: String,
    /// `ORDER BY`.
    pub sorting_key: String,
    /// `CREATE TABLE …`, as the server writes it.
    pub create_query: String,
    /// All columns, in the table's order.
    pub columns: Vec<TableColumn>,
}

impl TableSchema {
    /// The type of a column.
    #[must_use]
    pub fn column_type(&self, name: &str) -> Option<&ColumnType> {
        self.columns
            .iter()
            .find(|c| c.name == name)
            .map(|c| &c.column_type)
    }

    /// The columns whose values are stored and can be inserted: neither `ALIAS` nor `EPHEMERAL` nor `MATERIALIZED`.
    pub fn stored_columns(&self) -> impl Iterator<Item = &TableColumn> {
        self.columns
            .iter()
            .filter(|c| matches!(c.default_kind.as_str(), "" | "DEFAULT"))
    }

    /// Why this table cannot be transferred with proof, or `Ok`.
    ///
    /// Only plain and Replicated `MergeTree` keep exactly the rows that were inserted; a Replacing table, say, changes its
    /// own hash by merging.
    pub fn check_transferable(&self) -> Result<()> {
        let refuse = |why: String| {
            Error::schema(format!(
                "table {}.{} cannot be transferred: {why}",
                self.database, self.table
            ))
        };
        if !matches!(
            self.engine.as_str(),
            "MergeTree" | "ReplicatedMergeTree" | "SharedMergeTree"
        ) {
            return Err(refuse(format!(
                "its engine is {}; only MergeTree and ReplicatedMergeTree keep rows as they are",
                self.engine
            )));
        }
        let refused = self
            .columns
            .iter()
            .find_map(|c| c.column_type.refusal().map(|why| (c, why)));
        match refused {
            Some((column, why)) => Err(refuse(format!("column {}: {why}", column.name))),
            None => Ok(()),
        }
    }
}

impl TableSchema {
    /// Why this table cannot take rows with these columns as they are, column by column; nothing where it can. Columns beyond
    /// them are not looked at.
    ///
    /// ClickHouse itself would cut a decimal of a greater scale without a word.
    #[must_use]
    pub fn misfits(&self, columns: &[HashedColumn]) -> Vec<String> {
        let misfit = |column: &HashedColumn| {
            let HashedColumn { name, type_name } = column;
            let Some(live) = self.columns.iter().find(|c| c.name == *name) else {
                return Some(format!("column `{name}` is missing"));
            };
            let there = live.column_type.to_string();
            if there != *type_name {
                return Some(format!(
                    "column `{name}` is {there}, in the archive {type_name}"
                ));
            }
            let kind = live.default_kind.as_str();
            (!matches!(kind, "" | "DEFAULT")).then(|| format!("column `{name}` is {kind}"))
        };
        columns.iter().filter_map(misfit).collect()
    }
}

/// A partition of a live table, from its active parts.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Partition {
    /// The name under which `PARTITION ID` finds it.
    pub id: String,
    /// The partition key's value, as the server writes it.
    pub value: String,
    /// Rows in its active parts.
    pub rows: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Active parts.
    pub parts: u64,
}

#[derive(Row, Deserialize)]
struct TableRow {
    engine: String,
    partition_key: String,
    sorting_key: String,
    create_table_query: String,
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    default_kind: String,
}

impl Tier {
    /// Describes a live table, or `None` where there is none of that name.
    pub async fn describe(&self, table: &str) -> Result<Option<TableSchema>> {
        let context = || format!("describing table {}.{table}", self.database());
        let found = self
            .query(
                "SELECT engine, partition_key, sorting_key, create_table_query FROM system.tables \
                 WHERE database = {database:String} AND name = {table:String}",
            )
            .param("database", self.database())
            .param("table", table)
            .fetch_optional::<TableRow>()
            .await
            .map_err(|e| self.error(e).context(context()))?;
        let Some(row) = found else { return Ok(None) };
        let columns = self
            .query(
                "SELECT name, type, default_kind FROM system.columns \
                 WHERE database = {database:String} AND table = {table:String} ORDER BY position",
            )
            .param("database", self.database())
            .param("table", table)
            .fetch_all::<ColumnRow>()
            .await
            .map_err(|e| self.error(e).context(context()))?;
        let columns = columns
            .into_iter()
            .map(|c| {
                let column_type = ColumnType::parse(&c.type_name)
                    .map_err(|e| e.context(format!("column {}", c.name)))?;
                Ok(TableColumn {
                    name: c.name,
                    column_type,
                    default_kind: c.default_kind,
                })
            })
            .collect::<Result<_>>()
            .map_err(|e| e.context(context()))?;
        Ok(Some(TableSchema {
            database: self.database().to_owned(),
            table: table.to_owned(),
            engine: row.engine,
            partition_key: row.partition_key,
            sorting_key: row.sorting_key,
            create_query: row.create_table_query,
            columns,
        }))
    }

    /// Describes a table that must be there.
    pub async fn describe_existing(&self, table: &str) -> Result<TableSchema> {
        self.describe(table).await?.ok_or_else(|| {
            Error::schema(format!(
                "there is no table {}.{table} in {}",
                self.database(),
                self.role()
            ))
            .with_hint(format!(
                "`mpsync schema apply --tier {}` creates the tables",
                self.role()
            ))
        })
    }

    /// The partitions of a table, by their id. A table that is not there has none.
    pub async fn partitions(&self, table: &str) -> Result<Vec<Partition>> {
        self.query(
            "SELECT partition_id AS id, any(partition) AS value, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, \
             count() AS parts FROM system.parts \
             WHERE active AND database = {database:String} AND table = {table:String} GROUP BY partition_id ORDER BY id",
        )
        .param("database", self.database())
        .param("table", table)
        .fetch_all()
        .await
        .map_err(|e| self.error(e).context(format!("listing the partitions of {}.{table}", self.database())))
    }

    /// The names of the tables that begin with `prefix`.
    pub async fn tables_with_prefix(&self, prefix: &str) -> Result<Vec<String>> {
        self.query("SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String}) ORDER BY name")
            .param("database", self.database())
            .param("prefix", prefix)
            .fetch_all::<String>()
            .await
            .map_err(|e| self.error(e).context(format!("listing tables named {prefix}*")))
    }

    /// Drops a table if it is there. Never with `SYNC`, which waits for ever on the embedded engine.
    pub async fn drop_table(&self, table: &str) -> Result<()> {
        self.execute(&format!("DROP TABLE IF EXISTS {}", self.table(table)))
            .await
    }

    /// Moves a partition from one table to another of the same structure: additive, atomic, a metadata operation.
    pub async fn move_partition(&self, id: &str, from: &str, to: &str) -> Result<()> {
        let sql = format!(
            "ALTER TABLE {} MOVE PARTITION ID {} TO TABLE {}",
            self.table(from),
            literal(id),
            self.table(to)
        );
        self.execute(&sql).await
    }
}
