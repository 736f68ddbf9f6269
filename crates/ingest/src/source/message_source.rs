//! Pulls messages: a few requests ahead, each within a share of the budget, all answered into one subscription.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Client, Message, StatusCode, Subscriber};
use futures_util::StreamExt as _;
use futures_util::stream::ReadyChunks;

use crate::session::budget::Share;
use crate::session::end::{SessionEnd, Uncertainty};
use mpsync_core::error::{Context as _, Error, Result};

/// For how long the server keeps a request that it cannot fill.
const EXPIRES: Duration = Duration::from_secs(5);
/// How long after that a request which nobody answered is forgotten.
const GRACE: Duration = Duration::from_secs(2);
/// How many requests there are at most: one that is being filled, and one that waits behind it.
const REQUESTS: usize = 2;
/// Messages that are taken from the client at once, at most.
const CHUNK: usize = 1024;
/// Messages of a request at most: all requests together must fit the client's buffer (65,536), or it drops messages.
const REQUEST_MESSAGES: usize = 10_000;
/// Bytes of a request at most.
const REQUEST_BYTES: usize = 4 << 20;
/// What a message may have beside what the server counts as its payload.
const OVERHEAD_BYTES: usize = 64 << 10;

/// Messages that this many requests can bring beyond what was taken already.
pub(crate) const AHEAD_MESSAGES: usize = REQUESTS * REQUEST_MESSAGES;

struct FetchRequest {
    number: u64,
    messages: usize,
    bytes: usize,
    share: Share,
    forget_at: Instant,
    served: bool,
}

/// A life's subscription and its pull requests. A new life takes a new one: what comes for an older one is lost on purpose.
pub(crate) struct MessageSource {
    consumer: PullConsumer,
    inbox: String,
    messages: ReadyChunks<Subscriber>,
    /// What has come and was not asked for yet: a hand that is full leaves the rest.
    ready: std::vec::IntoIter<Message>,
    requests: VecDeque<FetchRequest>,
    next_number: u64,
    least_bytes: usize,
    step_bytes: usize,
}

impl MessageSource {
    /// Subscribes. Nothing is requested yet.
    pub(crate) async fn open(client: &Client, consumer: &PullConsumer) -> Result<Self> {
        let inbox = client.new_inbox();
        let subscriber = client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(Error::nats)
            .context(|| "subscribing for messages")?;
        let least_bytes = client.max_payload() + OVERHEAD_BYTES;
        Ok(Self {
            consumer: consumer.clone(),
            inbox,
            messages: subscriber.ready_chunks(CHUNK),
            ready: Vec::new().into_iter(),
            requests: VecDeque::new(),
            next_number: 0,
            least_bytes,
            step_bytes: least_bytes,
        })
    }

    /// How many bytes the next request is for, where one is due.
    pub(crate) fn next_request(&self) -> Option<usize> {
        match self.requests.back() {
            None => Some(self.step_bytes),
            Some(last) => {
                (self.requests.len() < REQUESTS && last.served).then_some(self.step_bytes)
            }
        }
    }

    /// Asks for as many bytes as [`Source::wants`] said, paid for by `share`.
    pub(crate) async fn request(&mut self, share: Share) -> Result<()> {
        self.next_number += 1;
        let request = BatchConfig {
            batch: REQUEST_MESSAGES,
            max_bytes: self.step_bytes,
            expires: Some(EXPIRES),
            ..BatchConfig::default()
        };
        let reply = format!("{}.{}", self.inbox, self.next_number);
        self.consumer
            .request_batch(request, reply.into())
            .await
            .map_err(Error::nats)
            .context(|| "requesting messages")?;
        self.requests.push_back(FetchRequest {
            number: self.next_number,
            messages: REQUEST_MESSAGES,
            bytes: self.step_bytes,
            share,
            forget_at: Instant::now() + EXPIRES + GRACE,
            served: false,
        });
        Ok(())
    }

    /// Waits until something has come. `None` when the connection is given up. Cancel-safe.
    pub(crate) async fn wait_ready(&mut self) -> Option<()> {
        if self.ready.as_slice().is_empty() {
            self.ready = self.messages.next().await?.into_iter();
        }
        Some(())
    }

    /// The next of what has come: messages and statuses, in order.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        self.ready.next()
    }

    /// Books a message on the request that it answers, and moves its share of the budget into `to`.
    pub(crate) fn account(&mut self, length: usize, to: &mut Share) {
        let Some(request) = self.requests.front_mut() else {
            return;
        };
        request.served = true;
        request.share.hand_over(length, to);
        request.messages -= 1;
        request.bytes = request.bytes.saturating_sub(length);
        if request.messages == 0 || request.bytes == 0 {
            self.requests.pop_front();
            self.grow();
        }
    }

    fn grow(&mut self) {
        let most = REQUEST_BYTES.max(self.least_bytes);
        self.step_bytes = (self.step_bytes * 2).min(most);
    }

    /// Takes note of a status: a request has ended. Statuses that end more than a request end the life.
    pub(crate) fn status(
        &mut self,
        status: StatusCode,
        message: &Message,
    ) -> Result<(), SessionEnd> {
        let description = message.description.as_deref().unwrap_or_default();
        if status == StatusCode::IDLE_HEARTBEAT {
            return Ok(());
        }
        let ends_request = status == StatusCode::TIMEOUT
            || status == StatusCode::NOT_FOUND
            || description.contains("Exceeds MaxBytes")
            || description.contains("Batch Completed");
        if !ends_request {
            return Err(Uncertainty::FetchEnded(status, description.to_owned()).into());
        }
        let number = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|n| n.parse::<u64>().ok());
        let Some(at) = self.requests.iter().position(|r| Some(r.number) == number) else {
            return Ok(());
        };
        let served = self.requests.remove(at).is_some_and(|r| r.served);
        if status == StatusCode::TIMEOUT {
            if !served {
                self.step_bytes = (self.step_bytes / 2).max(self.least_bytes);
            }
        } else if served {
            self.grow();
        } else {
            // Not even one message fitted.
            self.step_bytes *= 2;
        }
        Ok(())
    }

    /// Forgets requests that the server must have forgotten, so that a lost answer does not stop the fetching.
    pub(crate) fn forget_expired(&mut self, now: Instant) {
        self.requests.retain(|r| r.forget_at > now);
    }
}
