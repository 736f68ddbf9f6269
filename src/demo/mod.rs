//! The whole pipeline on one machine: real and generated messages through NATS, hot, archive and cold, with an account of every
//! message.
//!
//! Everything lies in one folder. A demo that is killed at any moment and started again on the same folder ends with the same
//! table: messages are published again (JetStream's duplicate window rejects repeats), and ingest and transfer derive their
//! progress from the data. Only the rows of hot cannot be counted once hot is cleaned: that count is stored before the transfer
//! begins.

mod account;
mod run;

pub use run::{Demo, DemoOptions, DemoReport};
