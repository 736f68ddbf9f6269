//! Creating a dataset's table, and holding a live table against its dataset.

use super::sql::ident;
use super::{TableSchema, Tier};
use mpsync_core::dataset::{ColumnType, Dataset, DdlOptions};
use mpsync_core::error::{Error, Result};

/// The engine of a table, and the clause for a cluster.
fn engine_and_cluster(cluster: Option<&str>) -> (String, String) {
    match cluster {
        None => ("MergeTree".into(), String::new()),
        Some(name) => (
            "ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}')".into(),
            format!("ON CLUSTER {}", ident(name)),
        ),
    }
}

impl Tier {
    /// The statement that creates a dataset's table in this tier.
    pub fn create_table_sql(&self, dataset: &Dataset) -> Result<String> {
        let (engine, on_cluster) = engine_and_cluster(self.cluster());
        let table = self.table(&dataset.table);
        dataset.create_table(
            self.role(),
            &DdlOptions {
                table: &table,
                engine: &engine,
                on_cluster: &on_cluster,
            },
        )
    }

    /// Creates the database and the tables that are missing, then checks them all.
    pub async fn apply_schema(&self, datasets: &[&Dataset]) -> Result<()> {
        self.create_database().await?;
        for dataset in datasets {
            self.execute(&self.create_table_sql(dataset)?).await?;
            let live = self.describe_existing(&dataset.table).await?;
            check_columns(dataset, &live)?;
        }
        Ok(())
    }
}

/// Refuses a live table whose columns do not fit the dataset, each difference named.
pub fn check_columns(dataset: &Dataset, live: &TableSchema) -> Result<()> {
    let mut differences = Vec::new();
    for (name, _) in &dataset.columns {
        match live.columns.iter().find(|c| c.name == *name) {
            None => differences.push(format!("column `{name}` is missing")),
            Some(column) if !matches!(column.default_kind.as_str(), "" | "DEFAULT") => {
                differences.push(format!(
                    "column `{name}` is {} and cannot be filled",
                    column.default_kind
                ));
            }
            Some(column) => {
                if let Err(e) = column.column_type.arrow() {
                    differences.push(format!("column `{name}`: {}", e.cause()));
                }
            }
        }
    }
    let foreign = dataset.columns.is_empty();
    for column in live.stored_columns().filter(|_| !foreign) {
        let filled = dataset.columns.iter().any(|(name, _)| *name == column.name);
        if !filled && column.default_kind.is_empty() && !column.column_type.is_nullable() {
            differences.push(format!(
                "column `{}` is in the table, but no field fills it",
                column.name
            ));
        }
    }
    let time = live
        .column_type(&dataset.time_column)
        .map(ColumnType::inner);
    if !matches!(
        time,
        Some(ColumnType::DateTime(_) | ColumnType::DateTime64(..)) | None
    ) {
        differences.push(format!(
            "column `{}` holds the event time and must be a DateTime or DateTime64",
            dataset.time_column
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::schema(format!(
        "table {}.{} does not fit dataset {}: {}",
        live.database,
        live.table,
        dataset.name,
        differences.join("; ")
    ))
    .with_hint(format!(
        "alter or rename the table; `mpsync schema show --dataset {}` prints the one that fits",
        dataset.name
    )))
}
