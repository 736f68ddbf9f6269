//! The door through which one replay inserts into a table: as ingest's, it is an empty Null-engine table with a view into the
//! table, under a number that only grows. A newer replay drops older doors before it asks what the table holds, so nothing
//! that a crashed or sleeping one still has under way lands afterwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clickhouse::{TABLE_ALREADY_EXISTS, Tier, ident, idents, literal};
use crate::error::{Context as _, Error, Result};

const POLL: Duration = Duration::from_millis(20);
/// How long an insert through a dropped door may go on before it is killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// ClickHouse's code for a right that the user lacks.
const ACCESS_DENIED: u32 = 497;

#[derive(Debug)]
pub(super) struct Door {
    tier: Tier,
    target: String,
    number: u64,
    columns: Vec<String>,
}

impl Door {
    /// Makes a door for these columns, drops all older ones, and waits until nothing comes through them any more.
    ///
    /// Not cancel-safe, but harmless: the next replay into the table drops what is left.
    pub(super) async fn open(tier: &Tier, target: &str, columns: Vec<String>) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let mut door = Self {
            tier: tier.clone(),
            target: target.to_owned(),
            number: 0,
            columns,
        };
        loop {
            let newest = door.numbers().await?.into_iter().max().unwrap_or(0);
            door.number = now.max(newest + 1);
            match door.create().await {
                Ok(()) => break,
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                Err(e) => return Err(e),
            }
        }
        let (newer, older): (Vec<u64>, Vec<u64>) = door
            .numbers()
            .await?
            .into_iter()
            .filter(|n| *n != door.number)
            .partition(|n| *n > door.number);
        if let Some(newer) = newer.first() {
            door.close().await?;
            return Err(Error::busy(format!(
                "another replay into {target} began at the same time (door {newer})"
            ))
            .hint("one at a time replays into a table: let it end, then start again"));
        }
        for number in &older {
            tracing::info!(
                table = target,
                door = number,
                "dropping the door of an earlier replay"
            );
            door.shut(*number).await?;
        }
        door.wait_for_inserts().await?;
        Ok(door)
    }

    /// The table to insert into.
    pub(super) fn table(&self) -> String {
        name(&self.target, self.number)
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Drops this door.
    pub(super) async fn close(&self) -> Result<()> {
        self.shut(self.number).await
    }

    async fn create(&self) -> Result<()> {
        let table = self.table();
        let columns = idents(self.columns.iter().map(String::as_str));
        let (on_cluster, target) = (self.on_cluster(), self.tier.table(&self.target));
        let door = self.tier.table(&table);
        let view = self.tier.table(&view(&table));
        self.tier
            .execute(&format!("CREATE TABLE {door} {on_cluster} ENGINE = Null AS SELECT {columns} FROM {target} LIMIT 0"))
            .await
            .doing(|| format!("making door {table}"))?;
        self.tier
            .execute(&format!("CREATE MATERIALIZED VIEW {view} {on_cluster} TO {target} AS SELECT {columns} FROM {door}"))
            .await
            .doing(|| format!("making door {table}"))
    }

    /// The table first: a door without its view would swallow rows in silence.
    async fn shut(&self, number: u64) -> Result<()> {
        let table = name(&self.target, number);
        for name in [table.clone(), view(&table)] {
            let sql = format!(
                "DROP TABLE IF EXISTS {} {}",
                self.tier.table(&name),
                self.on_cluster()
            );
            self.tier
                .execute(&sql)
                .await
                .doing(|| format!("shutting door {name}"))?;
        }
        Ok(())
    }

    async fn numbers(&self) -> Result<Vec<u64>> {
        let names = self.tier.tables_with_prefix(&stem(&self.target)).await?;
        Ok(names
            .iter()
            .filter_map(|name| number(&self.target, name))
            .collect())
    }

    /// Waits for inserts through doors that were dropped, and kills those that take long.
    async fn wait_for_inserts(&self) -> Result<()> {
        let began = Instant::now();
        let mut killed = false;
        loop {
            let running = self.running().await?;
            if running.is_empty() {
                return Ok(());
            }
            if !killed && began.elapsed() >= PATIENCE {
                killed = true;
                for number in &running {
                    self.kill(*number).await?;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The older doors through which inserts run. `query_kind` keeps the asking query itself out.
    async fn running(&self) -> Result<Vec<u64>> {
        let processes = match self.tier.cluster() {
            Some(name) => format!("clusterAllReplicas({}, system.processes)", literal(name)),
            None => "system.processes".into(),
        };
        let full = self.tier.table(&stem(&self.target));
        let stem_text = literal(full.trim_end_matches('`'));
        let sql = format!(
            "SELECT splitByChar('`', substring(query, position(query, {stem_text}) + length({stem_text})))[1] \
             FROM {processes} WHERE query_kind = 'Insert' AND position(query, {stem_text}) > 0"
        );
        let rests = self.tier.query(&sql).fetch_all::<String>().await;
        let rests = rests.map_err(|e| {
            self.tier
                .error(e)
                .doing("asking for inserts through older doors")
        })?;
        let numbers = rests.iter().filter_map(|rest| rest.parse::<u64>().ok());
        Ok(numbers.filter(|number| *number < self.number).collect())
    }

    /// Never with `SYNC`, which waits for ever on the embedded engine.
    async fn kill(&self, number: u64) -> Result<()> {
        let sql = format!(
            "KILL QUERY {} WHERE query_kind = 'Insert' AND position(query, {}) > 0",
            self.on_cluster(),
            literal(&self.tier.table(&name(&self.target, number)))
        );
        match self.tier.execute(&sql).await {
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

fn stem(target: &str) -> String {
    format!("{target}_replay_")
}

fn name(target: &str, number: u64) -> String {
    format!("{}{number}", stem(target))
}

fn view(table: &str) -> String {
    format!("{table}_mv")
}

/// The number of a door or of its view; other names are none.
fn number(target: &str, name: &str) -> Option<u64> {
    let rest = name.strip_prefix(target)?.strip_prefix("_replay_")?;
    let rest = rest.strip_suffix("_mv").unwrap_or(rest);
    let is_number = rest.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| rest.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_told_from_other_tables() {
        let table = name("trades", 17);
        assert_eq!(number("trades", &table), Some(17));
        assert_eq!(number("trades", &view(&table)), Some(17));
        for other in [
            "trades",
            "trades_replay_",
            "trades_replay_x",
            "trades_in_17",
            "trades_replay_+1",
        ] {
            assert_eq!(number("trades", other), None, "{other}");
        }
    }
}
