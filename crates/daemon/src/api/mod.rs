//! The HTTP API: the state of the daemon, and requests to it.
//!
//! ```text
//! server (connections, TLS, limits) → router (host, token, time) → routes → DaemonState ← sides and probes
//! ```
//!
//! A `GET` never queries a tier or the archive for figures: the probes collect them in the background and store them in the
//! state. Requests to the archive and to NATS (windows, transfer tasks, dead letters) are bounded: a few at a time, each answered
//! or refused within six seconds, however slow the store is. Write requests require the bearer token, and so do all others except
//! health and the files of the page if `http.require_token_for_reads` is set. The contract is `/openapi.json`, generated from the
//! types of the responses.

pub(crate) mod access;
pub(crate) mod client;
pub(crate) mod coalescing_cache;
pub(crate) mod data_sources;
pub(crate) mod dead_letters;
pub(crate) mod documents;
pub(crate) mod exposition;
pub(crate) mod metric_families;
pub(crate) mod openapi;
pub(crate) mod problem;
pub(crate) mod process;
pub(crate) mod router;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod transfer_documents;
pub(crate) mod transfers;
