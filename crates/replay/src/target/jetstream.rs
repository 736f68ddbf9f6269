//! Publishing to NATS: into JetStream with one shared reply inbox and many messages waiting for their acknowledgement.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject, Subscriber};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;

use super::OutboundMessage;
use crate::number::push_u64;
use crate::order::StreamKey;
use mpsync_core::error::{Context as _, Error, Result};

/// How long to wait for an acknowledgement before what waits is sent again, under the same ids.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often in a row that is done without any acknowledgement coming.
const TRIES: u32 = 5;
/// Payload bytes that wait for their acknowledgement at most.
const WINDOW_BYTES: usize = 16 << 20;
/// Bytes that are allocated at once for subjects, ids and payloads.
const ARENA_BYTES: usize = 64 << 10;

/// JetStream: every message is acknowledged, or the replay ends with an error.
#[derive(Debug)]
pub struct JetStreamTarget {
    client: Client,
    inbox: String,
    answers: Subscriber,
    /// What waits, in the order in which it was sent; the first one is number `first`.
    waiting: VecDeque<Waiting>,
    first: u64,
    waiting_bytes: usize,
    window: usize,
    acknowledged: Option<StreamKey>,
    duplicates: u64,
    arena: Arena,
    /// The subject of an answer, written anew for every message.
    reply: Vec<u8>,
    /// Times in a row that all was sent again.
    tries: u32,
}

#[derive(Debug)]
struct Waiting {
    key: StreamKey,
    subject: Subject,
    msg_id: Bytes,
    /// The name and value of the header with the other id.
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

/// A text that was one when it was taken.
fn display(text: &Bytes) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Many texts in one allocation.
#[derive(Debug, Default)]
struct Arena(BytesMut);

impl Arena {
    fn put(&mut self, bytes: &[u8]) -> Bytes {
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(bytes.len().max(ARENA_BYTES));
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }

    fn subject(&mut self, subject: &[u8]) -> Result<Subject> {
        Subject::from_utf8(self.put(subject)).map_err(|e| Error::malformed(e.to_string()))
    }
}

/// Whether an answer says no more than that the message is stored, which is what nearly all say.
fn is_plain(answer: &[u8]) -> bool {
    let says = |what: &[u8]| memchr::memmem::find(answer, what).is_some();
    answer.starts_with(b"{\"stream\":\"") && !says(b"\"duplicate\"") && !says(b"\"error\"")
}

/// What JetStream answers.
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
    /// Begins to publish; `window` messages may wait for their acknowledgement at once.
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

    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub(super) async fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
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

    /// Where the answer to a message of this number goes.
    fn reply(&mut self, number: u64) -> Result<Subject> {
        self.reply.clear();
        self.reply.extend_from_slice(self.inbox.as_bytes());
        self.reply.push(b'.');
        push_u64(number, &mut self.reply);
        self.arena.subject(&self.reply)
    }

    /// The last message before which all are acknowledged, as far as answers have come.
    pub(super) fn acknowledged(&mut self) -> Result<Option<StreamKey>> {
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            self.accept_ack(&answer)?;
        }
        Ok(self.acknowledged)
    }

    /// Begins anew: nothing is acknowledged yet.
    pub(super) fn forget(&mut self) {
        self.acknowledged = None;
    }

    /// Waits for every acknowledgement.
    pub(super) async fn drain(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            self.wait().await?;
        }
        Ok(())
    }

    /// Waits for an acknowledgement and takes those that have come with it.
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

    /// Sends everything that waits once more: JetStream knows by the id what it has.
    async fn send_again(&mut self) -> Result<()> {
        self.tries += 1;
        let count = self.waiting.len();
        if self.tries >= TRIES {
            return Err(Error::nats(format!(
                "no acknowledgement for {count} messages, each sent {TRIES} times"
            ))
            .with_hint("is the JetStream stream healthy, and does it take these subjects?"));
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
        // An answer to a message that was sent twice can come when it waits no more.
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
            return Err(Error::nats("no JetStream stream takes this subject")
                .with_hint("see --stream, and the stream's subjects")
                .context(context()));
        }
        let read = match is_plain(&answer.payload) {
            true => AckReply::default(),
            false => serde_json::from_slice(&answer.payload)
                .map_err(|e| Error::nats(format!("an acknowledgement that cannot be read: {e}")))
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

fn headers(msg_id: &str, other_id: Option<(&'static str, &str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, msg_id);
    if let Some((name, id)) = other_id {
        headers.insert(name, id);
    }
    headers
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

/// NATS without acknowledgements.
#[derive(Debug)]
pub struct CoreTarget {
    client: Client,
    arena: Arena,
}

impl CoreTarget {
    /// Begins to publish.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            arena: Arena::default(),
        }
    }

    pub(super) async fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
        let headers = headers(message.msg_id, message.other_id);
        self.client
            .publish_with_headers(
                self.arena.subject(message.subject.as_bytes())?,
                headers,
                self.arena.put(message.payload),
            )
            .await
            .map_err(Error::nats)
            .context(|| format!("publishing {} to {}", message.msg_id, message.subject))
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        self.client
            .flush()
            .await
            .map_err(Error::nats)
            .context(|| "handing messages to NATS")
    }
}
