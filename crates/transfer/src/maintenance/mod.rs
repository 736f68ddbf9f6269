//! Looking after what is there: verification, repair, garbage collection.

pub(crate) mod gc;
pub(crate) mod repair;
pub(crate) mod verify;
