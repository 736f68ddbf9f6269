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

mod answer;
mod auth;
mod body;
mod compression;
mod exception;
mod execute;
mod ffi;
mod file_route;
mod files;
mod flush;
mod http;
mod lexer;
mod library;
mod lifecycle;
mod pattern;
mod request;
mod running;
mod sandbox_dir;
mod select;
mod session;
mod spool;
mod statement;
mod statement_policy;

pub use auth::Auth;
pub use http::serve;
pub use library::{LIBRARY_RELEASE, LIBRARY_VARIABLE, library_path};
pub use lifecycle::{Engine, EngineOptions};
