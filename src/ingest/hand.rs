//! What was taken from the stream and is not yet on its way into hot.

use std::time::Instant;

use async_nats::Message;

use super::ack::Owed;
use super::budget::Share;
use super::dead_letter::DeadLetter;
use super::decode::Decoder;
use super::delivery::Delivery;

/// What was taken and is not yet on its way into hot.
pub(super) struct Hand {
    pub(super) decoder: Decoder,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) owed: Owed,
    pub(super) share: Share,
    pub(super) messages: u64,
    pub(super) last_seq: u64,
    pub(super) since: Option<Instant>,
}

impl Hand {
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Owes the message's acknowledgement with the next batch.
    pub(super) fn owe(&mut self, message: Message, delivery: &Delivery) {
        if let Some(reply) = message.reply {
            self.owed.cover(delivery.seq, reply);
        }
        self.messages += 1;
        self.last_seq = self.last_seq.max(delivery.seq);
        self.since.get_or_insert_with(Instant::now);
    }
}
