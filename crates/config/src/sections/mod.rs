//! The sections of the configuration file, one file each. A section whose settings belong to a crate below builds that crate's type.

pub(crate) mod archive;
pub(crate) mod encryption;
pub(crate) mod engine;
pub(crate) mod http;
pub(crate) mod ingest;
pub(crate) mod logging;
pub(crate) mod nats;
pub(crate) mod schedule;
pub(crate) mod storage;
pub(crate) mod sync;
