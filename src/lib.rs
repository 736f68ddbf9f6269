//! The `mpsync` program as a library, for its own tests: the command line, a thin file a verb, the demo, logging.
//!
//! What it does is in the crates below `crates/`; see `ARCHITECTURE.md`.

pub mod cli;
pub mod commands;
pub mod demo;
pub mod logging;
mod progress;
pub mod servers;
