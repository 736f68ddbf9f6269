//! Insert gates: how a session fences the sessions before it.
//!
//! A session has a *fencing token*, a number that only grows. Its *insert gate* is an empty Null-engine table
//! `<table>_in_<token>` with a materialized view into the dataset's table. A session inserts only through its own gate, so
//! that a process that drops the gate knows that nothing comes through it any more, however long its owner slept.
//!
//! Of two sessions that begin at once, each creates its gate first and lists all gates afterwards, so that at least one of
//! them sees the other's. The one with the greater token continues; the other ends.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::writer::gate_name::{InsertGateName, SESSION_TOKENS_FROM, Shard};
use mpsync_clickhouse::{InsertGates, TABLE_ALREADY_EXISTS, Tier, UNKNOWN_TABLE};
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Error, Result};

/// The insert gate of one session.
#[derive(Debug, Clone)]
pub(crate) struct InsertGate {
    tier: Tier,
    /// The table into which its view inserts.
    target: String,
    name: InsertGateName,
    /// The shards of the dataset that have a consumer.
    live: BTreeSet<Shard>,
    /// The uptime of the server when the gate was open.
    opened: Option<ServerUptime>,
}

/// The uptime of a server, with the time at which it was read.
#[derive(Debug, Clone, Copy)]
struct ServerUptime {
    seconds: u64,
    at: Instant,
}

impl ServerUptime {
    /// Returns whether the server was restarted before it reported this uptime. Both uptimes are cut to whole seconds.
    fn was_restarted(self, seconds: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs();
        seconds + 2 < self.seconds + elapsed
    }
}

/// Returns the token of a replay that begins now: steps of 16 milliseconds, so that it lies below
/// [`SESSION_TOKENS_FROM`] for centuries.
fn replay_token_now() -> Result<u64> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| u64::try_from(d.as_millis()).ok())
        .map(|millis| millis / 16)
        .filter(|number| *number < SESSION_TOKENS_FROM)
        .ok_or_else(|| Error::config("this machine's clock is not between 1970 and 2400"))
}

/// Returns the token of a session that begins now: greater than every known token.
fn next_fencing_token(now_millis: u64, newest: Option<u64>, previous: Option<u64>) -> u64 {
    let known = newest.max(previous).unwrap_or(0);
    now_millis.max(known + 1)
}

impl InsertGate {
    /// Begins a session: creates its gate, drops the gates that it fences (see [`InsertGateName::fences`]) and waits until
    /// no insert comes through them any more.
    ///
    /// `last_token` is the token of the last session that this process began, or tried to; `None`: the caller takes over. It
    /// is set before the gate is created, so that a gate which appears late is known as our own.
    ///
    /// `live`: the shards of the dataset that have a consumer, this one included.
    ///
    /// # Errors
    ///
    /// [`Cause::Busy`](mpsync_core::error::Cause::Busy) if another process began a newer session than `last_token`.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe, but harmless: the next session drops a gate that was left behind.
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
                // Another session began at the same millisecond: the next token decides.
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                // The gate was dropped before its view was created: the next listing shows by which session.
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
        gate.read_uptime().await?;
        tracing::info!(dataset = %dataset.name, shard = gate.name.shard, token = gate.fencing_token(), shut, "session began");
        Ok(gate)
    }

    /// Opens a gate beside that of the running session, for messages that ingest settled long ago (replayed dead letters).
    ///
    /// Its token also grows, but lies below the tokens of all sessions: it does not supersede the running daemon. Every
    /// session that begins, and the next replay, fences it like any older gate.
    pub(crate) async fn open_for_replay(tier: &Tier, dataset: &Dataset) -> Result<Self> {
        let mut gate = Self::unopened(tier, dataset, None, BTreeSet::new());
        loop {
            let known = gate.newest_for_replay().await?;
            gate.name.token = next_fencing_token(replay_token_now()?, known, None);
            match gate.create(dataset).await {
                Ok(()) => break,
                // Another replay has this token: the next token decides.
                Err(e) if e.server_code() == Some(TABLE_ALREADY_EXISTS) => {}
                Err(e) => return Err(e),
            }
        }
        let newest = gate.newest_for_replay().await?;
        if let Some(newer) = newest.filter(|&newer| newer > gate.fencing_token()) {
            gate.close().await?;
            return Err(Error::busy(format!(
                "another replay of {} began at the same time (gate {newer})",
                dataset.name
            ))
            .with_hint(
                "run one replay of a dataset at a time: wait for the other to end, then try again",
            ));
        }
        gate.fence_others().await?;
        gate.read_uptime().await?;
        tracing::debug!(dataset = %dataset.name, gate = gate.fencing_token(), "gate of a replay opened");
        Ok(gate)
    }

    fn unopened(tier: &Tier, dataset: &Dataset, shard: Shard, live: BTreeSet<Shard>) -> Self {
        Self {
            tier: tier.clone(),
            target: dataset.table.clone(),
            name: InsertGateName { shard, token: 0 },
            live,
            opened: None,
        }
    }

    /// Drops the gates that this one fences, and waits until no insert comes through them any more, nor through those that
    /// were dropped earlier.
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

    /// Returns all gates of the table, each once.
    async fn all(&self) -> Result<BTreeSet<InsertGateName>> {
        let names = self.gates().names().await?;
        let gates = names.iter();
        Ok(gates
            .filter_map(|name| InsertGateName::parse(&self.target, name))
            .collect())
    }

    /// Returns the fencing token.
    pub(crate) fn fencing_token(&self) -> u64 {
        self.name.token
    }

    /// Returns the name of the table to insert into.
    pub(crate) fn table(&self) -> String {
        self.name.table(&self.target)
    }

    async fn create(&self, dataset: &Dataset) -> Result<()> {
        let columns = dataset.columns.iter().map(|(name, _)| name.as_str());
        self.gates().create(&self.table(), columns).await
    }

    /// Returns why the rows that were inserted until now may not have reached the table; `None` if they did.
    ///
    /// The gate's table swallows rows if its view is missing. Its view has a name that is used once: if it exists now, and
    /// the server has run since the gate was opened, then it existed at every insert before. After a restart some servers
    /// (ClickHouse 24.11 to 25.2) accept inserts before they have loaded the views.
    pub(crate) async fn landing_fault(&self) -> Result<Option<&'static str>> {
        let (uptime, views) = self.view_state().await?;
        let restarted = self
            .opened
            .is_none_or(|opened| opened.was_restarted(uptime, Instant::now()));
        Ok(match (views, restarted) {
            (0, _) => Some("the view of the insert gate is missing"),
            (_, true) => Some("the server was restarted"),
            (_, false) => None,
        })
    }

    async fn read_uptime(&mut self) -> Result<()> {
        let at = Instant::now();
        let (seconds, _) = self.view_state().await?;
        self.opened = Some(ServerUptime { seconds, at });
        Ok(())
    }

    /// Returns the server's uptime in seconds, and the number of views of the gate.
    async fn view_state(&self) -> Result<(u64, u64)> {
        let sql = "SELECT toUInt64(max(uptime())), countIf(name = {view:String}) FROM system.tables \
             WHERE database = {database:String} AND name IN ({view:String}, {target:String})";
        self.tier
            .query(sql)
            .param("database", self.tier.database())
            .param("view", format!("{}_mv", self.table()))
            .param("target", &self.target)
            .fetch_one::<(u64, u64)>()
            .await
            .map_err(|e| {
                self.tier.error(e).context(format!(
                    "asking for the view of insert gate {}",
                    self.table()
                ))
            })
    }

    /// Drops the gate, at the end of a session that ended in order.
    pub(crate) async fn close(&self) -> Result<()> {
        self.gates().drop_gate(&self.table()).await
    }

    /// Returns the newest token of this shard that has a gate.
    pub(crate) async fn newest(&self) -> Result<Option<u64>> {
        let gates = self.all().await?;
        let own = gates.into_iter().filter(|d| d.shard == self.name.shard);
        Ok(own.map(|gate| gate.token).max())
    }

    /// Returns the newest token of a replay that has a gate.
    async fn newest_for_replay(&self) -> Result<Option<u64>> {
        let gates = self.all().await?;
        let beside = gates.into_iter().filter(InsertGateName::is_for_replay);
        Ok(beside.map(|gate| gate.token).max())
    }
}

/// Returns the error of a session that a newer one superseded.
pub(crate) fn superseded(dataset: &str, mine: u64, newest: u64) -> Error {
    Error::busy(format!(
        "another daemon ingests {dataset} now: session {newest} superseded session {mine}"
    ))
    .with_hint("one daemon at a time ingests a dataset, and the one that started last continues; nothing was lost or doubled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_of_a_replay_is_below_every_session() {
        let token = next_fencing_token(
            1_760_000_000_000,
            Some(replay_token_now().unwrap() + 3),
            None,
        );
        assert_eq!(token, 1_760_000_000_000);
    }

    #[test]
    fn uptime_below_the_elapsed_time_is_a_restart() {
        let at = Instant::now();
        let opened = ServerUptime { seconds: 100, at };
        let later = at + std::time::Duration::from_secs(30);
        for (seconds, restarted) in [
            (130, false),
            (128, false),
            (131, false),
            (127, true),
            (3, true),
        ] {
            assert_eq!(opened.was_restarted(seconds, later), restarted, "{seconds}");
        }
    }

    #[test]
    fn fencing_token_grows_whatever_the_clock_says() {
        assert_eq!(next_fencing_token(1000, None, None), 1000);
        assert_eq!(next_fencing_token(1000, Some(2000), None), 2001);
        assert_eq!(next_fencing_token(1000, Some(900), Some(1000)), 1001);
        assert_eq!(next_fencing_token(1000, Some(900), None), 1000);
    }
}
