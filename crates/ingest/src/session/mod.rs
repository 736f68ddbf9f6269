//! Sessions: one fenced run of a dataset's reader after the other.
//!
//! `pipeline` begins sessions and runs each; `begin` opens the insert gate, recovers the held positions and sets the
//! consumer back; `recovery` asks hot; `epoch` decides which epoch a sequence belongs to.

pub(crate) mod begin;
pub(crate) mod budget;
pub(crate) mod context;
pub(crate) mod end;
pub(crate) mod epoch;
pub(crate) mod limits;
pub(crate) mod pipeline;
pub(crate) mod recovery;
pub(crate) mod state;
