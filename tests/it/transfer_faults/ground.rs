//! The ground of every scene: a hot and a cold database behind a breaker, and an archive in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mpsync_archive::{Archive, LeaseWatcher};
use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, TierRole, Window};
use mpsync_core::progress::Progress;
use mpsync_transfer::{CleanupPolicy, Goal, RunTrigger, TransferContext, TransferRequest};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use crate::support::breaker::{Breaker, Fault as Broken, Protocol};
use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::dataset;
use mpsync_testkit::{FaultyStore, StoreFault as Failed};

/// How long a lease may stay unchanged: an attempt that ended without giving it back is waited for that long.
pub(super) const LEASE: Duration = Duration::from_millis(800);

/// The faults to inject, and at which calls.
#[derive(Debug, Clone, Copy)]
pub(super) enum Faults {
    None,
    Server(Broken, u64),
    Store(Failed, u64),
}

/// A hot, a cold and an archive.
pub(super) struct Ground {
    breaker: Breaker,
    /// Past the breaker.
    pub(super) hot: Tier,
    pub(super) cold: Tier,
    /// Through it.
    pub(super) broken: Config,
    pub(super) dataset: &'static Dataset,
    /// The archive before a run.
    before: InMemory,
    /// The archive during one: each prepared run begins with its own.
    store: Mutex<Arc<InMemory>>,
}

/// One try at the work.
pub(super) struct Attempt {
    pub(super) context: TransferContext,
    /// Cancelled when the call has failed that was to fail.
    pub(super) failed: CancellationToken,
}

fn config(port: u16, name: &str) -> Config {
    let tiers = ["HOT", "COLD"].into_iter().flat_map(|tier| {
        let variable = |key: &str| format!("MPSYNC__{tier}_STORAGE__CLICKHOUSE_{key}");
        let database = format!("{}_{name}", tier.to_lowercase());
        [
            (variable("HTTP_PORT"), port.to_string()),
            (variable("DATABASE"), database),
        ]
    });
    let more = [
        // Two chunks a window.
        ("MPSYNC__ARCHIVE__CHUNK_ROWS".to_owned(), "20".to_owned()),
        (
            "MPSYNC__SYNC__MAX_CONCURRENT_TRANSFERS".to_owned(),
            "1".to_owned(),
        ),
    ];
    Config::load(None, tiers.chain(more)).expect("a good configuration")
}

async fn run_sql(tier: &Tier, sql: &str) {
    tier.execute(sql)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}

impl Ground {
    /// Empty tables in databases of this name, as far as it is one.
    pub(super) async fn new(engine: &ClickHouse, name: &str) -> Self {
        let breaker = Breaker::start(Protocol::Http, engine.port()).await;
        let name: String = name
            .to_lowercase()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let direct = config(engine.port(), &name);
        let ground = Self {
            hot: Tier::new(TierRole::Hot, &direct.hot),
            cold: Tier::new(TierRole::Cold, &direct.cold),
            broken: config(breaker.port, &name),
            breaker,
            dataset: dataset("trades"),
            before: InMemory::new(),
            store: Mutex::default(),
        };
        for tier in [&ground.hot, &ground.cold] {
            tier.apply_schema(&[ground.dataset]).await.expect("tables");
        }
        ground
    }

    /// Inserts the rows of these sequences, within this hour; the same sequence is always the same row.
    pub(super) async fn insert(
        &self,
        tier: &Tier,
        hour: &str,
        seqs: impl IntoIterator<Item = u64>,
    ) {
        let seqs: Vec<String> = seqs.into_iter().map(|seq| seq.to_string()).collect();
        let sql = format!(
            "INSERT INTO {} SELECT toDateTime64('{hour}:00:00', 3, 'UTC') + seq % 60, \
             'okx', 'spot', concat('S', toString(seq % 5)), 'ws', toString(seq), toDecimal128(seq, 18) / 1000, 1.5, 'buy', NULL, \
             NULL, NULL, fromUnixTimestamp64Nano(toInt64(1700000000000000000 + seq), 'UTC'), 77, seq \
             FROM (SELECT toUInt64(arrayJoin([{}])) AS seq)",
            tier.table("trades"),
            seqs.join(", ")
        );
        run_sql(tier, &sql).await;
    }

    /// Brings what is in hot all the way.
    pub(super) async fn archive(&self) {
        let attempt = self.attempt(Faults::None);
        let request = self.request_to(Goal::Sync);
        let mut report = mpsync_transfer::run(&attempt.context, &request).await;
        if let Some(e) = report.take_failure() {
            panic!("preparing: {e}");
        }
    }

    /// From here on every run begins with the archive and the cold rows that there are now.
    pub(super) async fn keep(&mut self) {
        self.before = self.store().fork();
        let (kept, cold) = (self.cold.table("kept"), self.cold.table("trades"));
        for sql in [
            format!("CREATE TABLE {kept} AS {cold}"),
            format!("INSERT INTO {kept} SELECT * FROM {cold}"),
        ] {
            run_sql(&self.cold, &sql).await;
        }
    }

    /// Puts the archive back to where it was kept, and leaves both tables empty and alone.
    pub(super) async fn clear(&self) {
        for tier in [&self.hot, &self.cold] {
            for left in self.tables(tier, "_(stage|sealed|check|retired)_").await {
                tier.drop_table(&left).await.expect("dropped");
            }
            let table = tier.table("trades");
            run_sql(tier, &format!("TRUNCATE TABLE {table}")).await;
        }
        *self.store.lock().expect("no thread panics with it") = Arc::new(self.before.fork());
    }

    /// Puts the rows back into cold that were kept.
    pub(super) async fn restore_cold(&self) {
        let (kept, cold) = (self.cold.table("kept"), self.cold.table("trades"));
        run_sql(
            &self.cold,
            &format!("INSERT INTO {cold} SELECT * FROM {kept}"),
        )
        .await;
    }

    fn store(&self) -> Arc<InMemory> {
        Arc::clone(&self.store.lock().expect("no thread panics with it"))
    }

    /// The archive, past all faults.
    pub(super) fn whole_archive(&self) -> Archive {
        Archive::with_store(self.store(), &self.broken.archive)
    }

    pub(super) async fn tables(&self, tier: &Tier, pattern: &str) -> Vec<String> {
        tier.query("SELECT name FROM system.tables WHERE database = {database:String} AND match(name, {pattern:String})")
            .param("database", tier.database())
            .param("pattern", pattern)
            .fetch_all()
            .await
            .expect("names")
    }

    /// A process's view of it, in which something fails.
    pub(super) fn attempt(&self, faults: Faults) -> Attempt {
        let inner: Arc<dyn ObjectStore> = self.store();
        let (store, failed): (Arc<dyn ObjectStore>, _) = match faults {
            Faults::None => (inner, CancellationToken::new()),
            Faults::Server(fault, nth) => (inner, self.breaker.arm(fault, nth)),
            Faults::Store(fault, nth) => {
                let store = FaultyStore::new(inner, nth, fault);
                let failed = store.failed();
                (store, failed)
            }
        };
        let context = TransferContext {
            hot: Tier::new(TierRole::Hot, &self.broken.hot),
            cold: Tier::new(TierRole::Cold, &self.broken.cold),
            archive: Archive::with_store(store, &self.broken.archive),
            datasets: vec![self.dataset.clone()],
            progress: Progress::default(),
            shutdown: CancellationToken::new(),
            watcher: LeaseWatcher::new(LEASE),
        };
        Attempt { context, failed }
    }

    /// Nothing breaks any more.
    pub(super) fn disarm(&self) {
        self.breaker.arm(Broken::Before, u64::MAX);
    }

    /// Returns a request with an explicit goal.
    pub(super) fn request_to(&self, goal: Goal) -> TransferRequest {
        let mut request = TransferRequest::new(goal, &self.broken.sync);
        request.origin = RunTrigger::Explicit;
        if goal == Goal::Sync {
            request.cleanup = CleanupPolicy::Now;
        }
        request
    }

    /// The sequences in a tier's tables whose names match, as often as they are there, in order.
    pub(super) async fn seqs(&self, tier: &Tier, tables: &str) -> Vec<u64> {
        let sql = format!(
            "SELECT stream_seq FROM merge('{}', '{tables}') ORDER BY stream_seq",
            tier.database()
        );
        tier.query(&sql).fetch_all().await.expect("rows")
    }

    /// The sequences that the archive's manifests name, as often as they do, in order.
    pub(super) async fn archived(&self) -> Vec<u64> {
        let archive = self.whole_archive();
        let name = &self.dataset.name;
        let mut seqs = Vec::new();
        let windows = archive.windows(name, None::<Window>).await;
        for window in windows.expect("windows") {
            let generations = archive.generations(name, window).await;
            for manifest in generations.expect("generations") {
                seqs.extend(manifest.positions.iter().map(|position| position.seq));
            }
        }
        seqs.sort_unstable();
        seqs
    }

    /// No table of an attempt is left, but for those that keep an attempt out.
    pub(super) async fn check_that_no_table_is_left(&self, what: &str) {
        for tier in [&self.hot, &self.cold] {
            let sql = "SELECT name FROM system.tables WHERE database = {database:String} AND engine != 'Null' \
                       AND match(name, '_(stage|sealed|check|retired)_')";
            let left: Vec<String> = tier
                .query(sql)
                .param("database", tier.database())
                .fetch_all()
                .await
                .expect("names");
            assert_eq!(left, [""; 0], "{what}: left behind");
        }
    }
}
