//! Observations in the background: requests read them from the state instead of querying the stores.

pub(crate) mod examination;
pub(crate) mod gather;
pub(crate) mod timing;
pub(crate) mod windows;
