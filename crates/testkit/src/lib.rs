//! Helpers that tests of several crates share: rows of trades and archives of them, and a store that fails at a given call.

pub mod archive;
mod faults;

pub use faults::{FaultyStore, StoreFault};
