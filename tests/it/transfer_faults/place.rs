//! Where transfers are broken: a hot and a cold database with some rows, and an archive in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpsync::archive::{Archive, Depth, Observer};
use mpsync::clickhouse::Tier;
use mpsync::config::Config;
use mpsync::dataset::{Dataset, TierRole, Window};
use mpsync::progress::Progress;
use mpsync::transfer::{
    self, Against, CleanupPolicy, Goal, Origin, Range, Request, TransferContext,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;
use crate::support::breaker::{Breaker, Fault as Broken, Protocol};
use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::dataset;
use crate::support::faults::{Fault as Failed, FaultyStore};

/// How long a lease may stay unchanged: an attempt that ended without giving it back is waited for that long.
const LEASE: Duration = Duration::from_millis(800);

/// What is done to one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Hot → archive → cold → cleanup.
    Fresh,
    /// The same, where it was archived, loaded and cleaned before: hot has late rows, and rows that ingest brought again.
    Late,
    /// Archive → an empty cold, two generations of it.
    Import,
}

impl Scenario {
    /// Sequences that are archived, in cold and cleaned at the beginning.
    fn archived(self) -> Vec<u64> {
        match self {
            Self::Fresh => Vec::new(),
            Self::Late | Self::Import => (1..=30).collect(),
        }
    }

    /// Sequences that hot holds at the beginning.
    fn hot(self) -> Vec<u64> {
        match self {
            Self::Fresh => (1..=40).collect(),
            Self::Late => (26..=40).collect(),
            Self::Import => Vec::new(),
        }
    }
}

/// All sequences, wherever they are.
const ALL: std::ops::RangeInclusive<u64> = 1..=40;

/// What fails, and at which call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Faults {
    None,
    Server(Broken, u64),
    Store(Failed, u64),
}

/// A hot, a cold and an archive, and what they are at the beginning of a run.
pub(super) struct Place {
    pub(super) scenario: Scenario,
    breaker: Breaker,
    /// Past the breaker.
    hot: Tier,
    cold: Tier,
    /// Through it.
    broken: Config,
    dataset: &'static Dataset,
    /// The archive before a run.
    before: InMemory,
    /// The archive during one: each prepared run begins with its own.
    store: std::sync::Mutex<Arc<InMemory>>,
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

/// A statement that inserts the rows of these sequences; the same sequence is always the same row.
fn insert(table: &str, seqs: impl IntoIterator<Item = u64>) -> String {
    let seqs: Vec<String> = seqs.into_iter().map(|seq| seq.to_string()).collect();
    format!(
        "INSERT INTO {table} SELECT toDateTime64('2026-01-01 05:00:00', 3, 'UTC') + seq % 60, \
         'okx', 'spot', concat('S', toString(seq % 5)), 'ws', toString(seq), toDecimal128(seq, 18) / 1000, 1.5, 'buy', NULL, \
         NULL, NULL, fromUnixTimestamp64Nano(toInt64(1700000000000000000 + seq), 'UTC'), 77, seq \
         FROM (SELECT toUInt64(arrayJoin([{}])) AS seq)",
        seqs.join(", ")
    )
}

async fn run_sql(tier: &Tier, sql: &str) {
    tier.execute(sql)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}

impl Place {
    /// Databases of this name, and what the scenario begins with.
    pub(super) async fn new(engine: &ClickHouse, scenario: Scenario, name: &str) -> Self {
        let breaker = Breaker::start(Protocol::Http, engine.port()).await;
        let name: String = format!("{scenario:?}_{name}")
            .to_lowercase()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let direct = config(engine.port(), &name);
        let place = Self {
            scenario,
            hot: Tier::new(TierRole::Hot, &direct.hot),
            cold: Tier::new(TierRole::Cold, &direct.cold),
            broken: config(breaker.port, &name),
            breaker,
            dataset: dataset("trades"),
            before: InMemory::new(),
            store: std::sync::Mutex::default(),
        };
        for tier in [&place.hot, &place.cold] {
            tier.apply_schema(&[place.dataset]).await.expect("tables");
        }
        place.made_ready().await
    }

    /// Makes what the scenario begins with: the archive, and cold's rows in a table of their own.
    async fn made_ready(mut self) -> Self {
        let archived = self.scenario.archived();
        if !archived.is_empty() {
            self.archive(archived).await;
        }
        if self.scenario == Scenario::Import {
            self.archive(ALL.skip(30)).await;
        }
        self.before = self.store().fork();
        let (kept, cold) = (self.cold.table("kept"), self.cold.table("trades"));
        for sql in [
            format!("CREATE TABLE {kept} AS {cold}"),
            format!("INSERT INTO {kept} SELECT * FROM {cold}"),
        ] {
            run_sql(&self.cold, &sql).await;
        }
        self
    }

    /// Brings rows all the way.
    async fn archive(&self, seqs: impl IntoIterator<Item = u64>) {
        run_sql(&self.hot, &insert(&self.hot.table("trades"), seqs)).await;
        let attempt = self.attempt(Faults::None);
        let request = self.request_to(Goal::Sync);
        let mut report = transfer::run(&attempt.context, &request).await;
        if let Some(e) = report.take_failure() {
            panic!("preparing: {e}");
        }
    }

    fn store(&self) -> Arc<InMemory> {
        Arc::clone(&self.store.lock().expect("nobody panics with it"))
    }

    /// Puts everything back to where the scenario begins.
    pub(super) async fn prepare(&self) {
        for tier in [&self.hot, &self.cold] {
            for left in self.tables(tier, "_(stage|sealed|check)_").await {
                tier.drop_table(&left).await.expect("dropped");
            }
            let table = tier.table("trades");
            run_sql(tier, &format!("TRUNCATE TABLE {table}")).await;
        }
        *self.store.lock().expect("nobody panics with it") = Arc::new(self.before.fork());
        if self.scenario == Scenario::Late {
            let (kept, cold) = (self.cold.table("kept"), self.cold.table("trades"));
            let sql = format!("INSERT INTO {cold} SELECT * FROM {kept}");
            run_sql(&self.cold, &sql).await;
        }
        if self.scenario != Scenario::Import {
            let sql = insert(&self.hot.table("trades"), self.scenario.hot());
            run_sql(&self.hot, &sql).await;
        }
    }

    async fn tables(&self, tier: &Tier, pattern: &str) -> Vec<String> {
        tier.query("SELECT name FROM system.tables WHERE database = {database:String} AND match(name, {pattern:String})")
            .param("database", tier.database())
            .param("pattern", pattern)
            .fetch_all()
            .await
            .expect("names")
    }

    /// A process's view of the place, in which something fails.
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
            observer: Observer::new(LEASE),
        };
        Attempt { context, failed }
    }

    /// Nothing breaks any more.
    pub(super) fn disarm(&self) {
        self.breaker.arm(Broken::Before, u64::MAX);
    }

    /// What is asked for.
    pub(super) fn request(&self) -> Request {
        let goal = match self.scenario {
            Scenario::Fresh | Scenario::Late => Goal::Sync,
            Scenario::Import => Goal::Import,
        };
        self.request_to(goal)
    }

    fn request_to(&self, goal: Goal) -> Request {
        let mut request = Request::new(goal, &self.broken.sync);
        request.origin = Origin::Explicit;
        if goal == Goal::Sync {
            request.cleanup = CleanupPolicy::Now;
        }
        request
    }

    /// Starts the same work again, and checks the end of it.
    ///
    /// What an attempt left sealed that gave no lease back is passed over until that has expired, as what a living worker is
    /// cleaning: then it takes another run.
    pub(super) async fn finish(&self, what: &str) {
        let attempt = self.attempt(Faults::None);
        let begun = Instant::now();
        loop {
            let mut report = transfer::run(&attempt.context, &self.request()).await;
            if let Some(e) = report.take_failure() {
                panic!("{what}: started again, it fails: {e}");
            }
            if self.tables(&self.hot, "_sealed_").await.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: it stays sealed");
            tokio::time::sleep(LEASE / 8).await;
        }
        self.check_end(&attempt, what).await;
    }

    /// Every row is where it was, or proven in cold and in the archive.
    pub(super) async fn check_that_nothing_is_lost(&self, what: &str) {
        if self.scenario == Scenario::Import {
            return;
        }
        let sql = format!(
            "SELECT DISTINCT stream_seq FROM merge('{}', '^trades($|_sealed_)')",
            self.hot.database()
        );
        let hot: Vec<u64> = self.hot.query(&sql).fetch_all().await.expect("rows");
        let hot: BTreeSet<u64> = hot.into_iter().collect();
        let (cold, archived) = (self.in_cold().await, self.archived().await);
        for seq in ALL {
            let is_safe = archived.contains(&seq) && cold.contains(&seq);
            assert!(
                hot.contains(&seq) || is_safe,
                "{what}: {seq} is lost, or was cleaned unproven"
            );
        }
    }

    async fn in_cold(&self) -> Vec<u64> {
        let sql = format!(
            "SELECT stream_seq FROM {} ORDER BY stream_seq",
            self.cold.table("trades")
        );
        self.cold.query(&sql).fetch_all().await.expect("rows")
    }

    /// The sequences that the archive's manifests name.
    async fn archived(&self) -> Vec<u64> {
        let archive = Archive::with_store(self.store(), &self.broken.archive);
        let mut seqs = Vec::new();
        let window: Window = "2026-01-01T05".parse().expect("a window");
        let generations = archive.generations(&self.dataset.name, window).await;
        for manifest in generations.expect("generations") {
            seqs.extend(manifest.positions.iter().map(|position| position.seq));
        }
        seqs.sort_unstable();
        seqs
    }

    /// Every row is in cold once and in the archive once, and nothing else is anywhere.
    async fn check_end(&self, attempt: &Attempt, what: &str) {
        let expected: Vec<u64> = ALL.collect();
        assert_eq!(self.in_cold().await, expected, "{what}: cold");
        assert_eq!(self.archived().await, expected, "{what}: archive");
        let sql = format!("SELECT count() FROM {}", self.hot.table("trades"));
        let left: u64 = self.hot.query(&sql).fetch_one().await.expect("a count");
        assert_eq!(left, 0, "{what}: hot");
        for tier in [&self.hot, &self.cold] {
            let sql = "SELECT name FROM system.tables WHERE database = {database:String} AND engine != 'Null' \
                       AND match(name, '_(stage|sealed|check)_')";
            let left: Vec<String> = tier
                .query(sql)
                .param("database", tier.database())
                .fetch_all()
                .await
                .expect("names");
            assert_eq!(left, [""; 0], "{what}: left behind");
        }
        let against = Against {
            tier: self.cold.clone(),
            may_be_empty: false,
        };
        let context = &attempt.context;
        let (archive, datasets) = (&context.archive, &context.datasets);
        let checked = transfer::verify(
            archive,
            datasets,
            Range::default(),
            Depth::Deep,
            Some(&against),
            1,
        );
        let report = checked.await.unwrap_or_else(|e| panic!("{what}: {e}"));
        if let Some(e) = report.failure() {
            panic!("{what}: {e}: {report:?}");
        }
    }
}
