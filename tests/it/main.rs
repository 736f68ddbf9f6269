//! The integration tests, one binary against real servers.
//!
//! Run them with `just test`, or one of them with `cargo test --test it NAME`. nats-server and the ClickHouse engine come
//! from `just tools`; the tests start them on free ports and end them. Seeds of random schedules are printed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod cli;
mod demo;
mod engine;
mod ingest;
mod support;
mod transfer;
