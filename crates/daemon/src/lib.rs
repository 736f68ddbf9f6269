//! The daemon: ingest, the schedule of transfers, or both, with an HTTP API and a page for the operator.
//!
//! ```text
//! run ─┬─ sides   ingest, transfers, garbage collection: the work ──┐
//!      ├─ probes  tiers, NATS, archive, windows: observations ──────┼→ state ← api, page
//!      ├─ doctor  conditions that could break a promise ────────────┤
//!      └─ api     connections, access, routes                       ┘
//! ```

mod api;
mod context;
mod doctor;
mod notify;
mod page;
mod probes;
mod run;
mod schedule;
mod sides;
mod state;

pub use api::access::Access;
pub use api::client::{DaemonHealth, ReportedCheck, Trust, health};
pub use api::data_sources::{ApiState, DataSources};
pub use api::server::{HttpLimits, Listening, serve};
pub use doctor::diagnosis::{Diagnosis, Finding, Severity};
pub use doctor::examine::examine;
pub use notify::ServiceManager;
pub use run::{DaemonOptions, run};
pub use state::daemon_state::DaemonState;
pub use state::figures::{ArchiveDataset, ArchiveFigures, TierDataset, TierFigures};
pub use state::health::GRACE;
pub use state::metrics::Metrics;
pub use state::mode::Mode;
pub use state::runs::{SweepRun, SyncRun};
pub use state::sync_control::{Manual, SyncControl};
pub use state::transfer_results::RunScope;
