//! The `mpsync` program as a library, for its own tests: the command line, a thin file a command, the demo, logging.
//!
//! The work itself is in the crates below `crates/`; see `ARCHITECTURE.md`.

pub mod cli;
pub mod commands;
pub mod demo;
pub mod logging;
mod output;
pub mod progress;
pub mod servers;
