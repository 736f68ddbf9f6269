//! The expiry of old data in cold and in the archive, after a sync that cleans.

mod archive;
mod cold;
pub(crate) mod plan;
pub(crate) mod run;
