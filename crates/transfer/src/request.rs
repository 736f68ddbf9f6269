//! The request of a run: how far, over which time, with which cleanup and retention.

use jiff::{SignedDuration, Timestamp};

use crate::plan::transfer_plan::{CleanupPolicy, Due};
use crate::retention::plan::Retention;
use crate::time_range::TimeRange;
use crate::window::task::Stage;
use mpsync_archive::RowFilter;
use mpsync_clickhouse::TierConfig;
use mpsync_config::SyncConfig;

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
    /// The schedule, or a person who named no time: windows that halted are left alone until somebody says otherwise, and
    /// a sync first does what was submitted.
    Routine,
    /// A person who named what is to be transferred: a window that halted is tried again.
    Explicit,
}

/// What a run is to do.
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
    /// What leaves cold and the archive after that, because of its age.
    pub retention: Retention,
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
            grace: SignedDuration::try_from(sync.grace).unwrap_or(SignedDuration::MAX),
            batch_hours: None,
            jobs: sync.max_concurrent_transfers,
            now: Timestamp::now(),
        }
    }

    /// What leaves in this run: nothing where not all rows are asked for on their whole way.
    pub(crate) fn retention(&self) -> Retention {
        match self.filter.is_none() && self.goal == Goal::Sync {
            true => self.retention,
            false => Retention::default(),
        }
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
