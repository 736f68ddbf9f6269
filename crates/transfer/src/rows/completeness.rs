//! Whether a query saw every row of the parts that it read, counted against the server's own metadata.
//!
//! A row policy, a limit of the user's profile and a lightweight DELETE hide rows from queries without an error. What the server
//! lists of its parts (`system.parts.rows`) is not subject to them. So an export counts as complete only if the rows of each part
//! that was there all the time are as many by a query as by the list, and as many were read as the query counts in the window.
//!
//! Each answer is a single row with an array in it: a limit on the rows of a result cannot cut it short.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::Deserialize;

use crate::rows::window_rows::Rows;
use mpsync_core::error::{Error, Result};

/// The active parts of a source, with the rows that the server's metadata lists of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ListedParts(BTreeMap<String, u64>);

/// The rows of one part, as a query counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    all: u64,
    wanted: u64,
}

#[derive(Row, Deserialize)]
struct ListedRow {
    parts: Vec<(String, u64)>,
}

#[derive(Row, Deserialize)]
struct CountedRow {
    parts: Vec<(String, u64, u64)>,
}

/// The numbers of a read that is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shortfall {
    /// Rows of the parts that were there all the time, by the server's metadata.
    listed: u64,
    /// The same by a query.
    counted: u64,
    /// Those of them that are wanted, by the query.
    wanted: u64,
    /// Rows that were read.
    read: Option<u64>,
}

impl ListedParts {
    fn rows(&self) -> u64 {
        self.0.values().sum()
    }
}

impl Rows<'_> {
    /// Lists the parts of the table, or of its partition, by the server's metadata.
    pub(crate) async fn listed_parts(&self) -> Result<ListedParts> {
        let sql = "SELECT groupArray((name, rows)) AS parts FROM system.parts \
                   WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String} \
                   AND ({partition:String} = '' OR partition_id = {partition:String}) AND NOT startsWith(partition_id, 'patch-')";
        let listed = self
            .tier
            .query(sql)
            .param("database", self.tier.database())
            .param("table", self.table)
            .param("partition", self.partition.unwrap_or_default())
            .fetch_one::<ListedRow>()
            .await
            .map_err(|e| {
                self.tier
                    .error(e)
                    .context(self.context("listing the parts of"))
            })?;
        Ok(ListedParts(listed.parts.into_iter().collect()))
    }

    async fn counted_parts(&self) -> Result<BTreeMap<String, Counted>> {
        let partition = match self.partition {
            Some(_) => "_partition_id = {partition:String}",
            None => "1",
        };
        let sql = format!(
            "SELECT groupArray((CAST(part AS String), everything, wanted)) AS parts FROM \
             (SELECT _part AS part, count() AS everything, countIf({}) AS wanted FROM {} WHERE {partition} GROUP BY part)",
            self.condition(),
            self.tier.table(self.table),
        );
        let counted = self
            .bind(&sql)
            .fetch_one::<CountedRow>()
            .await
            .map_err(|e| {
                self.tier
                    .error(e)
                    .context(self.context("counting the rows in the parts of"))
            })?;
        let parts = counted.parts.into_iter();
        Ok(parts
            .map(|(part, all, wanted)| (part, Counted { all, wanted }))
            .collect())
    }

    /// Checks that `read` rows are all that were wanted of the parts that were there before they were read and still are.
    ///
    /// # Errors
    ///
    /// An integrity error that names all numbers, if the server hides rows from queries or an answer was cut short.
    pub(crate) async fn check_read(&self, before: &ListedParts, read: u64) -> Result<()> {
        self.check(before, Some(read)).await
    }

    /// Checks that queries see every row of the table or of its partition.
    ///
    /// # Errors
    ///
    /// As [`Rows::check_read`].
    pub(crate) async fn check_visible(&self) -> Result<()> {
        let before = self.listed_parts().await?;
        self.check(&before, None).await
    }

    async fn check(&self, before: &ListedParts, read: Option<u64>) -> Result<()> {
        // The usual case is a partition of one window: then all rows were read, and nothing is left to be counted.
        if read == Some(before.rows()) && self.listed_parts().await? == *before {
            return Ok(());
        }
        let counted = self.counted_parts().await?;
        let after = self.listed_parts().await?;
        let Err(short) = judge(before, &counted, &after, read) else {
            return Ok(());
        };
        let Shortfall {
            listed,
            counted,
            wanted,
            read,
        } = short;
        let read = read.map(|read| format!(", and {read} were read"));
        let text = self.context(&format!(
            "the server lists {listed} rows in the parts of a table of which a query counts {counted}, {wanted} of them wanted{}:",
            read.unwrap_or_default()
        ));
        // Another replica may have answered the query.
        if self.schema.engine != "MergeTree" {
            return Err(Error::busy(text));
        }
        Err(Error::integrity(text).with_hint(
            "nothing was archived or cleaned; a row policy, a limit in the profile of the user, or a lightweight DELETE hides rows: \
             remove the policy or the limit for this user, or run ALTER TABLE … APPLY DELETED MASK",
        ))
    }
}

/// Compares the lists of the server with the count of a query between them. Pure.
fn judge(
    before: &ListedParts,
    counted: &BTreeMap<String, Counted>,
    after: &ListedParts,
    read: Option<u64>,
) -> Result<(), Shortfall> {
    let mut short = Shortfall {
        listed: 0,
        counted: 0,
        wanted: 0,
        read,
    };
    let mut differs = false;
    for (part, rows) in &before.0 {
        // A part that is gone was merged or deleted meanwhile, and its name never comes again.
        if !after.0.contains_key(part) {
            continue;
        }
        let found = counted.get(part);
        short.listed += rows;
        short.counted += found.map_or(0, |found| found.all);
        short.wanted += found.map_or(0, |found| found.wanted);
        differs |= found.is_none_or(|found| found.all != *rows);
    }
    if let Some(read) = read {
        differs |= read < short.wanted;
        // Rows of parts that came or went meanwhile may be among those that were read.
        differs |= before == after && read != short.wanted;
    }
    if differs { Err(short) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(parts: &[(&str, u64)]) -> ListedParts {
        let parts = parts.iter().map(|(name, rows)| ((*name).to_owned(), *rows));
        ListedParts(parts.collect())
    }

    fn counted(parts: &[(&str, u64, u64)]) -> BTreeMap<String, Counted> {
        let parts = parts.iter().map(|(name, all, wanted)| {
            let (all, wanted) = (*all, *wanted);
            ((*name).to_owned(), Counted { all, wanted })
        });
        parts.collect()
    }

    #[test]
    fn a_read_is_complete_only_if_list_count_and_read_agree() {
        let parts = listed(&[("a", 10), ("b", 5)]);
        let whole = counted(&[("a", 10, 7), ("b", 5, 5)]);
        for read in [Some(12), None] {
            assert_eq!(judge(&parts, &whole, &parts, read), Ok(()));
        }
        for read in [0, 11, 13, 15] {
            let short = judge(&parts, &whole, &parts, Some(read)).unwrap_err();
            assert_eq!((short.listed, short.counted, short.wanted), (15, 15, 12));
        }
        // A row policy, a mask, a limit: of a part some rows are seen, or none.
        for hidden in [&[("a", 9, 6), ("b", 5, 5)][..], &[("a", 10, 7)], &[]] {
            let wanted = hidden.iter().map(|(_, _, wanted)| wanted).sum();
            for read in [Some(wanted), None] {
                assert!(judge(&parts, &counted(hidden), &parts, read).is_err());
            }
        }
    }

    #[test]
    fn parts_that_came_or_went_meanwhile_prove_nothing_and_refuse_nothing() {
        let (before, after) = (
            listed(&[("a", 10), ("b", 5)]),
            listed(&[("a", 10), ("c", 7)]),
        );
        let between = counted(&[("a", 10, 10), ("c", 7, 7)]);
        // Of part a all rows were read; b went, c came.
        for read in [10, 15, 17] {
            assert_eq!(judge(&before, &between, &after, Some(read)), Ok(()));
        }
        assert!(judge(&before, &between, &after, Some(9)).is_err());
        let hidden = counted(&[("a", 4, 4), ("c", 7, 7)]);
        assert!(judge(&before, &hidden, &after, Some(15)).is_err());
    }
}
