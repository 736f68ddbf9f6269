//! The doctor: checks, before anything runs, for conditions on the servers, the stream and the archive that could break a promise.
//!
//! A finding is *refused* if running on would lose data or would hide rows from a proof. All checks only read, except that the
//! archive's folder gets a temporary file. A check that the server does not permit is a note: it proves nothing.

pub(crate) mod archive;
pub(crate) mod diagnosis;
pub(crate) mod examine;
pub(crate) mod settings;
pub(crate) mod stream;
pub(crate) mod tables;
pub(crate) mod tier;
pub(crate) mod ttl;
