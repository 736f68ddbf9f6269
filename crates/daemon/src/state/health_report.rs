//! The documents of `/health` and `/ready`. The names of the fields are the contract. Pure.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::mode::Mode;

/// The condition of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    /// All checks succeed.
    Ok,
    /// Data flows, but a check has failed recently or the operator should act.
    Degraded,
    /// Data cannot flow.
    Down,
}

/// `GET /health`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Health {
    pub(crate) status: Condition,
    pub(crate) mode: Mode,
    pub(crate) checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Check {
    /// `nats`, `hot`, `cold`, `archive`, `ingest`, `sync`, `gaps`, `disk:PLACE`
    pub(crate) name: String,
    pub(crate) ok: bool,
    /// The duration of the last response.
    pub(crate) latency_seconds: Option<f64>,
    pub(crate) last_success_at: Option<Timestamp>,
    /// The failure, or further information.
    pub(crate) detail: Option<String>,
    /// The recommended action.
    pub(crate) hint: Option<String>,
    pub(crate) free_bytes: Option<u64>,
}

/// `GET /ready`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Ready {
    pub(crate) ready: bool,
    /// The reason for which it is not ready.
    pub(crate) reason: Option<String>,
}
