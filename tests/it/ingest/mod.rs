//! Ingest against real servers: every message of the stream is in hot exactly once, whatever happens on the way.

mod access;
mod dead_letters;
mod identity;
mod landing;
mod poison;
mod pressure;
mod refusals;
mod sessions;
mod shards;
mod standby;
mod streams;
mod values;
