//! The embedded ClickHouse: the engine as a library behind ClickHouse's own HTTP interface.
//!
//! [`Engine::open`] loads the library and opens a data folder; [`serve`] answers HTTP on a listener that the caller bound.
//! One engine and one data folder a process: that is the library's rule. What a request goes through:
//!
//! ```text
//! http (host, origin, route) → auth → request (fields) → prepare (statement) → select | insert | other → answer
//! ```
//!
//! Every request gets a connection of its own (opening one takes 0.2 ms), or its session's, so that settings, current
//! database and temporary tables of one request are never another's.

mod exception;
mod ffi;
mod files;
mod http;
mod library;
mod lifecycle;
mod query;
mod statement;

pub use http::{Auth, serve};
pub use library::{LIBRARY_RELEASE, LIBRARY_VARIABLE, library_path};
pub use lifecycle::{Engine, EngineOptions};
