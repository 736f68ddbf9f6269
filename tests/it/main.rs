//! The integration tests, one binary against real servers.
//!
//! Run them with `just test`, or one of them with `cargo test --test it NAME`. nats-server and the ClickHouse engine come
//! from `just tools`; the tests start them on free ports and end them. Seeds of random schedules are printed.

mod cli;
mod demo;
mod dlq;
mod engine;
mod ingest;
mod newdata;
mod support;
mod transfer;
