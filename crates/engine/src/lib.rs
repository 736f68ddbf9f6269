//! The embedded ClickHouse: the engine as a library, behind ClickHouse's own HTTP interface.
//!
//! [`Engine::open`] loads the library and opens a data folder; [`serve`] answers HTTP on a listener that
//! the caller bound. The library allows one engine and one data folder per process. The way of a request:
//!
//! ```text
//! http (host, origin, route) → auth → request (fields) → policy (statement) → select | insert | other → answer
//! ```
//!
//! Each request gets a connection of its own (opening one takes 0.2 ms) or its session's, so that settings,
//! current database and temporary tables of one request never affect another.
//!
//! ```no_run
//! use mpsync_engine::{Auth, Engine, serve};
//!
//! # async fn example() -> mpsync_core::error::Result<()> {
//! let engine = tokio::task::spawn_blocking(|| Engine::open("data/engine"))
//!     .await
//!     .map_err(std::io::Error::other)??;
//! let auth = Auth::from_own_file("default", "data/engine/password".as_ref())?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8123").await?;
//! let stopped = async { drop(tokio::signal::ctrl_c().await) };
//! serve(listener, engine, auth, Vec::new(), stopped).await
//! # }
//! ```

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
