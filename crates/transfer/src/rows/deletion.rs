//! Deletion of rows of a window, as SQL: the condition of archived rows, and the end of deletions that no worker waits for.

use crate::rows::window_rows::Rows;
use mpsync_clickhouse::{Tier, idents, literal};
use mpsync_core::dataset::{EPOCH_COLUMN, SEQ_COLUMN};
use mpsync_core::error::Result;
use mpsync_core::fingerprint::HashedColumn;

/// The condition of rows in these parts.
pub(crate) fn in_parts(parts: &[String]) -> String {
    let names: Vec<_> = parts.iter().map(|name| literal(name)).collect();
    format!("_part IN ({})", names.join(", "))
}

impl Rows<'_> {
    /// The condition of rows that `archived` holds, same position and same hash.
    pub(crate) fn archived_condition(
        &self,
        archived: &Rows<'_>,
        columns: &[HashedColumn],
    ) -> String {
        let position = idents([EPOCH_COLUMN, SEQ_COLUMN]);
        format!(
            "({position}, {}) IN (SELECT {position}, {} FROM {})",
            self.hash(columns),
            archived.hash(columns),
            archived.tier.table(archived.table)
        )
    }

    /// The parts whose rows are all archived, told by the multiset of their hashes: those that hold rows of ours now, if no
    /// row is in them that `archived` has not. `None` where there is one: it arrived since the window was proven.
    pub(crate) async fn proven_parts(
        &self,
        archived: &Rows<'_>,
        columns: &[HashedColumn],
    ) -> Result<Option<Vec<String>>> {
        let sql = format!(
            "SELECT DISTINCT _part FROM {} WHERE {} ORDER BY _part",
            self.tier.table(self.table),
            self.condition()
        );
        let parts = self.bind(&sql).fetch_all::<String>().await.map_err(|e| {
            self.tier
                .error(e)
                .context(self.context("listing the parts with rows of"))
        })?;
        if parts.is_empty() {
            return Ok(Some(parts));
        }
        let sql = format!(
            "SELECT count() FROM (SELECT hash, sum(here) AS here, sum(there) AS there FROM (\
             SELECT {} AS hash, 1 AS here, 0 AS there FROM {} WHERE {} AND {} UNION ALL \
             SELECT {} AS hash, 0 AS here, 1 AS there FROM {}) GROUP BY hash) WHERE here > there",
            self.hash(columns),
            self.tier.table(self.table),
            self.condition(),
            in_parts(&parts),
            archived.hash(columns),
            archived.tier.table(archived.table),
        );
        let unproven = self.bind(&sql).fetch_one::<u64>().await.map_err(|e| {
            self.tier
                .error(e)
                .context(self.context("comparing with the archive the rows of"))
        })?;
        Ok((unproven == 0).then_some(parts))
    }

    /// Deletes those of the rows that meet a further condition, for good: no mask that a later look would not see. Returns
    /// when it is done on every replica.
    pub(crate) async fn delete_where(&self, condition: &str) -> Result<()> {
        let sql = format!(
            "ALTER TABLE {} DELETE WHERE {} AND {condition}",
            self.tier.table(self.table),
            self.condition()
        );
        let query = self.bind(&sql).with_setting("mutations_sync", "2");
        let done = self.tier.execute_query(query).await;
        done.map_err(|e| e.context(self.context("deleting from hot the rows of")))
    }
}

impl Rows<'_> {
    /// Deletes those of the rows that meet a further condition, on every replica. If `waits`, returns when this replica has done it:
    /// another one may be down.
    pub(crate) async fn delete_replicated(&self, condition: &str, waits: bool) -> Result<()> {
        let sql = format!(
            "ALTER TABLE {} DELETE WHERE {} AND {condition}",
            self.tier.table(self.table),
            self.condition()
        );
        let sync = if waits { "1" } else { "0" };
        let query = self.bind(&sql).with_setting("mutations_sync", sync);
        let done = self.tier.execute_query(query).await;
        done.map_err(|e| e.context(self.context("deleting from hot the rows of")))
    }
}

/// Ends the deletions that still read from a table: without it they would fail, and be tried, for ever. What they have
/// deleted was proven.
pub(crate) async fn stop_deletions(tier: &Tier, table: &str) -> Result<()> {
    let sql = "SELECT count() FROM system.mutations WHERE database = {database:String} AND NOT is_done \
               AND position(command, {table:String}) > 0";
    let running = tier
        .query(sql)
        .param("database", tier.database())
        .param("table", table)
        .fetch_one::<u64>()
        .await
        .map_err(|e| tier.error(e).context("asking for running deletions"))?;
    if running == 0 {
        return Ok(());
    }
    tracing::warn!(table, "ending a deletion that a broken-off cleanup left");
    let kill = format!(
        "KILL MUTATION WHERE database = {} AND NOT is_done AND position(command, {}) > 0",
        literal(tier.database()),
        literal(table)
    );
    tier.execute(&kill).await
}
