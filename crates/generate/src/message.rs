//! A message as it is published.

use bytes::Bytes;

/// One message as a publisher sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `{data_type}.{exchange}.{market_type}.{symbol}`
    pub subject: String,
    /// The value of the `Nats-Msg-Id` header.
    pub msg_id: String,
    /// The body.
    pub payload: Bytes,
}
