//! HTTP: what the daemon says of itself, and what may be asked of it.
//!
//! ```text
//! server (connections, TLS, limits) → router (host, token, time) → routes → State ← the daemon's sides and its gatherer
//! ```
//!
//! A `GET` never asks a tier or the archive for figures: the daemon gathers them in the background and puts them into [`State`].
//! What is asked of the archive and of NATS (windows, transfer tasks, dead letters) is bounded: a few questions at a time, each answered
//! or refused within six seconds, whatever the place does.
//! What changes something needs the bearer token, and so does all but health and the page's own files where reads are protected.
//! The contract is `/openapi.json`, made from the types that the routes answer with.
//!
//! # What `/health` means
//!
//! `ok` and `degraded` are 200, `down` is 503. It is `down` when data cannot flow: a dependency that this mode needs (NATS and hot
//! for ingest; hot, cold and the archive for transfers) has not answered for longer than [`GRACE`], ingest of a dataset is stalled,
//! or a disk has less than the floor free. It is `degraded` while a failure is younger than that, and where a person must look
//! though data flows: a halted task, a failed sync, a gap that the stream's limits tore.

mod access;
mod client;
mod coalescing_cache;
mod data_sources;
mod dead_letters;
mod documents;
mod health;
mod history;
mod metric_families;
mod metrics;
mod openapi;
mod page;
mod problem;
mod process;
mod results;
mod router;
mod server;
mod state;
mod status;
mod transfer_documents;
mod transfers;

pub use access::Access;
pub use client::{DaemonHealth, ReportedCheck, Trust, health};
pub use data_sources::DataSources;
pub use documents::{
    ArchiveDataset, ArchiveFigures, Mode, SweepRun, SyncRun, TierDataset, TierFigures,
};
pub use health::GRACE;
pub use metrics::Metrics;
pub use results::RunScope;
pub use server::{HttpLimits, Listening, serve};
pub use state::{DaemonState, Manual, SyncControl};
