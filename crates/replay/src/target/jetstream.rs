//! Publishing to JetStream, with one reply inbox and many messages in flight.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;

use super::message::OutboundMessage;
use super::publish::{Arena, headers};
use crate::number::push_u64;
use crate::order::StreamKey;
use mpsync_core::error::{Context as _, Error, Result};

/// How long to wait for an acknowledgement before the messages in flight are sent again, under the same ids.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The most consecutive attempts without an acknowledgement.
const TRIES: u32 = 5;
/// The most payload bytes in flight.
const WINDOW_BYTES: usize = 16 << 20;

/// A JetStream target: every message is acknowledged, or the replay fails.
#[derive(Debug)]
pub struct JetStreamTarget {
    client: Client,
    inbox: String,
    answers: Subscriber,
    /// The messages in flight, in the order in which they were sent; the first is number `first`.
    waiting: VecDeque<Waiting>,
    first: u64,
    waiting_bytes: usize,
    window: usize,
    acknowledged: Option<StreamKey>,
    duplicates: u64,
    arena: Arena,
    /// The reply subject of the message being sent.
    reply: Vec<u8>,
    /// Consecutive attempts without an acknowledgement.
    tries: u32,
}

#[derive(Debug)]
struct Waiting {
    key: StreamKey,
    subject: Subject,
    msg_id: Bytes,
    /// The header with the other id.
    other_id: Option<(&'static str, Bytes)>,
    payload: Bytes,
    is_acknowledged: bool,
}

impl Waiting {
    fn headers(&self) -> HeaderMap {
        let other_id = self.other_id.as_ref();
        headers(
            display(&self.msg_id),
            other_id.map(|(name, id)| (*name, display(id))),
        )
    }
}

/// Returns stored text, which was valid UTF-8 when it was stored.
fn display(text: &Bytes) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Whether an answer only confirms that the message is stored, as nearly all do.
fn is_plain(answer: &[u8]) -> bool {
    let says = |what: &[u8]| memchr::memmem::find(answer, what).is_some();
    answer.starts_with(b"{\"stream\":\"") && !says(b"\"duplicate\"") && !says(b"\"error\"")
}

/// JetStream's answer to a message.
#[derive(Debug, Default, Deserialize)]
struct AckReply {
    #[serde(default)]
    duplicate: bool,
    error: Option<AckError>,
}

#[derive(Debug, Deserialize)]
struct AckError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl JetStreamTarget {
    /// Starts to publish with at most `window` messages in flight.
    pub async fn new(client: Client, window: usize) -> Result<Self> {
        let inbox = client.new_inbox();
        let answers = client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(Error::nats)
            .context(|| "subscribing to acknowledgements")?;
        Ok(Self {
            client,
            inbox,
            answers,
            waiting: VecDeque::with_capacity(window),
            first: 0,
            waiting_bytes: 0,
            window: window.max(1),
            acknowledged: None,
            duplicates: 0,
            arena: Arena::default(),
            reply: Vec::new(),
            tries: 0,
        })
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub(crate) async fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
        while self.waiting.len() >= self.window || self.waiting_bytes >= WINDOW_BYTES {
            self.wait().await?;
        }
        let waiting = Waiting {
            key: message.key,
            subject: self.arena.subject(message.subject.as_bytes())?,
            msg_id: self.arena.put(message.msg_id.as_bytes()),
            other_id: message
                .other_id
                .map(|(name, id)| (name, self.arena.put(id.as_bytes()))),
            payload: self.arena.put(message.payload),
            is_acknowledged: false,
        };
        let reply = self.reply(self.first + self.waiting.len() as u64)?;
        publish(&self.client, &waiting, reply).await?;
        self.waiting_bytes += waiting.payload.len();
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// Returns the reply subject for a message of this number.
    fn reply(&mut self, number: u64) -> Result<Subject> {
        self.reply.clear();
        self.reply.extend_from_slice(self.inbox.as_bytes());
        self.reply.push(b'.');
        push_u64(number, &mut self.reply);
        self.arena.subject(&self.reply)
    }

    /// Returns the last message up to which all are acknowledged, by the answers received so far.
    pub(crate) fn acknowledged(&mut self) -> Result<Option<StreamKey>> {
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            self.accept_ack(&answer)?;
        }
        Ok(self.acknowledged)
    }

    /// Starts a new pass: nothing is acknowledged yet.
    pub(crate) fn forget(&mut self) {
        self.acknowledged = None;
    }

    /// Waits for every acknowledgement.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            self.wait().await?;
        }
        Ok(())
    }

    /// Waits for an acknowledgement and accepts all that have arrived.
    async fn wait(&mut self) -> Result<()> {
        match tokio::time::timeout(ACK_TIMEOUT, self.answers.next()).await {
            Ok(Some(answer)) => {
                self.accept_ack(&answer)?;
                self.acknowledged().map(drop)
            }
            Ok(None) => {
                Err(Error::nats("the connection was closed")
                    .context("waiting for acknowledgements"))
            }
            Err(_) => self.send_again().await,
        }
    }

    /// Sends all messages in flight again: JetStream recognizes duplicates by their ids.
    async fn send_again(&mut self) -> Result<()> {
        self.tries += 1;
        let count = self.waiting.len();
        if self.tries >= TRIES {
            return Err(Error::nats(format!(
                "no acknowledgement for {count} messages, each sent {TRIES} times"
            ))
            .with_hint("check that the JetStream stream is healthy and has these subjects"));
        }
        tracing::warn!(
            messages = count,
            tries = self.tries,
            "no acknowledgement, sending again"
        );
        for (at, waiting) in self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, w)| !w.is_acknowledged)
        {
            let reply = format!("{}.{}", self.inbox, self.first + at as u64);
            publish(&self.client, waiting, reply.into()).await?;
        }
        Ok(())
    }

    fn accept_ack(&mut self, answer: &Message) -> Result<()> {
        let number = answer
            .subject
            .rsplit('.')
            .next()
            .and_then(|n| n.parse::<u64>().ok());
        // The second answer to a message that was sent twice arrives when it is not in flight any more.
        let place = number
            .and_then(|n| n.checked_sub(self.first))
            .and_then(|at| usize::try_from(at).ok());
        let Some(waiting) = place.and_then(|at| self.waiting.get_mut(at)) else {
            return Ok(());
        };
        let context = || {
            let msg_id = display(&waiting.msg_id);
            format!("publishing {msg_id} to {}", waiting.subject)
        };
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Error::nats("no JetStream stream has this subject")
                .with_hint("create the stream with --create-stream, or compare --stream with the subjects of the stream")
                .context(context()));
        }
        let read = match is_plain(&answer.payload) {
            true => AckReply::default(),
            false => serde_json::from_slice(&answer.payload)
                .map_err(|e| Error::nats(format!("cannot parse the acknowledgement: {e}")))
                .context(context)?,
        };
        if let Some(refusal) = read.error {
            return Err(Error::nats(format!(
                "{} (code {})",
                refusal.description, refusal.err_code
            ))
            .context(context()));
        }
        self.tries = 0;
        if !std::mem::replace(&mut waiting.is_acknowledged, true) {
            self.duplicates += u64::from(read.duplicate);
        }
        while let Some(front) = self.waiting.pop_front_if(|w| w.is_acknowledged) {
            self.first += 1;
            self.waiting_bytes -= front.payload.len();
            self.acknowledged = Some(front.key);
        }
        Ok(())
    }
}

async fn publish(client: &Client, message: &Waiting, reply: Subject) -> Result<()> {
    let headers = message.headers();
    client
        .publish_with_reply_and_headers(
            message.subject.clone(),
            reply,
            headers,
            message.payload.clone(),
        )
        .await
        .map_err(Error::nats)
        .context(|| {
            let msg_id = display(&message.msg_id);
            format!("publishing {msg_id} to {}", message.subject)
        })
}
