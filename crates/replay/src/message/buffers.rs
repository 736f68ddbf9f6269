//! Buffers of the message that is being written. Pure.

use crate::message::wire_form::BoundBatch;
use crate::number::push_u64;
use crate::options::{MessageId, POSITION_ID, PUBLISHER_ID};
use crate::order::StreamKey;
use crate::target::message::OutboundMessage;
use mpsync_core::error::{Error, Result};

/// The parts of a message, overwritten by each message.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    subject: Vec<u8>,
    msg_id: Vec<u8>,
    /// The other one of the two ids; empty if there is none.
    other_id: Vec<u8>,
    other_name: &'static str,
    payload: Vec<u8>,
}

/// The ids that a message gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    /// Whether the publisher's own id is written.
    pub wanted: bool,
    /// The one that becomes the message's id.
    pub message_id: MessageId,
    /// The pass of an endless replay, from 0.
    pub pass: u64,
}

impl Buffers {
    /// Writes a row as a message.
    pub(crate) fn write(
        &mut self,
        batch: &BoundBatch,
        row: usize,
        shift_secs: i64,
        key: StreamKey,
        ids: Ids,
    ) {
        self.subject.clear();
        self.msg_id.clear();
        self.other_id.clear();
        self.payload.clear();
        batch.push_subject(row, &mut self.subject);
        batch.push_payload(row, shift_secs, &mut self.payload);
        push_u64(key.row.epoch, &mut self.msg_id);
        self.msg_id.push(b'-');
        push_u64(key.row.seq, &mut self.msg_id);
        self.other_name = PUBLISHER_ID;
        let is_known = ids.wanted && batch.push_publisher_id(row, &mut self.other_id);
        if is_known && ids.message_id == MessageId::Publisher {
            std::mem::swap(&mut self.msg_id, &mut self.other_id);
            self.other_name = POSITION_ID;
        }
        if ids.pass > 0 {
            self.msg_id.push(b'-');
            push_u64(ids.pass, &mut self.msg_id);
        }
    }

    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload.len() as u64
    }

    /// Returns the message that was written.
    pub(crate) fn message(&self, key: StreamKey) -> Result<OutboundMessage<'_>> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|e| Error::malformed(e.to_string()));
        Ok(OutboundMessage {
            key,
            subject: text(&self.subject)?,
            msg_id: text(&self.msg_id)?,
            other_id: match self.other_id.is_empty() {
                true => None,
                false => Some((self.other_name, text(&self.other_id)?)),
            },
            payload: &self.payload,
        })
    }
}
