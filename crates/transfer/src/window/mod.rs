//! One window from hot to the archive and to cold: export, load, proof, journal.

pub(crate) mod archive_check;
pub(crate) mod drive;
pub(crate) mod evolution;
pub(crate) mod export;
pub(crate) mod holdings;
pub(crate) mod journal;
pub(crate) mod load;
pub(crate) mod proof;
pub(crate) mod proof_cache;
pub(crate) mod staging;
pub(crate) mod task;
pub(crate) mod window_attempt;
