//! Ingest against real servers: every message of the stream is in hot exactly once, whatever happens on the way.

mod lives;
mod refusals;
mod streams;
mod values;
