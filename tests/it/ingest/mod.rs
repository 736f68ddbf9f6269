//! Ingest against real servers: every message of the stream is in hot exactly once, whatever happens on the way.

mod access;
mod letters;
mod lives;
mod pressure;
mod refusals;
mod shards;
mod streams;
mod values;
