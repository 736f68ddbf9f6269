//! The results of runs, as they are stored and displayed. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The result of a scheduled or requested sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncRun {
    /// The time of its start.
    pub started_at: Timestamp,
    /// The time of its end.
    pub finished_at: Timestamp,
    /// Whether it completed all its work.
    pub ok: bool,
    /// The windows that it examined.
    pub windows: u64,
    /// The rows of their generations.
    pub rows: u64,
    /// The bytes of their chunks.
    pub bytes: u64,
    /// The most severe error.
    pub error: Option<String>,
    /// The recommended action.
    pub hint: Option<String>,
}

/// The result of a garbage collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SweepRun {
    /// The time of its start.
    pub started_at: Timestamp,
    /// The time of its end.
    pub finished_at: Timestamp,
    /// Whether everything could be examined, and all old leftovers were deleted.
    pub ok: bool,
    /// The number of deleted objects.
    pub swept: u64,
    /// Their bytes, if they have a size.
    pub bytes: u64,
    /// The number of objects by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The failures.
    pub error: Option<String>,
}
