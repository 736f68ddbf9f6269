//! Doors: the way by which one process inserts into a table.
//!
//! A *door* is an empty Null-engine table with a materialized view into the table behind it; its name begins with the stem of its kind and
//! holds a number that only grows. Who drops a door knows that nothing comes through it any more, however long its owner
//! slept. Which doors a new one shuts is decided by those who open them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::sql::{ident, idents, literal};
use super::tier::Tier;
use mpsync_core::error::{Context as _, Result};

/// How often `system.processes` is asked whether an insert through a dropped door still runs.
const POLL: Duration = Duration::from_millis(20);
/// How long such an insert may go on before it is killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// ClickHouse's code for a right that the user lacks.
const ACCESS_DENIED: u32 = 497;

/// The doors of one kind into one table.
#[derive(Debug, Clone)]
pub struct InsertGates {
    tier: Tier,
    /// The table behind them.
    target: String,
    /// How their names begin.
    stem: String,
}

impl InsertGates {
    /// The doors into `target` whose names begin with `stem`.
    #[must_use]
    pub fn new(tier: &Tier, target: &str, stem: String) -> Self {
        Self {
            tier: tier.clone(),
            target: target.to_owned(),
            stem,
        }
    }

    /// The names of all that are there, and of their views.
    pub async fn names(&self) -> Result<Vec<String>> {
        self.tier.tables_with_prefix(&self.stem).await
    }

    /// Makes a door for these columns. Without `IF NOT EXISTS`: a name that is taken is not ours.
    pub async fn create<'a>(
        &self,
        gate: &str,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        let columns = idents(columns);
        let (on_cluster, target) = (self.on_cluster(), self.tier.table(&self.target));
        let (table, view) = (self.tier.table(gate), self.tier.table(&view(gate)));
        self.tier
            .execute(&format!(
                "CREATE TABLE {table} {on_cluster} ENGINE = Null AS SELECT {columns} FROM {target} LIMIT 0"
            ))
            .await
            .context(|| format!("making door {gate}"))?;
        self.tier
            .execute(&format!(
                "CREATE MATERIALIZED VIEW {view} {on_cluster} TO {target} AS SELECT {columns} FROM {table}"
            ))
            .await
            .context(|| format!("making door {gate}"))
    }

    /// Drops a door. The table first: a door without its view would swallow rows in silence.
    pub async fn drop_gate(&self, gate: &str) -> Result<()> {
        for name in [gate.to_owned(), view(gate)] {
            let sql = format!(
                "DROP TABLE IF EXISTS {} {}",
                self.tier.table(&name),
                self.on_cluster()
            );
            self.tier
                .execute(&sql)
                .await
                .context(|| format!("shutting door {name}"))?;
        }
        Ok(())
    }

    /// Waits until no insert runs through a door that was shut; kills those that take long, since their owner may be
    /// asleep with half a body sent.
    pub async fn wait_for_inserts(&self, was_dropped: impl Fn(&str) -> bool) -> Result<()> {
        let began = Instant::now();
        let mut killed = false;
        loop {
            let mut running = self.running().await?;
            running.retain(|gate| was_dropped(gate));
            if running.is_empty() {
                return Ok(());
            }
            if !killed && began.elapsed() >= PATIENCE {
                killed = true;
                tracing::warn!(table = %self.target, running = running.len(), "killing inserts through doors that were shut");
                for gate in &running {
                    self.kill(gate).await?;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The doors through which inserts run. `query_kind` keeps the asking query itself out.
    async fn running(&self) -> Result<BTreeSet<String>> {
        let processes = match self.tier.cluster() {
            Some(name) => format!("clusterAllReplicas({}, system.processes)", literal(name)),
            None => "system.processes".into(),
        };
        // As `Tier::insert` writes it, up to what comes after the stem.
        let full = self.tier.table(&self.stem);
        let stem = literal(full.trim_end_matches('`'));
        let sql = format!(
            "SELECT splitByChar('`', substring(query, position(query, {stem}) + length({stem})))[1] FROM {processes} \
             WHERE query_kind = 'Insert' AND position(query, {stem}) > 0"
        );
        let rests = self.tier.query(&sql).fetch_all::<String>().await;
        let rests = rests.map_err(|e| {
            self.tier
                .error(e)
                .context("asking for inserts through doors that were shut")
        })?;
        Ok(rests
            .iter()
            .map(|rest| format!("{}{rest}", self.stem))
            .collect())
    }

    /// Never with `SYNC`, which waits for ever on the embedded engine.
    async fn kill(&self, gate: &str) -> Result<()> {
        let sql = format!(
            "KILL QUERY {} WHERE query_kind = 'Insert' AND position(query, {}) > 0",
            self.on_cluster(),
            literal(&self.tier.table(gate))
        );
        match self.tier.execute(&sql).await {
            // Without the right to kill there is only waiting.
            Err(e) if e.server_code() == Some(ACCESS_DENIED) => {
                tracing::warn!(error = %e, "waiting for inserts that cannot be killed");
                Ok(())
            }
            other => other,
        }
    }

    fn on_cluster(&self) -> String {
        let cluster = self.tier.cluster();
        cluster.map_or_else(String::new, |name| format!("ON CLUSTER {}", ident(name)))
    }
}

/// The view behind a door.
fn view(gate: &str) -> String {
    format!("{gate}_mv")
}
