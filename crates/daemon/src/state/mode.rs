//! The sides of a daemon. Pure.

use serde::Serialize;
use utoipa::ToSchema;

/// The sides that a daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Ingest into hot.
    Hot,
    /// Scheduled transfers, cleanup and retention.
    Cold,
    /// Both in one process.
    Both,
}

impl Mode {
    /// Returns whether the daemon ingests.
    #[must_use]
    pub fn is_hot(self) -> bool {
        self != Self::Cold
    }

    /// Returns whether the daemon transfers.
    #[must_use]
    pub fn is_cold(self) -> bool {
        self != Self::Hot
    }
}
