//! What tests of several crates share.

pub mod archive;
mod faults;

pub use faults::{FaultyStore, StoreFault};
