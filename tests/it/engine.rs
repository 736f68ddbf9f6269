//! `mpsync engine` as its clients see it: a process of its own, spoken to over HTTP.

mod access;
mod confined;
mod escapes;
mod files;
mod inserts;
mod life;
mod queries;
mod rust_client;
mod small_bodies;

use tempfile::TempDir;

use crate::support::engine::Engine;

/// An engine on a new folder, without authentication: most tests are about something else.
fn open_engine() -> (TempDir, Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::start(folder.path(), &["--no-auth"]);
    (folder, engine)
}
