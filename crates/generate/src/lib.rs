//! A seeded source of realistic messages, and the way of messages to NATS and to files.
//!
//! [`Generator`] is pure: the same [`GeneratorOptions`] give the same bytes, whatever the clock or the machine. Each message is as
//! MarketPrism's collectors publish them, quirks included: books of which most touch one side only, levels of quantity zero,
//! events that come late, several at one millisecond, numbers in exponent form, fields that are null.

mod book;
mod file;
mod generator;
mod kind;
mod kinds;
mod market;
mod message;
mod payload;
mod publish;

pub use file::{MessageWriter, read_messages};
pub use generator::{Generator, GeneratorOptions};
pub use kind::DataKind;
pub use message::Message;
pub use publish::{
    DUPLICATES_NAMED, Duplicate, PublishOptions, PublishReport, PublishedCount, publish,
};
