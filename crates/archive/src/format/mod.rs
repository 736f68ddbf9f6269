//! Everything that lies in the archive: names, manifests, leases. Plain types, read and written nowhere else.

pub(crate) mod journal_evidence;
pub mod layout;
pub(crate) mod lease_record;
pub(crate) mod manifest;
pub(crate) mod printable;
pub(crate) mod process;
