//! Counters that the readers of all datasets share.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use crate::report::Damage;

/// The bytes read and the damage found by all datasets of a replay.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    pub bytes: AtomicU64,
    pub damage: Mutex<Vec<Damage>>,
}
