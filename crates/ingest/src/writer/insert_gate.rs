//! Lives and their doors.
//!
//! A *life* is a growing number; its *door* is an empty Null-engine table `<table>_in_<life>` with a materialized view
//! into the dataset's table. A life inserts only through its own door, so that whoever drops the door knows that nothing
//! comes through it any more, however long its owner slept.
//!
//! Two that start at once: each makes its door first and looks at all doors afterwards, so that at least one of them sees
//! the other's. The greater number stays; the other one ends.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::writer::gate_name::{InsertGateName, SESSION_TOKENS_FROM, Shard};
use mpsync_clickhouse::{InsertGates, TABLE_ALREADY_EXISTS, Tier, UNKNOWN_TABLE};
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Error, Result};

/// The way by which one life inserts.
#[derive(Debug, Clone)]
pub(crate) struct InsertGate {
    tier: Tier,
    /// The table behind it.
    target: String,
    name: InsertGateName,
    /// The shards of the dataset that have a consumer.
    live: BTreeSet<Shard>,
}

/// What numbers a door beside the lives' now: steps of 16 milliseconds, so that it lies below [`LIVES_FROM`] for centuries.
fn replay_token_now() -> Result<u64> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| u64::try_from(d.as_millis()).ok())
        .map(|millis| millis / 16)
        .filter(|number| *number < SESSION_TOKENS_FROM)
        .ok_or_else(|| Error::config("this machine's clock is not between 1970 and 2400"))
}

/// The number of a life that begins now: greater than every one known.
fn next_fencing_token(now_millis: u64, newest: Option<u64>, previous: Option<u64>) -> u64 {
    let known = newest.max(previous).unwrap_or(0);
    now_millis.max(known + 1)
}

impl InsertGate {
    /// Begins a life: makes its door, shuts all that it has to (see [`DoorName::shuts`]) and waits until nothing comes
    /// through them any more.
    ///
    /// `lived` is the last life that this process began, or tried to: where somebody else began a newer one, this process
    /// was superseded and gets a [`Cause::Busy`](mpsync_core::error::Cause::Busy) error. Where it is `None` the caller takes
    /// over. It is set before anything is made, so that a door which appears late is known as our own.
    ///
    /// `live`: the shards of the dataset that have a consumer, this one among them.
    ///
    /// Not cancel-safe, but harmless: a door that was left behind is shut by the next life.
    pub(crate) async fn open(
        tier: &Tier,
        dataset: &Dataset,
        shard: Option<&str>,
        live: BTreeSet<Shard>,
        now_millis: u64,
        last_token: &mut Option<u64>,
    ) -> Result<Self> {
        let mut gate = Self::unopened(tier, dataset, shard.map(str::to_owned), live);
        let name = dataset.name.as_str();
        loop {
            let newest = gate.newest().await?;
            if let (Some(mine), Some(newest)) = (*last_token, newest)
                && newest > mine
            {
                return Err(superseded(name, mine, newest));
            }
            gate.name.token = next_fencing_token(now_millis, newest, *last_token);
            *last_token = Some(gate.fencing_token());
            match gate.create(dataset).await {
                Ok(()) => break,
                // Somebody began at the same millisecond: the next number decides.
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                // Somebody dropped the door before its view was made: the next look says who.
                Err(e) if e.server_code() == Some(UNKNOWN_TABLE) => {
                    if tier.describe(&dataset.table).await?.is_none() {
                        return Err(e);
                    }
                }
                Err(e) => return Err(e),
            }
        }
        if let Some(newest) = gate
            .newest()
            .await?
            .filter(|&newest| newest > gate.fencing_token())
        {
            gate.close().await?;
            return Err(superseded(name, gate.fencing_token(), newest));
        }
        let shut = gate.fence_others().await?;
        tracing::info!(dataset = %dataset.name, shard = gate.name.shard, token = gate.fencing_token(), shut, "life began");
        Ok(gate)
    }

    /// Opens a door beside the running life's, for messages that ingest has settled long ago (replayed dead letters).
    ///
    /// Its number grows too, but lies below every life's: the running daemon is not superseded by it, every life that
    /// begins shuts it like any older door, and so does the next door of this kind.
    pub(crate) async fn open_for_replay(tier: &Tier, dataset: &Dataset) -> Result<Self> {
        let mut gate = Self::unopened(tier, dataset, None, BTreeSet::new());
        loop {
            let known = gate.newest_for_replay().await?;
            gate.name.token = next_fencing_token(replay_token_now()?, known, None);
            match gate.create(dataset).await {
                Ok(()) => break,
                // Another one took the number: the next one decides.
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                Err(e) => return Err(e),
            }
        }
        let newest = gate.newest_for_replay().await?;
        if let Some(newer) = newest.filter(|&newer| newer > gate.fencing_token()) {
            gate.close().await?;
            return Err(Error::busy(format!(
                "another replay of {} began at the same time (door {newer})",
                dataset.name
            ))
            .with_hint("one at a time replays a dataset: let it end, then try again"));
        }
        gate.fence_others().await?;
        tracing::debug!(dataset = %dataset.name, gate = gate.fencing_token(), "door opened beside the running life's");
        Ok(gate)
    }

    fn unopened(tier: &Tier, dataset: &Dataset, shard: Shard, live: BTreeSet<Shard>) -> Self {
        Self {
            tier: tier.clone(),
            target: dataset.table.clone(),
            name: InsertGateName { shard, token: 0 },
            live,
        }
    }

    /// Shuts the doors that this one has to, and waits until no insert comes through them any more, nor through those
    /// that were dropped earlier.
    async fn fence_others(&self) -> Result<usize> {
        let mut others = self.all().await?;
        others.retain(|other| self.name.fences(other, &self.live));
        let gates = self.gates();
        for other in &others {
            gates.drop_gate(&other.table(&self.target)).await?;
        }
        let shuts = |name: &str| {
            let gate = InsertGateName::parse(&self.target, name);
            gate.is_some_and(|gate| self.name.fences(&gate, &self.live))
        };
        gates.wait_for_inserts(shuts).await?;
        Ok(others.len())
    }

    fn gates(&self) -> InsertGates {
        InsertGates::new(&self.tier, &self.target, InsertGateName::stem(&self.target))
    }

    /// All doors of the table, each once.
    async fn all(&self) -> Result<BTreeSet<InsertGateName>> {
        let names = self.gates().names().await?;
        let gates = names.iter();
        Ok(gates
            .filter_map(|name| InsertGateName::parse(&self.target, name))
            .collect())
    }

    /// The life's number.
    pub(crate) fn fencing_token(&self) -> u64 {
        self.name.token
    }

    /// The table to insert into.
    pub(crate) fn table(&self) -> String {
        self.name.table(&self.target)
    }

    async fn create(&self, dataset: &Dataset) -> Result<()> {
        let columns = dataset.columns.iter().map(|(name, _)| name.as_str());
        self.gates().create(&self.table(), columns).await
    }

    /// Drops this life's own door, at the end of a life that ended well.
    pub(crate) async fn close(&self) -> Result<()> {
        self.gates().drop_gate(&self.table()).await
    }

    /// The newest life of this shard of which a door is there.
    pub(crate) async fn newest(&self) -> Result<Option<u64>> {
        let gates = self.all().await?;
        let own = gates.into_iter().filter(|d| d.shard == self.name.shard);
        Ok(own.map(|gate| gate.token).max())
    }

    /// The newest door that is no life's.
    async fn newest_for_replay(&self) -> Result<Option<u64>> {
        let gates = self.all().await?;
        let beside = gates.into_iter().filter(InsertGateName::is_for_replay);
        Ok(beside.map(|gate| gate.token).max())
    }
}

/// What a life gets that a newer one has taken over from.
pub(crate) fn superseded(dataset: &str, mine: u64, newest: u64) -> Error {
    Error::busy(format!(
        "another daemon ingests {dataset} now: life {newest} took over from life {mine}"
    ))
    .with_hint("one daemon at a time ingests a dataset, and the one that started last stays; nothing was lost or doubled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_beside_is_older_than_every_life() {
        let token = next_fencing_token(
            1_760_000_000_000,
            Some(replay_token_now().unwrap() + 3),
            None,
        );
        assert_eq!(token, 1_760_000_000_000);
    }

    #[test]
    fn a_life_is_greater_than_all_that_are_known_whatever_the_clock_says() {
        assert_eq!(next_fencing_token(1000, None, None), 1000);
        assert_eq!(next_fencing_token(1000, Some(2000), None), 2001);
        assert_eq!(next_fencing_token(1000, Some(900), Some(1000)), 1001);
        assert_eq!(next_fencing_token(1000, Some(900), None), 1000);
    }
}
