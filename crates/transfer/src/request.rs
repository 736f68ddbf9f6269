//! The request of a run: how far, over which time, with which cleanup and retention.

use jiff::{SignedDuration, Timestamp};

use crate::plan::transfer_plan::{CleanupPolicy, Due};
use crate::retention::plan::{Retention, is_past};
use crate::time_range::TimeRange;
use crate::window::task::Stage;
use mpsync_archive::RowFilter;
use mpsync_clickhouse::TierConfig;
use mpsync_config::SyncConfig;
use mpsync_core::dataset::Window;

/// How far windows are driven, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Hot's rows are in the archive.
    Export,
    /// The archive's rows are in cold; hot is not asked.
    Import,
    /// Hot's rows are in the archive and in cold, proven to be the same; cleanup may follow.
    Sync,
}

impl Goal {
    /// The stage that a window must reach.
    #[must_use]
    pub fn stage(self) -> Stage {
        match self {
            Self::Export => Stage::Archived,
            Self::Import | Self::Sync => Stage::Verified,
        }
    }
}

/// Who asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunTrigger {
    /// The schedule, or an operator that named no time: windows that halted are skipped until an operator retries them, and a sync
    /// first carries out submitted requests.
    Routine,
    /// A person who named what is to be transferred: a window that halted is tried again.
    Explicit,
}

/// The request of a run.
#[derive(Debug, Clone)]
pub struct TransferRequest {
    /// How far windows are driven.
    pub goal: Goal,
    /// Who asked for it.
    pub origin: RunTrigger,
    /// Over which event time.
    pub range: TimeRange,
    /// Only some exchanges or symbols: recorded in the manifest, and never cleaned.
    pub filter: Option<RowFilter>,
    /// Whether proven partitions are cleaned out of hot.
    pub cleanup: CleanupPolicy,
    /// The retention of cold and of the archive, applied after the transfer.
    pub retention: Retention,
    /// For how long cold keeps rows: an import leaves out older windows, unless the range has a beginning. `None` for ever.
    pub import_within: Option<SignedDuration>,
    /// How long after its end a window is exported at the earliest, where the range has no end.
    pub grace: SignedDuration,
    /// How many hours of data that are not archived yet one run takes at most, for each dataset; `None` for all.
    pub batch_hours: Option<u32>,
    /// How many windows at once.
    pub jobs: usize,
    /// Now.
    pub now: Timestamp,
}

impl TransferRequest {
    /// A request for everything that is due, as the configuration says; nothing is cleaned.
    #[must_use]
    pub fn new(goal: Goal, sync: &SyncConfig) -> Self {
        Self {
            goal,
            origin: RunTrigger::Routine,
            range: TimeRange::default(),
            filter: None,
            cleanup: CleanupPolicy::Off,
            retention: Retention::default(),
            import_within: None,
            grace: SignedDuration::try_from(sync.grace).unwrap_or(SignedDuration::MAX),
            batch_hours: None,
            jobs: sync.max_concurrent_transfers,
            now: Timestamp::now(),
        }
    }

    /// Returns the retention that this run applies: none if it does not transfer all rows from hot to cold.
    pub(crate) fn retention(&self) -> Retention {
        match self.filter.is_none() && self.goal == Goal::Sync {
            true => self.retention,
            false => Retention::default(),
        }
    }

    /// Returns whether an import loads a window.
    pub(crate) fn imports(&self, window: Window) -> bool {
        let is_past = |stays| is_past(window.end(), stays, self.now);
        self.range.from.is_some() || !self.import_within.is_some_and(is_past)
    }

    pub(crate) fn due(&self) -> Due {
        let whole = self.filter.is_none() && self.goal == Goal::Sync;
        Due {
            now: self.now,
            grace: self.grace,
            cleanup: if whole {
                self.cleanup
            } else {
                CleanupPolicy::Off
            },
        }
    }
}

/// For how long proven rows stay in hot all the same: retention days and delay are floors, the longer one holds.
#[must_use]
pub fn stays_in_hot(hot: &TierConfig, sync: &SyncConfig) -> SignedDuration {
    let days = SignedDuration::from_hours(i64::from(hot.retention_days) * 24);
    let delay = SignedDuration::try_from(sync.cleanup_delay).unwrap_or(SignedDuration::MAX);
    days.max(delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_config::Config;

    #[test]
    fn an_import_leaves_out_what_cold_would_drop_unless_a_time_is_named() {
        let config = Config::load(None, std::iter::empty()).unwrap();
        let mut request = TransferRequest::new(Goal::Import, &config.sync);
        request.now = "2026-03-01T00:00:00Z".parse().unwrap();
        let (old, new): (Window, Window) =
            ("2026-01-01".parse().unwrap(), "2026-02-28".parse().unwrap());
        assert!(request.imports(old) && request.imports(new));
        request.import_within = Some(SignedDuration::from_hours(30 * 24));
        assert!(!request.imports(old) && request.imports(new));
        request.range.from = Some(old.start());
        assert!(request.imports(old));
    }
}
