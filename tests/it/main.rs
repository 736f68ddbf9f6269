//! Tests against real servers, in one binary.
//!
//! `cargo test --test it` runs all of them, `cargo test --test it ingest` those of one file. They start nats-server and the
//! ClickHouse engine (`just tools` fetches both) on free ports and in folders of their own, and end them. Seeds are printed.

mod ingest;
mod support;
