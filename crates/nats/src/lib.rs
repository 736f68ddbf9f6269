//! NATS: one way to connect, and the stream of market data.
//!
//! The stream is created where it is absent and never changed where it is there: its limits, replicas and placement are its
//! owner's. What would lose data (subjects that it does not take) is an error, what differs otherwise is logged.

mod connect;
mod streams;
mod subjects;

pub use connect::connect;
pub use streams::{ensure_stream, find_stream};
pub use subjects::{covers, intersection, is_pattern, overlaps};
