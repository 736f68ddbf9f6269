//! Tests against real servers, in one binary.
//!
//! `cargo test --test it` runs all of them, `cargo test --test it engine` those of one file. They start what they need on free
//! ports and in folders of their own; the ClickHouse library must be in the user's cache folder (`just tools` fetches it).

mod engine;
mod support;
