//! Reading messages one by one, after the connection broke several times at the same position.
//!
//! The client library closes its connection on messages that nats-server accepts: headers that are not UTF-8, header lines
//! without a colon, names with blanks, subjects with some blanks. A session that receives such a message ends with its
//! connection, and so would every session after it. Whether a message or the network broke the connection is not known, so
//! that the rule counts: after [`MAX_BREAKS`] broken connections at one floor the next session reads singly, by the API
//! that returns messages encoded. A message that the client cannot receive becomes a dead letter, and reading passes it.

use std::time::Instant;

use async_nats::Message;
use async_nats::header::NATS_MESSAGE_ID;

use crate::dead_letters::queue::RejectedMessage;
use crate::session::context::DatasetIngest;
use crate::session::end::SessionEnd;
use crate::session::state::Session;
use crate::source::delivery::Delivery;
use crate::source::message_source::AHEAD_MESSAGES;
use crate::source::raw_message::RawMessage;
use crate::source::stream::AckMode;

/// How often the connection may break at one floor before messages are read singly.
const MAX_BREAKS: u32 = 2;
/// How many receivable messages are read singly behind one that is not: such messages come in bursts.
const MESSAGES_BEHIND: usize = 64;
/// Messages of a batch that is read singly.
const BATCH_MESSAGES: usize = 1000;
/// The reason label of dead letters that the client library cannot receive.
const LABEL: &str = "unreadable_message";
/// Characters of the header block that a reason repeats.
const HEADER_CHARS: usize = 300;

/// Counts broken connections at one floor of the consumer.
#[derive(Debug, Default)]
pub(crate) struct ConnectionBreaks {
    floor: u64,
    count: u32,
}

impl ConnectionBreaks {
    /// Records the end of a session that began at this floor. An end with an intact connection proves nothing: a request
    /// may have failed before the client noticed the break.
    pub(crate) fn record(&mut self, floor: u64, broken: bool) {
        if self.floor != floor {
            *self = Self { floor, count: 0 };
        }
        self.count += u32::from(broken);
    }

    /// Returns whether a session that begins at this floor reads singly.
    pub(crate) fn is_stuck_at(&self, floor: u64) -> bool {
        self.floor == floor && self.count >= MAX_BREAKS
    }
}

impl DatasetIngest {
    /// Reads and lands messages above the floor one by one: up to some messages behind one that the client cannot receive,
    /// or as many as a session requests ahead, or all that are there. Sets the consumer behind them.
    ///
    /// The session ends with it, because the consumer was moved.
    pub(crate) async fn read_singly(&self, session: &mut Session) -> Result<(), SessionEnd> {
        let (mut read, mut behind) = (0, None);
        let mut last = session.floor;
        tracing::warn!(
            dataset = %self.dataset.name, floor = last,
            "the connection broke several times at this position: reading messages one by one"
        );
        while read < AHEAD_MESSAGES
            && behind < Some(MESSAGES_BEHIND)
            && !self.shutdown.is_cancelled()
            && let Some(message) =
                RawMessage::next(&self.client, &self.stream, last + 1, &self.dataset.subjects)
                    .await?
        {
            last = message.seq;
            read += 1;
            behind = match message.client_fault() {
                Some(_) => Some(0),
                None => behind.map(|n| n + 1),
            };
            self.accept_single(session, message)?;
            let limits = self.limits.now();
            if session.pending.is_full(&limits) || read.is_multiple_of(BATCH_MESSAGES) {
                self.land_singles(session, last).await?;
            }
        }
        self.land_singles(session, last).await
    }

    /// Accepts a message that was read singly: as a row, or as a dead letter.
    fn accept_single(&self, session: &mut Session, raw: RawMessage) -> Result<(), SessionEnd> {
        let delivery = Delivery {
            seq: raw.seq,
            number: 0,
            stored_at_nanos: raw.stored_at_nanos,
            pending: 0,
        };
        self.stats.messages.add(1);
        self.stats.bytes.add(raw.payload.len() as u64);
        let fault = raw.client_fault();
        let message = Message {
            subject: raw.subject.as_str().into(),
            reply: session.durable.ack_subject(&delivery).map(Into::into),
            length: raw.payload.len(),
            payload: raw.payload.clone(),
            headers: None,
            status: None,
            description: None,
        };
        let position = session.history.position(raw.seq);
        if session.held.contains(raw.seq) {
            self.stats.already_held.add(1);
        } else if let Some(fault) = fault {
            session.pending.reject(RejectedMessage {
                position,
                label: LABEL.into(),
                reason: format!(
                    "the NATS client cannot receive the message: {fault}{}",
                    quoted(&raw.headers)
                ),
                message_id: raw.header(NATS_MESSAGE_ID.as_ref()),
                subject: raw.subject,
                stored_at_nanos: raw.stored_at_nanos,
                body: raw.payload,
            });
        } else {
            session.pending.accept(&message, &delivery, position)?;
        }
        session.pending.add_ack(message, &delivery, Instant::now());
        Ok(())
    }

    /// Lands what was read singly, and sets the consumer behind it.
    async fn land_singles(&self, session: &mut Session, last: u64) -> Result<(), SessionEnd> {
        if session.pending.is_empty() {
            return Ok(());
        }
        let batch = session.pending.batch(session.durable.mode())?;
        session.sink.land(batch).await?;
        if session.durable.mode() == AckMode::All {
            session.durable.set_behind(last).await?;
        }
        Ok(())
    }
}

/// Returns the header block for a reason, escaped.
fn quoted(headers: &[u8]) -> String {
    if headers.is_empty() {
        return String::new();
    }
    let text = headers.escape_ascii().to_string();
    let text: String = text.chars().take(HEADER_CHARS).collect();
    format!("; headers `{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_breaks_at_one_floor_lead_to_single_reads() {
        let mut breaks = ConnectionBreaks::default();
        breaks.record(0, true);
        assert!(!breaks.is_stuck_at(0));
        breaks.record(5, true);
        assert!(!breaks.is_stuck_at(5));
        breaks.record(5, true);
        assert!(breaks.is_stuck_at(5) && !breaks.is_stuck_at(6));
        breaks.record(5, false);
        assert!(breaks.is_stuck_at(5));
        breaks.record(6, false);
        assert!(!breaks.is_stuck_at(5) && !breaks.is_stuck_at(6));
    }
}
