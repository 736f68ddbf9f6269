//! The options of a tier's connection.

use std::time::Duration;

use mpsync_net::{Secret, Tls};

/// The compression of bodies between mpsync and a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierCompression {
    /// Not at all: best on one machine and on fast networks.
    #[default]
    None,
    /// Cheap, for networks of a gigabit and less.
    Lz4,
    /// For slow networks.
    Zstd,
}

/// The address of a tier's ClickHouse, and how long it keeps data.
#[derive(Debug, Clone)]
pub struct TierConfig {
    /// `http://host:port` or `https://host:port`, without user and password.
    pub url: String,
    /// For `https`: authorities to trust instead of the system's.
    pub tls: Option<Tls>,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The database of the tier's tables.
    pub database: String,
    /// The cluster for `ON CLUSTER` and Replicated tables, if there is one.
    pub cluster: Option<String>,
    /// How bodies are compressed.
    pub compression: TierCompression,
    /// How long to wait for an answer.
    pub request_timeout: Duration,
    /// For how many days rows stay at least.
    pub retention_days: u32,
    /// The most rows of an insert.
    pub batch_rows: usize,
    /// How old the oldest row of an unfinished batch may get.
    pub flush_interval: Duration,
}
