//! The insert gate of one replay: like ingest's, an empty Null-engine table with a view into the target
//! table, with a fencing number in its name. A newer replay drops older gates before it reads which
//! positions the table has, so no insert of a crashed or suspended replay arrives afterwards.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use mpsync_clickhouse::{InsertGates, TABLE_ALREADY_EXISTS, Tier};
use mpsync_core::error::{Error, Result};

#[derive(Debug)]
pub(crate) struct InsertGate {
    gates: InsertGates,
    target: String,
    number: u64,
    columns: Vec<String>,
}

impl InsertGate {
    /// Creates a gate for these columns, drops all older ones, and waits for their running inserts.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe, but harmless: the next replay into the table drops the remains.
    pub(crate) async fn open(tier: &Tier, target: &str, columns: Vec<String>) -> Result<Self> {
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
                "another replay into {target} started at the same time (insert gate {newer})"
            ))
            .with_hint("wait for the other replay to end, then start again"));
        }
        for number in &older {
            tracing::info!(
                table = target,
                gate = number,
                "dropping the insert gate of an earlier replay"
            );
            gate.drop_gate(*number).await?;
        }
        let is_older = |name: &str| number(target, name).is_some_and(|n| n < gate.number);
        gate.gates.wait_for_inserts(is_older).await?;
        Ok(gate)
    }

    /// Drops the gates that killed replays into a table left behind.
    pub(crate) async fn sweep(tier: &Tier, target: &str) -> Result<()> {
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
                "dropping the insert gate of an earlier replay"
            );
            gate.drop_gate(number).await?;
        }
        Ok(())
    }

    /// Returns the table to insert into.
    pub(crate) fn table(&self) -> String {
        name(&self.target, self.number)
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Drops this gate.
    pub(crate) async fn close(&self) -> Result<()> {
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

/// Returns the number in the name of a gate or of its view; `None` for other names.
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
    fn gate_names_are_recognized() {
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
