//! One thin file per verb: wire, run, print.

pub mod engine;
