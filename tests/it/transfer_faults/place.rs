//! Where transfers are broken: one window on its way.

use std::collections::BTreeSet;
use std::time::Instant;

use mpsync_archive::Depth;
use mpsync_transfer::{Against, Goal, TimeRange, TransferRequest};

use super::Scene;
use super::ground::{Attempt, Faults, Ground, LEASE};
use crate::support::PATIENCE;
use crate::support::clickhouse::ClickHouse;

/// The work on one window.
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
const HOUR: &str = "2026-01-01 05";

/// A scenario with the state that a run begins with.
pub(super) struct Place {
    scenario: Scenario,
    ground: Ground,
}

impl Place {
    /// Databases of this name, and what the scenario begins with: the archive, and cold's rows in a table of their own.
    pub(super) async fn new(engine: &ClickHouse, scenario: Scenario, name: &str) -> Self {
        let mut ground = Ground::new(engine, &format!("{scenario:?}_{name}")).await;
        let archived = scenario.archived();
        if !archived.is_empty() {
            ground.insert(&ground.hot, HOUR, archived).await;
            ground.archive().await;
        }
        if scenario == Scenario::Import {
            ground.insert(&ground.hot, HOUR, ALL.skip(30)).await;
            ground.archive().await;
        }
        ground.keep().await;
        Self { scenario, ground }
    }

    /// Every row is in cold once and in the archive once, and nothing else is anywhere.
    async fn check_end(&self, attempt: &Attempt, what: &str) {
        let ground = &self.ground;
        let expected: Vec<u64> = ALL.collect();
        let cold = ground.seqs(&ground.cold, "^trades$").await;
        assert_eq!(cold, expected, "{what}: cold");
        assert_eq!(ground.archived().await, expected, "{what}: archive");
        let hot = ground.seqs(&ground.hot, "^trades$").await;
        assert_eq!(hot, [0; 0], "{what}: hot");
        ground.check_that_no_table_is_left(what).await;
        let against = Against {
            tier: ground.cold.clone(),
            may_lack_before: None,
        };
        let context = &attempt.context;
        let (archive, datasets) = (&context.archive, &context.datasets);
        let progress = mpsync_core::progress::Progress::default();
        let checked = mpsync_transfer::verify(
            archive,
            datasets,
            TimeRange::default(),
            Depth::Deep,
            Some(&against),
            1,
            &progress,
        );
        let report = checked.await.unwrap_or_else(|e| panic!("{what}: {e}"));
        if let Some(e) = report.failure() {
            panic!("{what}: {e}: {report:?}");
        }
    }
}

impl Scene for Place {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    async fn prepare(&self) {
        self.ground.clear().await;
        if self.scenario == Scenario::Late {
            self.ground.restore_cold().await;
        }
        if self.scenario != Scenario::Import {
            let hot = self.scenario.hot();
            self.ground.insert(&self.ground.hot, HOUR, hot).await;
        }
    }

    fn request(&self) -> TransferRequest {
        self.ground.request_to(match self.scenario {
            Scenario::Fresh | Scenario::Late => Goal::Sync,
            Scenario::Import => Goal::Import,
        })
    }

    /// Every row is where it was, or proven in cold and in the archive.
    async fn check_that_nothing_is_lost(&self, what: &str) {
        if self.scenario == Scenario::Import {
            return;
        }
        let ground = &self.ground;
        let hot = ground.seqs(&ground.hot, "^trades($|_sealed_)").await;
        let hot: BTreeSet<u64> = hot.into_iter().collect();
        let cold = ground.seqs(&ground.cold, "^trades$").await;
        let archived = ground.archived().await;
        for seq in ALL {
            let is_safe = archived.contains(&seq) && cold.contains(&seq);
            assert!(
                hot.contains(&seq) || is_safe,
                "{what}: {seq} is lost, or was cleaned unproven"
            );
        }
    }

    /// Runs once more after the lease has expired: a table that an attempt set aside without returning its lease is skipped until
    /// then, like that of a live worker.
    async fn finish(&self, what: &str) {
        let ground = &self.ground;
        let attempt = ground.attempt(Faults::None);
        let begun = Instant::now();
        loop {
            let mut report = mpsync_transfer::run(&attempt.context, &self.request()).await;
            if let Some(e) = report.take_failure() {
                panic!("{what}: started again, it fails: {e}");
            }
            if ground.tables(&ground.hot, "_sealed_").await.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: it stays sealed");
            tokio::time::sleep(LEASE / 8).await;
        }
        self.check_end(&attempt, what).await;
    }
}
