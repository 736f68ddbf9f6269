//! Workers that share an archive: leases on windows, and numbered entries of which the highest counts.

mod journal;
pub(crate) mod lease;
pub(crate) mod lease_watcher;
