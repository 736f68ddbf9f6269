//! The two tiers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Hot or cold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum TierRole {
    /// Kept for days, filled by ingest.
    Hot,
    /// Kept for a year, filled from the archive.
    Cold,
}

impl fmt::Display for TierRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
        })
    }
}
