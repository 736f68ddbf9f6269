//! The nouns of mpsync and nothing that touches a disk or a network: datasets, windows, positions, column types, errors, back-off,
//! and the counters of long work.

pub mod dataset;
pub mod decimal;
pub mod error;
pub mod fingerprint;
pub mod progress;
pub mod retry;
