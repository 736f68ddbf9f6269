//! The work of the daemon: ingest on the hot side, transfers and garbage collection on the cold side.

pub(crate) mod garbage_collection;
pub(crate) mod ingest;
pub(crate) mod last_run;
pub(crate) mod transfers;
