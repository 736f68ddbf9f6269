//! A dataset's `CREATE TABLE` for a tier.

use super::definition::Dataset;
use super::tier_role::TierRole;
use crate::error::{Error, Result};

/// How a cold table merges its parts: a partition once, when nothing has come for six hours.
///
/// A day of windows arrives as a part an hour. Left to itself the server merges a few of them at a time, again and again, beside
/// the inserts: half of its work while a backlog is transferred (benches/README.md). Where more than 32 parts come together,
/// many late arrivals for instance, they are merged at once. Servers know these settings since 24.11.
const COLD_SETTINGS: &str = "SETTINGS min_parts_to_merge_at_once = 32, \
    min_age_to_force_merge_seconds = 21600, min_age_to_force_merge_on_partition_only = 1";

/// The values of the placeholders of a DDL file, except the tier's partition.
#[derive(Debug, Clone)]
pub struct DdlOptions<'a> {
    /// The table, quoted and qualified: `{table}`.
    pub table: &'a str,
    /// The engine with its arguments: `{engine}`.
    pub engine: &'a str,
    /// `ON CLUSTER …`, or nothing: `{on_cluster}`.
    pub on_cluster: &'a str,
}

impl Dataset {
    /// Returns the statement that creates the dataset's table in a tier.
    ///
    /// Placeholders of the DDL file: `{table}`, `{engine}`, `{on_cluster}`, `{partition}`; and `{settings}` at its end, which a
    /// file may leave out: settings of the table that differ from the server's defaults.
    pub fn create_table(&self, tier: TierRole, options: &DdlOptions<'_>) -> Result<String> {
        let (partition, settings) = match tier {
            TierRole::Hot => (&self.partition.hot, ""),
            TierRole::Cold => (&self.partition.cold, COLD_SETTINGS),
        };
        let mut sql = self.ddl.clone();
        for (placeholder, value) in [
            ("{table}", options.table),
            ("{engine}", options.engine),
            ("{on_cluster}", options.on_cluster),
            ("{partition}", partition.as_str()),
        ] {
            if !sql.contains(placeholder) {
                return Err(Error::config(format!(
                    "dataset {}: its DDL has no `{placeholder}`",
                    self.name
                )));
            }
            sql = sql.replace(placeholder, value);
        }
        let sql = sql.replace("{settings}", settings);
        Ok(sql.trim().trim_end_matches(';').trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::builtin;

    #[test]
    fn every_built_in_table_names_exactly_the_columns_that_its_dataset_fills() {
        let options = DdlOptions {
            table: "`db`.`t`",
            engine: "MergeTree",
            on_cluster: "",
        };
        for dataset in builtin() {
            let sql = dataset.create_table(TierRole::Hot, &options).unwrap();
            assert!(!sql.contains('{'), "{sql}");
            let cold = dataset.create_table(TierRole::Cold, &options).unwrap();
            assert!(cold.ends_with(COLD_SETTINGS), "{cold}");
            let body = &sql[sql.find("(\n").unwrap()..sql.find("\n)").unwrap()];
            let in_ddl: Vec<_> = body
                .lines()
                .map(str::trim)
                .filter(|l| l.starts_with('`'))
                .map(|l| l[1..].split('`').next().unwrap())
                .collect();
            let filled: Vec<_> = dataset
                .columns
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(in_ddl, filled, "{}", dataset.name);
        }
    }
}
