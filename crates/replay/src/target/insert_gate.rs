//! The door through which one replay inserts into a table: as ingest's, it is an empty Null-engine table with a view into the
//! table, under a number that only grows. A newer replay drops older doors before it asks what the table holds, so nothing
//! that a crashed or sleeping one still has under way lands afterwards.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use mpsync_clickhouse::{InsertGates, TABLE_ALREADY_EXISTS, Tier};
use mpsync_core::error::{Error, Result};

#[derive(Debug)]
pub(super) struct InsertGate {
    gates: InsertGates,
    target: String,
    number: u64,
    columns: Vec<String>,
}

impl InsertGate {
    /// Makes a door for these columns, drops all older ones, and waits until nothing comes through them any more.
    ///
    /// Not cancel-safe, but harmless: the next replay into the table drops what is left.
    pub(super) async fn open(tier: &Tier, target: &str, columns: Vec<String>) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let mut gate = Self {
            gates: gates(tier, target),
            target: target.to_owned(),
            number: 0,
            columns,
        };
        loop {
            let newest = gate.numbers().await?.into_iter().max().unwrap_or(0);
            gate.number = now.max(newest + 1);
            match gate.create().await {
                Ok(()) => break,
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                Err(e) => return Err(e),
            }
        }
        let (newer, older): (Vec<u64>, Vec<u64>) = gate
            .numbers()
            .await?
            .into_iter()
            .filter(|n| *n != gate.number)
            .partition(|n| *n > gate.number);
        if let Some(newer) = newer.first() {
            gate.close().await?;
            return Err(Error::busy(format!(
                "another replay into {target} began at the same time (door {newer})"
            ))
            .with_hint("one at a time replays into a table: let it end, then start again"));
        }
        for number in &older {
            tracing::info!(
                table = target,
                gate = number,
                "dropping the door of an earlier replay"
            );
            gate.drop_gate(*number).await?;
        }
        let is_older = |name: &str| number(target, name).is_some_and(|n| n < gate.number);
        gate.gates.wait_for_inserts(is_older).await?;
        Ok(gate)
    }

    /// Drops the doors that earlier replays into a table left behind: those that were killed shut none.
    pub(super) async fn sweep(tier: &Tier, target: &str) -> Result<()> {
        let gate = Self {
            gates: gates(tier, target),
            target: target.to_owned(),
            number: u64::MAX,
            columns: Vec::new(),
        };
        for number in gate.numbers().await? {
            tracing::info!(
                table = target,
                gate = number,
                "dropping the door of an earlier replay"
            );
            gate.drop_gate(number).await?;
        }
        Ok(())
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
        self.drop_gate(self.number).await
    }

    async fn create(&self) -> Result<()> {
        let columns = self.columns.iter().map(String::as_str);
        self.gates.create(&self.table(), columns).await
    }

    async fn drop_gate(&self, number: u64) -> Result<()> {
        self.gates.drop_gate(&name(&self.target, number)).await
    }

    async fn numbers(&self) -> Result<BTreeSet<u64>> {
        let names = self.gates.names().await?;
        Ok(names
            .iter()
            .filter_map(|name| number(&self.target, name))
            .collect())
    }
}

fn gates(tier: &Tier, target: &str) -> InsertGates {
    InsertGates::new(tier, target, stem(target))
}

fn stem(target: &str) -> String {
    format!("{target}_replay_")
}

fn name(target: &str, number: u64) -> String {
    format!("{}{number}", stem(target))
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
        assert_eq!(number("trades", &format!("{table}_mv")), Some(17));
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
