//! The integration tests, one binary against real servers.
//!
//! Run them with `just test`, or one of them with `cargo test --test it NAME`. nats-server and the ClickHouse engine come
//! from `just tools`; the tests start them on free ports and end them. Seeds of random schedules are printed.
//!
//! Time budget: five minutes on two cores for all of them, none of which waits by the clock alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod chaos;
mod cli;
mod daemon;
mod dead_letters;
mod demo;
mod doctor;
mod engine;
mod generate;
mod http;
mod ingest;
mod ingest_faults;
mod library;
mod newdata;
mod replay;
mod security;
mod service;
mod statements;
mod support;
mod terminal;
mod transfer;
mod transfer_faults;
