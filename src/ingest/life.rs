//! Lives and their doors.
//!
//! A *life* is a growing number; its *door* is an empty Null-engine table `<table>_in_<life>` with a materialized view
//! into the dataset's table. A life inserts only through its own door, so that whoever drops the door knows that nothing
//! comes through it any more, however long its owner slept.
//!
//! Two that start at once: each makes its door first and looks at all doors afterwards, so that at least one of them sees
//! the other's. The greater number stays; the other one ends.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clickhouse::{TABLE_ALREADY_EXISTS, Tier, UNKNOWN_TABLE, ident, idents, literal};
use crate::dataset::Dataset;
use crate::error::{Context as _, Error, Result};

/// How often `system.processes` is asked whether an insert through a dropped door still runs.
const POLL: Duration = Duration::from_millis(20);
/// How long such an insert may go on before it is killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Numbers of lives, milliseconds since 1970, lie above it since 2001; numbers of doors beside them below.
const LIVES_FROM: u64 = 1_000_000_000_000;
/// ClickHouse's code for a right that the user lacks.
const ACCESS_DENIED: u32 = 497;

/// The way by which one life inserts.
#[derive(Debug, Clone)]
pub(super) struct Door {
    tier: Tier,
    /// Beginning of all door names of the dataset.
    prefix: String,
    life: u64,
}

/// The tables that make up doors, by life.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doors {
    tables: Vec<u64>,
    views: Vec<u64>,
}

impl Doors {
    /// Finds doors among table names; other names are passed over.
    fn among(prefix: &str, names: &[String]) -> Self {
        let mut doors = Self::default();
        for name in names {
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            let (number, list) = match rest.strip_suffix("_mv") {
                Some(number) => (number, &mut doors.views),
                None => (rest, &mut doors.tables),
            };
            if number.bytes().all(|b| b.is_ascii_digit())
                && let Ok(life) = number.parse()
            {
                list.push(life);
            }
        }
        doors
    }

    fn newest(&self) -> Option<u64> {
        self.tables.iter().chain(&self.views).max().copied()
    }

    /// The newest door that is no life's, see [`Door::open_beside`].
    fn newest_beside(&self) -> Option<u64> {
        self.tables
            .iter()
            .chain(&self.views)
            .filter(|&&number| number < LIVES_FROM)
            .max()
            .copied()
    }

    /// Every life below `life` of which something is there.
    fn older_than(&self, life: u64) -> Vec<u64> {
        let mut older: Vec<u64> = self
            .tables
            .iter()
            .chain(&self.views)
            .filter(|&&other| other < life)
            .copied()
            .collect();
        older.sort_unstable();
        older.dedup();
        older
    }
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
    /// Begins a life: makes its door, shuts all older ones and waits until nothing comes through them any more.
    ///
    /// `lived` is the last life that this process began, or tried to: where somebody else began a newer one, this process
    /// was superseded and gets a [`Cause::Busy`](crate::error::Cause::Busy) error. Where it is `None` the caller takes
    /// over. It is set before anything is made, so that a door which appears late is known as our own.
    ///
    /// Not cancel-safe, but harmless: a door that was left behind is shut by the next life.
    pub(super) async fn open(
        tier: &Tier,
        dataset: &Dataset,
        now_millis: u64,
        lived: &mut Option<u64>,
    ) -> Result<Self> {
        let mut door = Self {
            tier: tier.clone(),
            prefix: format!("{}_in_", dataset.table),
            life: 0,
        };
        let name = dataset.name.as_str();
        loop {
            let newest = door.newest().await?;
            if let (Some(mine), Some(newest)) = (*lived, newest)
                && newest > mine
            {
                return Err(superseded(name, mine, newest));
            }
            door.life = next_life(now_millis, newest, *lived);
            *lived = Some(door.life);
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
        let doors = list(tier, &door.prefix).await?;
        if let Some(newest) = doors.newest().filter(|&newest| newest > door.life) {
            door.close().await?;
            return Err(superseded(name, door.life, newest));
        }
        let older = doors.older_than(door.life);
        for &life in &older {
            door.shut(life).await?;
        }
        // Also those whose doors were dropped earlier: their inserts may still run.
        door.wait_for_older_inserts().await?;
        tracing::info!(dataset = %dataset.name, life = door.life, shut = older.len(), "life began");
        Ok(door)
    }

    /// Opens a door beside the running life's, for messages that ingest has settled long ago (replayed dead letters).
    ///
    /// Its number grows too, but lies below every life's: the running daemon is not superseded by it, every life that
    /// begins shuts it like any older door, and so does the next door of this kind.
    pub(super) async fn open_beside(tier: &Tier, dataset: &Dataset) -> Result<Self> {
        let mut door = Self {
            tier: tier.clone(),
            prefix: format!("{}_in_", dataset.table),
            life: 0,
        };
        loop {
            let known = list(tier, &door.prefix).await?.newest_beside();
            door.life = next_life(now_beside()?, known, None);
            match door.create(dataset).await {
                Ok(()) => break,
                // Another one took the number: the next one decides.
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                Err(e) => return Err(e),
            }
        }
        let doors = list(tier, &door.prefix).await?;
        if let Some(newer) = doors.newest_beside().filter(|&newer| newer > door.life) {
            door.close().await?;
            return Err(Error::busy(format!(
                "another replay of {} began at the same time (door {newer})",
                dataset.name
            ))
            .hint("one at a time replays a dataset: let it end, then try again"));
        }
        for life in doors.older_than(door.life) {
            door.shut(life).await?;
        }
        door.wait_for_older_inserts().await?;
        tracing::debug!(dataset = %dataset.name, door = door.life, "door opened beside the running life's");
        Ok(door)
    }

    /// The life's number.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// The table to insert into.
    pub(super) fn table(&self) -> String {
        self.table_of(self.life)
    }

    fn table_of(&self, life: u64) -> String {
        format!("{}{life}", self.prefix)
    }

    fn view_of(&self, life: u64) -> String {
        format!("{}{life}_mv", self.prefix)
    }

    /// Without `IF NOT EXISTS`: a name that is taken is not ours.
    async fn create(&self, dataset: &Dataset) -> Result<()> {
        let (table, view) = (self.table(), self.view_of(self.life));
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
    async fn shut(&self, life: u64) -> Result<()> {
        for name in [self.table_of(life), self.view_of(life)] {
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
        self.shut(self.life).await
    }

    /// The newest life of which a door is there.
    pub(super) async fn newest(&self) -> Result<Option<u64>> {
        Ok(list(&self.tier, &self.prefix).await?.newest())
    }

    /// Waits until no insert runs through the door of an older life; kills those that take long, since their owner may be
    /// asleep with half a body sent.
    async fn wait_for_older_inserts(&self) -> Result<()> {
        let began = Instant::now();
        let mut killed = false;
        loop {
            let running = self.older_inserts().await?;
            if running == 0 {
                return Ok(());
            }
            if !killed && began.elapsed() >= PATIENCE {
                killed = true;
                tracing::warn!(prefix = %self.prefix, running, "killing inserts through doors that were shut");
                self.kill_older_inserts().await?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Which processes are inserts through the door of an older life. `query_kind` keeps the asking query itself out.
    fn is_older_insert(&self) -> String {
        // As `Tier::insert` writes it, up to the number.
        let full = self.tier.table(&self.prefix);
        let stem = literal(full.trim_end_matches('`'));
        format!(
            "query_kind = 'Insert' AND position(query, {stem}) > 0 AND toUInt64OrZero(splitByChar('`', \
             substring(query, position(query, {stem}) + length({stem})))[1]) < {}",
            self.life
        )
    }

    async fn older_inserts(&self) -> Result<u64> {
        let processes = match self.tier.cluster() {
            Some(name) => format!("clusterAllReplicas({}, system.processes)", literal(name)),
            None => "system.processes".into(),
        };
        let sql = format!(
            "SELECT count() FROM {processes} WHERE {}",
            self.is_older_insert()
        );
        self.tier.query(&sql).fetch_one::<u64>().await.map_err(|e| {
            self.tier
                .error(e)
                .doing("asking for inserts through doors that were shut")
        })
    }

    /// Never with `SYNC`, which waits for ever on the embedded engine.
    async fn kill_older_inserts(&self) -> Result<()> {
        let sql = format!(
            "KILL QUERY {} WHERE {}",
            self.on_cluster(),
            self.is_older_insert()
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
}

async fn list(tier: &Tier, prefix: &str) -> Result<Doors> {
    let names = tier.tables_with_prefix(prefix).await?;
    Ok(Doors::among(prefix, &names))
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
    fn doors_are_told_from_other_tables() {
        let names = [
            "trades_in_5",
            "trades_in_5_mv",
            "trades_in_7_mv",
            "trades_in_x",
            "trades_in_",
            "trades_in_9_mv_mv",
            "trades_in_99999999999999999999999",
            "trades",
        ]
        .map(str::to_owned);
        let doors = Doors::among("trades_in_", &names);
        assert_eq!(
            doors,
            Doors {
                tables: vec![5],
                views: vec![5, 7]
            }
        );
        assert_eq!(doors.newest(), Some(7));
        assert_eq!(doors.older_than(7), [5]);
        assert_eq!(doors.older_than(8), [5, 7]);
    }

    #[test]
    fn a_door_beside_is_older_than_every_life_and_newer_than_its_like() {
        let number = now_beside().unwrap();
        let names = [
            format!("t_in_{number}"),
            format!("t_in_{}", number + 3),
            "t_in_1760000000000".into(),
        ];
        let doors = Doors::among("t_in_", &names);
        assert_eq!(doors.newest_beside(), Some(number + 3));
        assert_eq!(doors.newest(), Some(1_760_000_000_000));
        assert_eq!(doors.older_than(1_760_000_000_000), [number, number + 3]);
        assert_eq!(doors.older_than(number + 3), [number]);
    }

    #[test]
    fn a_life_is_greater_than_all_that_are_known_whatever_the_clock_says() {
        assert_eq!(next_life(1000, None, None), 1000);
        assert_eq!(next_life(1000, Some(2000), None), 2001);
        assert_eq!(next_life(1000, Some(900), Some(1000)), 1001);
        assert_eq!(next_life(1000, Some(900), None), 1000);
    }
}
