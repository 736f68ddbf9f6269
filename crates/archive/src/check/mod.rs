//! Checks of an archive against its own manifests, and what no manifest names.

pub(crate) mod finding;
pub(crate) mod leftovers;
mod lost_manifests;
pub(crate) mod verify;
