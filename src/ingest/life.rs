//! Lives and their doors.
//!
//! A *life* is a growing number; its *door* is an empty Null-engine table `<table>_in_<life>` with a materialized view
//! into the dataset's table. A life inserts only through its own door, so that whoever drops the door knows that nothing
//! comes through it any more, however long its owner slept.
//!
//! Two that start at once: each makes its door first and looks at all doors afterwards, so that at least one of them sees
//! the other's. The greater number stays; the other one ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::doors::{DoorName, LIVES_FROM, Shard};
use crate::clickhouse::{TABLE_ALREADY_EXISTS, Tier, UNKNOWN_TABLE, ident, idents, literal};
use crate::dataset::Dataset;
use crate::error::{Context as _, Error, Result};

/// How often `system.processes` is asked whether an insert through a dropped door still runs.
const POLL: Duration = Duration::from_millis(20);
/// How long such an insert may go on before it is killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// ClickHouse's code for a right that the user lacks.
const ACCESS_DENIED: u32 = 497;

/// The way by which one life inserts.
#[derive(Debug, Clone)]
pub(super) struct Door {
    tier: Tier,
    /// The table behind it.
    target: String,
    name: DoorName,
    /// The shards of the dataset that have a consumer.
    live: BTreeSet<Shard>,
}

/// What numbers a door beside the lives' now: steps of 16 milliseconds, so that it lies below [`LIVES_FROM`] for centuries.
fn now_beside() -> Result<u64> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| u64::try_from(d.as_millis()).ok())
        .map(|millis| millis / 16)
        .filter(|number| *number < LIVES_FROM)
        .ok_or_else(|| Error::config("this machine's clock is not between 1970 and 2400"))
}

/// The number of a life that begins now: greater than every one known.
fn next_life(now_millis: u64, newest: Option<u64>, previous: Option<u64>) -> u64 {
    let known = newest.max(previous).unwrap_or(0);
    now_millis.max(known + 1)
}

impl Door {
    /// Begins a life: makes its door, shuts all that it has to (see [`DoorName::shuts`]) and waits until nothing comes
    /// through them any more.
    ///
    /// `lived` is the last life that this process began, or tried to: where somebody else began a newer one, this process
    /// was superseded and gets a [`Cause::Busy`](crate::error::Cause::Busy) error. Where it is `None` the caller takes
    /// over. It is set before anything is made, so that a door which appears late is known as our own.
    ///
    /// `live`: the shards of the dataset that have a consumer, this one among them.
    ///
    /// Not cancel-safe, but harmless: a door that was left behind is shut by the next life.
    pub(super) async fn open(
        tier: &Tier,
        dataset: &Dataset,
        shard: Option<&str>,
        live: BTreeSet<Shard>,
        now_millis: u64,
        lived: &mut Option<u64>,
    ) -> Result<Self> {
        let mut door = Self::unopened(tier, dataset, shard.map(str::to_owned), live);
        let name = dataset.name.as_str();
        loop {
            let newest = door.newest().await?;
            if let (Some(mine), Some(newest)) = (*lived, newest)
                && newest > mine
            {
                return Err(superseded(name, mine, newest));
            }
            door.name.life = next_life(now_millis, newest, *lived);
            *lived = Some(door.life());
            match door.create(dataset).await {
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
        if let Some(newest) = door.newest().await?.filter(|&newest| newest > door.life()) {
            door.close().await?;
            return Err(superseded(name, door.life(), newest));
        }
        let shut = door.shut_others().await?;
        tracing::info!(dataset = %dataset.name, shard = door.name.shard, life = door.life(), shut, "life began");
        Ok(door)
    }

    /// Opens a door beside the running life's, for messages that ingest has settled long ago (replayed dead letters).
    ///
    /// Its number grows too, but lies below every life's: the running daemon is not superseded by it, every life that
    /// begins shuts it like any older door, and so does the next door of this kind.
    pub(super) async fn open_beside(tier: &Tier, dataset: &Dataset) -> Result<Self> {
        let mut door = Self::unopened(tier, dataset, None, BTreeSet::new());
        loop {
            let known = door.newest_beside().await?;
            door.name.life = next_life(now_beside()?, known, None);
            match door.create(dataset).await {
                Ok(()) => break,
                // Another one took the number: the next one decides.
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                Err(e) => return Err(e),
            }
        }
        let newest = door.newest_beside().await?;
        if let Some(newer) = newest.filter(|&newer| newer > door.life()) {
            door.close().await?;
            return Err(Error::busy(format!(
                "another replay of {} began at the same time (door {newer})",
                dataset.name
            ))
            .hint("one at a time replays a dataset: let it end, then try again"));
        }
        door.shut_others().await?;
        tracing::debug!(dataset = %dataset.name, door = door.life(), "door opened beside the running life's");
        Ok(door)
    }

    fn unopened(tier: &Tier, dataset: &Dataset, shard: Shard, live: BTreeSet<Shard>) -> Self {
        Self {
            tier: tier.clone(),
            target: dataset.table.clone(),
            name: DoorName { shard, life: 0 },
            live,
        }
    }

    /// Shuts the doors that this one has to, and waits until no insert comes through them any more, nor through those
    /// that were dropped earlier.
    async fn shut_others(&self) -> Result<usize> {
        let mut others = self.all().await?;
        others.retain(|other| self.name.shuts(other, &self.live));
        for other in &others {
            self.shut(other).await?;
        }
        self.wait_for_inserts().await?;
        Ok(others.len())
    }

    /// All doors of the table, each once.
    async fn all(&self) -> Result<BTreeSet<DoorName>> {
        let stem = DoorName::stem(&self.target);
        let names = self.tier.tables_with_prefix(&stem).await?;
        let doors = names.iter();
        Ok(doors
            .filter_map(|name| DoorName::parse(&self.target, name))
            .collect())
    }

    /// The life's number.
    pub(super) fn life(&self) -> u64 {
        self.name.life
    }

    /// The table to insert into.
    pub(super) fn table(&self) -> String {
        self.name.table(&self.target)
    }

    /// Without `IF NOT EXISTS`: a name that is taken is not ours.
    async fn create(&self, dataset: &Dataset) -> Result<()> {
        let (table, view) = (self.table(), self.name.view(&self.target));
        let columns = idents(dataset.columns.iter().map(|(name, _)| name.as_str()));
        let on_cluster = self.on_cluster();
        let target = self.tier.table(&dataset.table);
        self.tier
            .execute(&format!(
                "CREATE TABLE {} {on_cluster} ENGINE = Null AS SELECT {columns} FROM {target} LIMIT 0",
                self.tier.table(&table)
            ))
            .await
            .doing(|| format!("making door {table}"))?;
        self.tier
            .execute(&format!(
                "CREATE MATERIALIZED VIEW {} {on_cluster} TO {target} AS SELECT {columns} FROM {}",
                self.tier.table(&view),
                self.tier.table(&table)
            ))
            .await
            .doing(|| format!("making door {table}"))
    }

    fn on_cluster(&self) -> String {
        self.tier
            .cluster()
            .map(|name| format!("ON CLUSTER {}", ident(name)))
            .unwrap_or_default()
    }

    /// Drops a door. The table first: a door without its view would swallow rows in silence.
    async fn shut(&self, door: &DoorName) -> Result<()> {
        for name in [door.table(&self.target), door.view(&self.target)] {
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

    /// Drops this life's own door, at the end of a life that ended well.
    pub(super) async fn close(&self) -> Result<()> {
        self.shut(&self.name).await
    }

    /// The newest life of this shard of which a door is there.
    pub(super) async fn newest(&self) -> Result<Option<u64>> {
        let doors = self.all().await?;
        let own = doors.into_iter().filter(|d| d.shard == self.name.shard);
        Ok(own.map(|door| door.life).max())
    }

    /// The newest door that is no life's.
    async fn newest_beside(&self) -> Result<Option<u64>> {
        let doors = self.all().await?;
        let beside = doors.into_iter().filter(DoorName::is_beside);
        Ok(beside.map(|door| door.life).max())
    }

    /// Waits until no insert runs through a door that was shut; kills those that take long, since their owner may be
    /// asleep with half a body sent.
    async fn wait_for_inserts(&self) -> Result<()> {
        let began = Instant::now();
        let mut killed = false;
        loop {
            let running = self.inserts_through_shut_doors().await?;
            if running.is_empty() {
                return Ok(());
            }
            if !killed && began.elapsed() >= PATIENCE {
                killed = true;
                tracing::warn!(table = %self.target, running = running.len(), "killing inserts through doors that were shut");
                self.kill(&running).await?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The doors that this one shuts and through which inserts run. `query_kind` keeps the asking query itself out.
    async fn inserts_through_shut_doors(&self) -> Result<BTreeSet<DoorName>> {
        let processes = match self.tier.cluster() {
            Some(name) => format!("clusterAllReplicas({}, system.processes)", literal(name)),
            None => "system.processes".into(),
        };
        // As `Tier::insert` writes it, up to what comes after the stem.
        let full = self.tier.table(&DoorName::stem(&self.target));
        let stem = literal(full.trim_end_matches('`'));
        let sql = format!(
            "SELECT splitByChar('`', substring(query, position(query, {stem}) + length({stem})))[1] FROM {processes} \
             WHERE query_kind = 'Insert' AND position(query, {stem}) > 0"
        );
        let rests = self.tier.query(&sql).fetch_all::<String>().await;
        let rests = rests.map_err(|e| {
            self.tier
                .error(e)
                .doing("asking for inserts through doors that were shut")
        })?;
        Ok(rests
            .iter()
            .filter_map(|rest| {
                let name = format!("{}{rest}", DoorName::stem(&self.target));
                DoorName::parse(&self.target, &name)
            })
            .filter(|door| self.name.shuts(door, &self.live))
            .collect())
    }

    /// Never with `SYNC`, which waits for ever on the embedded engine.
    async fn kill(&self, doors: &BTreeSet<DoorName>) -> Result<()> {
        for door in doors {
            let sql = format!(
                "KILL QUERY {} WHERE query_kind = 'Insert' AND position(query, {}) > 0",
                self.on_cluster(),
                literal(&self.tier.table(&door.table(&self.target)))
            );
            match self.tier.execute(&sql).await {
                // Without the right to kill there is only waiting.
                Err(e) if e.server_code() == Some(ACCESS_DENIED) => {
                    tracing::warn!(error = %e, "waiting for inserts that cannot be killed");
                }
                other => other?,
            }
        }
        Ok(())
    }
}

/// What a life gets that a newer one has taken over from.
pub(super) fn superseded(dataset: &str, mine: u64, newest: u64) -> Error {
    Error::busy(format!(
        "another daemon ingests {dataset} now: life {newest} took over from life {mine}"
    ))
    .hint("one daemon at a time ingests a dataset, and the one that started last stays; nothing was lost or doubled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_beside_is_older_than_every_life() {
        let life = next_life(1_760_000_000_000, Some(now_beside().unwrap() + 3), None);
        assert_eq!(life, 1_760_000_000_000);
    }

    #[test]
    fn a_life_is_greater_than_all_that_are_known_whatever_the_clock_says() {
        assert_eq!(next_life(1000, None, None), 1000);
        assert_eq!(next_life(1000, Some(2000), None), 2001);
        assert_eq!(next_life(1000, Some(900), Some(1000)), 1001);
        assert_eq!(next_life(1000, Some(900), None), 1000);
    }
}
