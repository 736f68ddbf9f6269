//! The rules of the house, held by reading the source: which crate depends on which, which file
//! imports which, what pure files name, where `unsafe` is, how long a file and a function may be,
//! which phrases do not come back. Needs no server: `cargo test --test house`.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod circles;
mod crates;
mod invariants;
mod modules;
mod prose;
mod purity;
mod reader;
mod rules;
mod size;
mod workspace;
