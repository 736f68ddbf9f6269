//! Running a statement: its connection, its data, its result, and its end.

pub(crate) mod cancel;
pub(crate) mod execute;
pub(crate) mod running;
pub(crate) mod select;
pub(crate) mod session;
pub(crate) mod spool;
