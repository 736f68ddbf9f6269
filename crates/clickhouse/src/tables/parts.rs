//! What the parts of a table hold, told without reading them.
//!
//! A part of a MergeTree table is never changed: whatever changes rows writes a new part, with other files and another hash.
//! The server keeps that hash (128 bits, over the checksums of all files of the part), and a `MOVE PARTITION` carries the
//! files over as they are. So what was once read from a set of parts is what a set with the same hashes holds.

use clickhouse::Row;
use serde::Deserialize;

use super::Tier;
use mpsync_core::error::Result;

/// One active part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
pub struct Part {
    /// The id of its partition.
    pub partition: String,
    /// The hash of its files, in hex.
    pub hash: String,
    /// Its rows.
    pub rows: u64,
}

/// Parts with rows, in no order of significance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartSet(Vec<Part>);

impl PartSet {
    /// These parts.
    #[must_use]
    pub fn new(mut parts: Vec<Part>) -> Self {
        // A part without rows stands for one that was moved away.
        parts.retain(|part| part.rows > 0);
        parts.sort_unstable();
        Self(parts)
    }

    /// Their rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.0.iter().map(|part| part.rows).sum()
    }

    /// The one partition in which all of them are; `None` where there are several, or no part.
    #[must_use]
    pub fn partition(&self) -> Option<&str> {
        let first = &self.0.first()?.partition;
        let same = self.0.iter().all(|part| part.partition == *first);
        same.then_some(first.as_str())
    }

    /// Whether each of `others` is among these, as often as it is there.
    #[must_use]
    pub fn contain(&self, others: &Self) -> bool {
        let mut mine = self.0.iter();
        others.0.iter().all(|other| mine.any(|part| part == other))
    }
}

impl Tier {
    /// The active parts of a table, or of one of its partitions.
    ///
    /// `None` where parts do not tell what a query reads: the table is replicated, so that another replica may answer the
    /// query; a patch part changes values of other parts on the fly; or the server keeps no hashes.
    pub async fn parts(
        &self,
        engine: &str,
        table: &str,
        partition: Option<&str>,
    ) -> Result<Option<PartSet>> {
        if engine != "MergeTree" || self.cluster().is_some() {
            return Ok(None);
        }
        let parts = self
            .query(
                "SELECT partition_id AS partition, hash_of_all_files AS hash, rows FROM system.parts \
                 WHERE active AND database = {database:String} AND table = {table:String} \
                 AND ({partition:String} = '' OR partition_id = {partition:String} OR startsWith(partition_id, 'patch-'))",
            )
            .param("database", self.database())
            .param("table", table)
            .param("partition", partition.unwrap_or_default())
            .fetch_all::<Part>()
            .await
            .map_err(|e| {
                self.error(e)
                    .context(format!("listing the parts of {}.{table}", self.database()))
            })?;
        let untold = |part: &Part| part.hash.is_empty() || part.partition.starts_with("patch-");
        Ok((!parts.iter().any(untold)).then(|| PartSet::new(parts)))
    }

    /// The bytes of a row of a table or of one of its partitions, uncompressed, on average; `None` where there are no rows, or
    /// none on this server.
    pub async fn row_bytes(&self, table: &str, partition: Option<&str>) -> Result<Option<u64>> {
        let (rows, bytes) = self
            .query(
                "SELECT sum(rows), sum(data_uncompressed_bytes) FROM system.parts \
                 WHERE active AND database = {database:String} AND table = {table:String} \
                 AND ({partition:String} = '' OR partition_id = {partition:String})",
            )
            .param("database", self.database())
            .param("table", table)
            .param("partition", partition.unwrap_or_default())
            .fetch_one::<(u64, u64)>()
            .await
            .map_err(|e| {
                self.error(e)
                    .context(format!("measuring the rows of {}.{table}", self.database()))
            })?;
        Ok(bytes.checked_div(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(hashes: &[(&str, u64)]) -> PartSet {
        let part = |(hash, rows): &(&str, u64)| Part {
            partition: "20260101".into(),
            hash: (*hash).into(),
            rows: *rows,
        };
        PartSet::new(hashes.iter().map(part).collect())
    }

    #[test]
    fn parts_are_told_by_their_hashes_as_often_as_they_are_there() {
        let some = parts(&[("b", 2), ("a", 1), ("a", 1), ("empty", 0)]);
        assert_eq!(some, parts(&[("a", 1), ("b", 2), ("a", 1)]));
        assert_eq!((some.rows(), some.partition()), (4, Some("20260101")));
        assert!(some.contain(&parts(&[("a", 1), ("a", 1)])));
        assert!(some.contain(&PartSet::default()));
        assert!(!some.contain(&parts(&[("a", 1), ("a", 1), ("a", 1)])));
        assert!(!some.contain(&parts(&[("a", 2)])));
        assert_eq!(PartSet::default().partition(), None);
    }
}
