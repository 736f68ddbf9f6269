//! Ingest against real servers: every message of the stream is in hot exactly once, whatever happens on the way.

mod access;
mod dead_letters;
mod pressure;
mod refusals;
mod sessions;
mod shards;
mod streams;
mod values;
