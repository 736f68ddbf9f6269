//! What was taken from the stream and is not yet on its way into hot.

use std::time::Instant;

use async_nats::Message;
use bytes::Bytes;

use crate::dead_letters::queue::RejectedMessage;
use crate::decode::{Decoder, MessageMeta, Reason, Rejection};
use crate::session::budget::Share;
use crate::session::end::{SessionEnd, Uncertainty};
use crate::session::limits::FlushLimits;
use crate::source::ack::PendingAcks;
use crate::source::delivery::Delivery;
use crate::source::stream::AckMode;
use crate::writer::sink::{Batch, message_id};
use mpsync_core::dataset::Position;
use mpsync_core::error::Result;

/// Dead letters that a batch holds at most.
const DEAD_LETTERS_PER_BATCH: usize = 2000;

/// What was taken and is not yet on its way into hot.
pub(crate) struct PendingBatch {
    pub(crate) decoder: Decoder,
    pub(crate) dead_letters: Vec<RejectedMessage>,
    acks: PendingAcks,
    pub(crate) share: Share,
    messages: u64,
    pub(crate) last_seq: u64,
    pub(crate) since: Option<Instant>,
}

impl PendingBatch {
    /// An empty one, at the beginning of a life.
    pub(crate) fn new(decoder: Decoder, mode: AckMode, floor: u64) -> Self {
        Self {
            decoder,
            dead_letters: Vec::new(),
            acks: PendingAcks::new(mode),
            share: Share::default(),
            messages: 0,
            last_seq: floor,
            since: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Whether nothing more may be taken.
    pub(crate) fn is_full(&self, limits: &FlushLimits) -> bool {
        self.decoder.rows() >= limits.rows
            || self.dead_letters.len() >= DEAD_LETTERS_PER_BATCH
            || self.decoder.bytes() >= limits.bytes
    }

    /// Whether it is to be landed: it is full or old, or the memory for more is lacking.
    pub(crate) fn is_due(&self, limits: &FlushLimits, now: Instant, lacking: bool) -> bool {
        let old = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) >= limits.age);
        old || (lacking && !self.is_empty()) || self.is_full(limits)
    }

    /// Takes a message as a row, or as a dead letter where it cannot be one. Its acknowledgement is not owed yet.
    pub(crate) fn accept(
        &mut self,
        message: &Message,
        delivery: &Delivery,
        position: Position,
    ) -> Result<(), SessionEnd> {
        let meta = MessageMeta {
            subject: message.subject.as_str(),
            position,
            stored_at_nanos: delivery.stored_at_nanos,
        };
        let Err(rejection) = self.decoder.append(&meta, &message.payload) else {
            return Ok(());
        };
        if matches!(rejection.reason, Reason::BatchFull) && self.decoder.rows() > 0 {
            // What came is dropped and comes again in the next life, in smaller batches.
            return Err(Uncertainty::BatchTooLarge.into());
        }
        self.dead_letters
            .push(dead_letter(message, delivery, position, &rejection));
        Ok(())
    }

    /// Owes the message's acknowledgement with the next batch.
    pub(crate) fn add_ack(&mut self, message: Message, delivery: &Delivery, now: Instant) {
        if let Some(reply) = message.reply {
            self.acks.add(delivery.seq, reply);
        }
        self.messages += 1;
        self.last_seq = self.last_seq.max(delivery.seq);
        self.since.get_or_insert(now);
    }

    /// Everything as a batch; the hand is empty afterwards.
    pub(crate) fn batch(&mut self, mode: AckMode) -> Result<Batch> {
        let rows = match self.decoder.rows() {
            0 => None,
            _ => Some(self.decoder.finish()?),
        };
        self.since = None;
        Ok(Batch {
            rows,
            dead_letters: std::mem::take(&mut self.dead_letters),
            acks: std::mem::replace(&mut self.acks, PendingAcks::new(mode)),
            share: std::mem::take(&mut self.share),
            messages: std::mem::take(&mut self.messages),
            last_seq: self.last_seq,
        })
    }
}

fn dead_letter(
    message: &Message,
    delivery: &Delivery,
    position: Position,
    rejection: &Rejection,
) -> RejectedMessage {
    RejectedMessage {
        position,
        label: rejection.reason.label().to_owned(),
        reason: rejection.to_string(),
        subject: message.subject.to_string(),
        stored_at_nanos: delivery.stored_at_nanos,
        message_id: message_id(message.headers.as_ref()),
        // A copy: the original bytes lie in a buffer with all that was read at once.
        body: Bytes::copy_from_slice(&message.payload),
    }
}

#[cfg(test)]
mod tests;
