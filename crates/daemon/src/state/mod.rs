//! The state of the daemon: sides and probes write it, every route reads it.
//!
//! # The meaning of `/health`
//!
//! `ok` and `degraded` are 200, `down` is 503. The daemon is `down` if data cannot flow: a dependency of this mode (NATS and hot
//! for ingest; hot, cold and the archive for transfers) has not answered for longer than [`health::GRACE`], ingest of a dataset is
//! stalled, or a disk is nearly full. It is `degraded` while a failure is younger than that, and if data flows but the operator
//! should act: a halted task, a failed sync, messages that the stream's limits deleted before delivery.

pub(crate) mod daemon_state;
pub(crate) mod figures;
pub(crate) mod health;
pub(crate) mod health_report;
pub(crate) mod history;
pub(crate) mod lock;
pub(crate) mod metrics;
pub(crate) mod mode;
pub(crate) mod runs;
pub(crate) mod sync_control;
pub(crate) mod transfer_results;
