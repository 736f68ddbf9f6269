//! Helpers that tests of several crates share: rows of trades and archives of them, and a store that fails at a given call.

#![expect(
    clippy::unwrap_used,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking, in its helpers too"
)]

pub mod archive;
mod faults;

pub use faults::{FaultyStore, StoreFault};
