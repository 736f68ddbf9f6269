//! Where retention is broken: windows of every age in cold and in the archive.

use std::ops::RangeInclusive;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use mpsync_archive::Depth;
use mpsync_transfer::{Against, CleanupPolicy, Goal, Retention, TimeRange, TransferRequest};

use super::Scene;
use super::ground::{Faults, Ground, LEASE};
use crate::support::PATIENCE;
use crate::support::clickhouse::ClickHouse;

/// The places that have a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Cold and the archive.
    Both,
    /// The archive alone: cold keeps everything.
    Archive,
}

/// A window: the hour and its sequences.
type Hour = (&'static str, RangeInclusive<u64>);

const NOW: &str = "2026-02-01T00:00:00Z";
const DAYS_IN_COLD: i64 = 365;
const DAYS_IN_ARCHIVE: i64 = 700;

/// Past both retentions, two windows of one partition of cold.
const OLD: [Hour; 2] = [("2024-01-01 05", 1..=45), ("2024-01-01 06", 51..=60)];
/// Sequences from this one on came to the first window of those late: a generation of their own.
const LATE: u64 = 41;
/// Past cold's retention alone.
const MIDDLE: Hour = ("2024-06-01 05", 101..=110);
/// Past none.
const RECENT: Hour = ("2026-01-10 05", 201..=210);
/// Past both: cold holds these, and in the same partition others that were never archived.
const BESIDE_UNKNOWN: Hour = ("2024-02-01 05", 301..=310);
const UNKNOWN: Hour = ("2024-02-01 06", 311..=315);
/// Past both: hot still holds these.
const IN_HOT: Hour = ("2024-02-10 05", 401..=410);

fn all(hours: &[Hour]) -> Vec<u64> {
    let mut seqs: Vec<u64> = hours.iter().flat_map(|(_, seqs)| seqs.clone()).collect();
    seqs.sort_unstable();
    seqs
}

/// A scenario with the state that a run begins with.
pub(super) struct Shelf {
    leaving: Leaving,
    ground: Ground,
}

impl Shelf {
    /// Databases of this name with all windows in cold and in the archive.
    pub(super) async fn new(engine: &ClickHouse, leaving: Leaving, name: &str) -> Self {
        let mut ground = Ground::new(engine, &format!("shelf_{leaving:?}_{name}")).await;
        let third = match leaving {
            Leaving::Both => [MIDDLE, BESIDE_UNKNOWN].to_vec(),
            Leaving::Archive => [IN_HOT].to_vec(),
        };
        for (hour, seqs) in OLD.into_iter().chain([RECENT]).chain(third) {
            let in_time = seqs.filter(|seq| *seq < LATE || *seq > 50);
            ground.insert(&ground.hot, hour, in_time).await;
        }
        ground.archive().await;
        ground.insert(&ground.hot, OLD[0].0, LATE..=45).await;
        ground.archive().await;
        if leaving == Leaving::Both {
            ground.insert(&ground.cold, UNKNOWN.0, UNKNOWN.1).await;
        }
        ground.keep().await;
        Self { leaving, ground }
    }

    /// Returns the contents of hot, cold and the archive after all expired windows are deleted.
    fn end(&self) -> [Vec<u64>; 3] {
        match self.leaving {
            Leaving::Both => [
                Vec::new(),
                all(&[RECENT, BESIDE_UNKNOWN, UNKNOWN]),
                all(&[MIDDLE, RECENT, BESIDE_UNKNOWN]),
            ],
            Leaving::Archive => {
                let [first, second] = OLD;
                [
                    all(&[IN_HOT]),
                    all(&[first, second, RECENT, IN_HOT]),
                    all(&[RECENT, IN_HOT]),
                ]
            }
        }
    }

    /// Cold may lack what is older.
    fn cold_since(&self) -> Option<Timestamp> {
        let since = now() - SignedDuration::from_hours(24 * DAYS_IN_COLD);
        (self.leaving == Leaving::Both).then_some(since)
    }

    /// Every manifest names files that are there, and cold holds what it is to hold.
    async fn check_archive(&self, depth: Depth, what: &str) {
        let ground = &self.ground;
        let against = Against {
            tier: ground.cold.clone(),
            may_lack_before: self.cold_since(),
        };
        let against = (depth == Depth::Deep).then_some(&against);
        let archive = ground.whole_archive();
        let datasets = [ground.dataset.clone()];
        let checked = mpsync_transfer::verify(
            &archive,
            &datasets,
            TimeRange::default(),
            depth,
            against,
            1,
            &mpsync_core::progress::Progress::default(),
        )
        .await;
        let report = checked.unwrap_or_else(|e| panic!("{what}: {e}"));
        if let Some(e) = report.failure() {
            panic!("{what}: {e}: {report:?}");
        }
    }
}

fn now() -> Timestamp {
    NOW.parse().expect("a moment")
}

impl Scene for Shelf {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    async fn prepare(&self) {
        let ground = &self.ground;
        ground.clear().await;
        ground.restore_cold().await;
        if self.leaving == Leaving::Archive {
            ground.insert(&ground.hot, IN_HOT.0, IN_HOT.1).await;
        }
    }

    fn request(&self) -> TransferRequest {
        let days = |n: i64| Some(SignedDuration::from_hours(24 * n));
        let mut request = self.ground.request_to(Goal::Sync);
        request.now = now();
        request.cleanup = CleanupPolicy::Off;
        request.retention = Retention {
            cold: match self.leaving {
                Leaving::Both => days(DAYS_IN_COLD),
                Leaving::Archive => None,
            },
            archive: days(DAYS_IN_ARCHIVE),
        };
        request
    }

    /// Checks that kept windows are present, that no row is there twice, and that the archive deletes no window of which cold has
    /// rows.
    async fn check_that_nothing_is_lost(&self, what: &str) {
        let ground = &self.ground;
        let [hot, cold, archive] = self.end();
        assert_eq!(
            ground.seqs(&ground.hot, "^trades").await,
            hot,
            "{what}: hot"
        );
        let held = ground.seqs(&ground.cold, "^trades($|_retired_)").await;
        let archived = ground.archived().await;
        for (place, there, stays) in [("cold", &held, &cold), ("the archive", &archived, &archive)]
        {
            let twice = there.windows(2).find(|pair| pair[0] == pair[1]);
            assert_eq!(twice, None, "{what}: {place}");
            let lost = stays.iter().find(|seq| !there.contains(seq));
            assert_eq!(lost, None, "{what}: {place}");
        }
        if self.leaving == Leaving::Both {
            for (hour, seqs) in OLD {
                let leaves = seqs.clone().any(|seq| !archived.contains(&seq));
                let left = seqs.clone().find(|seq| leaves && held.contains(seq));
                assert_eq!(left, None, "{what}: {hour} leaves the archive before cold");
            }
        }
        self.check_archive(Depth::Bytes, what).await;
    }

    /// Runs once more after the lease has expired: work of an attempt that did not return its lease is skipped until then, like
    /// that of a live worker.
    async fn finish(&self, what: &str) {
        let ground = &self.ground;
        let attempt = ground.attempt(Faults::None);
        let begun = Instant::now();
        loop {
            let mut report = mpsync_transfer::run(&attempt.context, &self.request()).await;
            if let Some(e) = report.take_failure() {
                panic!("{what}: started again, it fails: {e}");
            }
            let mut leaving = report.datasets.iter().flat_map(|d| &d.expiries);
            let is_busy = leaving.any(|l| {
                let kept = l.kept.as_deref().unwrap_or_default();
                kept.contains("another worker has it")
            });
            if !is_busy && ground.tables(&ground.cold, "_retired_").await.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: it never leaves");
            tokio::time::sleep(LEASE / 8).await;
        }
        let [hot, cold, archive] = self.end();
        assert_eq!(
            ground.seqs(&ground.hot, "^trades$").await,
            hot,
            "{what}: hot"
        );
        assert_eq!(
            ground.seqs(&ground.cold, "^trades$").await,
            cold,
            "{what}: cold"
        );
        assert_eq!(ground.archived().await, archive, "{what}: archive");
        ground.check_that_no_table_is_left(what).await;
        self.check_archive(Depth::Deep, what).await;
    }
}
