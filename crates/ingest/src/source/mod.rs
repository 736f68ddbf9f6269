//! The JetStream side: streams, consumers, deliveries, acknowledgements.

pub(crate) mod ack;
pub(crate) mod assignment;
pub(crate) mod consumers;
pub(crate) mod delivery;
pub(crate) mod delivery_tracker;
pub(crate) mod durable;
pub(crate) mod message_source;
pub(crate) mod stream;
