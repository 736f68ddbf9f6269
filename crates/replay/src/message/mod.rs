//! The wire form: a row of the archive becomes the message from which ingest makes the same row again.
//!
//! The documentation of this crate describes the form. [`wire_form`] puts it together from
//! [`subject`], [`id`] and the values of each [`column`]; [`buffers`] hold the message that is being
//! written. Pure.

pub(crate) mod buffers;
mod column;
mod id;
mod plain;
mod subject;
mod wire_form;

pub(crate) use plain::PlainColumn;
pub use wire_form::{BoundBatch, WireForm};
