//! NATS: connecting, and the streams of market data and dead letters.
//!
//! A stream is created if it is absent and never changed if it exists: its limits, replicas and placement belong to its
//! owner. A difference that would lose messages (subjects that the stream does not accept) is an error; others are logged.
//!
//! ```
//! assert!(mpsync_nats::covers("trade.>", "trade.okx.spot.BTC-USDT"));
//! assert_eq!(mpsync_nats::intersection("trade.>", "*.okx.>").as_deref(), Some("trade.okx.>"));
//! ```

mod connect;
mod streams;
mod subjects;

pub use connect::connect;
pub use streams::{ensure_stream, find_stream};
pub use subjects::{covers, intersection, is_pattern, overlaps};
