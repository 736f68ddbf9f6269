//! Publishing to JetStream: many messages in flight, every acknowledgement checked.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use roaring::RoaringTreemap;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::message::Message;
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_core::retry::{Backoff, retry};

/// How long to wait for an acknowledgement before a message is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// How many refused repeats a report names; the others it only counts.
pub const DUPLICATES_NAMED: usize = 10_000;

/// How often progress is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How messages are published.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// How many messages may wait for their acknowledgement at once.
    pub in_flight: usize,
    /// Messages a second; as fast as possible when `None`.
    pub rate: Option<NonZeroU64>,
    /// The stream's last sequence before the first message: it distinguishes a message that was stored but whose
    /// acknowledgement was lost from one that had been published earlier.
    pub after_sequence: u64,
    /// When cancelled, no further message is taken; those in flight are awaited.
    pub shutdown: CancellationToken,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            in_flight: 4096,
            rate: None,
            after_sequence: 0,
            shutdown: CancellationToken::new(),
        }
    }
}

/// A message that JetStream refused because one of the same id had come within the stream's duplicate window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// Its subject.
    pub subject: String,
    /// Its id.
    pub msg_id: String,
    /// The sequence of the message that was there first.
    pub first_sequence: u64,
}

/// The outcome of the messages of one data type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PublishedCount {
    /// Stored by JetStream.
    pub published: u64,
    /// Refused as repeats.
    pub duplicates: u64,
    /// Bytes of the payloads of those stored.
    pub bytes: u64,
}

/// The outcome of all messages: each one is stored or a named repeat, or publishing failed with an error.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PublishReport {
    /// Of all messages together.
    #[serde(flatten)]
    pub total: PublishedCount,
    /// By the first token of the subject.
    pub by_data_type: BTreeMap<String, PublishedCount>,
    /// The refused repeats, the first [`DUPLICATES_NAMED`] of them.
    pub duplicates_named: Vec<Duplicate>,
    /// How many messages were sent more than once because no acknowledgement came.
    pub sent_again: u64,
    /// From the first message to the last acknowledgement.
    pub seconds: f64,
}

impl PublishReport {
    fn count(&mut self, message: &Message, stored: bool, first_sequence: u64) {
        let data_type = message.subject.split('.').next().unwrap_or_default();
        let of_type = match self.by_data_type.get_mut(data_type) {
            Some(counts) => counts,
            None => self.by_data_type.entry(data_type.to_owned()).or_default(),
        };
        for counts in [&mut self.total, of_type] {
            if stored {
                counts.published += 1;
                counts.bytes += message.payload.len() as u64;
            } else {
                counts.duplicates += 1;
            }
        }
        if !stored && self.duplicates_named.len() < DUPLICATES_NAMED {
            self.duplicates_named.push(Duplicate {
                subject: message.subject.clone(),
                msg_id: message.msg_id.clone(),
                first_sequence,
            });
        }
    }
}

/// Publishes messages with their `Nats-Msg-Id` and waits for every acknowledgement.
///
/// A message without an acknowledgement is sent again under the same id, so that JetStream stores it once; when that fails
/// too, publishing ends with an error that names it. Messages are stored in their order as long as none is sent again.
///
/// Cancelling [`PublishOptions::shutdown`] ends it with [`Cause::Interrupted`] after what is in flight has been acknowledged.
/// Dropping the future leaves up to [`PublishOptions::in_flight`] messages whose outcome is unknown.
pub async fn publish(
    client: &Client,
    messages: impl IntoIterator<Item = Result<Message>>,
    options: &PublishOptions,
) -> Result<PublishReport> {
    let window = options.in_flight.max(1);
    let jetstream = ContextBuilder::new()
        // One more than ever wait: the library blocks at its own limit, and the acknowledgements would not be read.
        .max_ack_inflight(window + 1)
        .timeout(ACK_TIMEOUT)
        .build(client.clone());
    let mut run = PublishRun {
        jetstream,
        report: PublishReport::default(),
        sequences: RoaringTreemap::new(),
        after_sequence: options.after_sequence,
    };
    let started = Instant::now();
    let (mut pace, mut progress) = (PublishRate::new(options.rate), Instant::now());
    let mut in_flight = FuturesOrdered::new();
    for message in messages {
        let message = message.context(|| {
            format!(
                "publishing, after {} messages",
                run.report.total.published + run.report.total.duplicates
            )
        })?;
        if options.shutdown.is_cancelled() {
            break;
        }
        while in_flight.len() >= window {
            if let Some((message, ack)) = in_flight.next().await {
                run.settle(message, ack).await?;
            }
        }
        pace.wait().await;
        let sent = run.send(&message).await;
        in_flight.push_back(async move {
            let ack = match sent {
                Ok(ack) => ack.await,
                Err(e) => Err(e),
            };
            (message, ack)
        });
        if progress.elapsed() > LOG_INTERVAL {
            progress = Instant::now();
            tracing::info!(
                published = run.report.total.published,
                duplicates = run.report.total.duplicates,
                "publishing"
            );
        }
    }
    while let Some((message, ack)) = in_flight.next().await {
        run.settle(message, ack).await?;
    }
    run.report.seconds = started.elapsed().as_secs_f64();
    let total = run.report.total;
    tracing::info!(
        published = total.published, duplicates = total.duplicates, bytes = total.bytes,
        sent_again = run.report.sent_again, duration = ?started.elapsed(), "published"
    );
    if options.shutdown.is_cancelled() {
        return Err(Error::new(Cause::Interrupted).context(format!(
            "publishing, after {} messages",
            total.published + total.duplicates
        )));
    }
    Ok(run.report)
}

struct PublishRun {
    jetstream: Context,
    report: PublishReport,
    /// The sequences acknowledged as stored.
    sequences: RoaringTreemap,
    after_sequence: u64,
}

impl PublishRun {
    async fn send(
        &self,
        message: &Message,
    ) -> Result<async_nats::jetstream::context::PublishAckFuture, PublishError> {
        let publish = PublishMessage::build()
            .payload(message.payload.clone())
            .message_id(&message.msg_id);
        self.jetstream
            .send_publish(message.subject.clone(), publish)
            .await
    }

    /// Counts the outcome of a message; sends it again if that is unknown.
    async fn settle(
        &mut self,
        message: Message,
        ack: Result<PublishAck, PublishError>,
    ) -> Result<()> {
        let (ack, is_first) = match ack {
            Ok(ack) => (ack, true),
            Err(e) if passes(&e) => {
                // One line for an outage, not one for each message that was in flight.
                if self.report.sent_again == 0 {
                    tracing::warn!(msg_id = %message.msg_id, error = %e, "no acknowledgement, sending again");
                }
                self.report.sent_again += 1;
                (self.send_again(&message).await?, false)
            }
            Err(e) => return Err(refused(&message, &e)),
        };
        let is_new = ack.sequence > self.after_sequence && !self.sequences.contains(ack.sequence);
        // A repeat of a message that we sent ourselves and whose acknowledgement was lost is that message.
        let is_stored = !ack.duplicate || (!is_first && is_new);
        if is_stored {
            self.sequences.insert(ack.sequence);
        }
        self.report.count(&message, is_stored, ack.sequence);
        Ok(())
    }

    async fn send_again(&self, message: &Message) -> Result<PublishAck> {
        retry("publish", Backoff::INTERACTIVE, async || {
            let ack = match self.send(message).await {
                Ok(ack) => ack.await,
                Err(e) => Err(e),
            };
            ack.map_err(|e| refused(message, &e))
        })
        .await
    }
}

/// Whether sending again can help.
fn passes(error: &PublishError) -> bool {
    !matches!(
        error.kind(),
        PublishErrorKind::MaxPayloadExceeded
            | PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence
    )
}

fn refused(message: &Message, error: &PublishError) -> Error {
    let text = match std::error::Error::source(error) {
        Some(source) => format!("{}: {source}", error.kind()),
        None => error.kind().to_string(),
    };
    let what = || format!("publishing {} to {}", message.msg_id, message.subject);
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Error::malformed(format!(
            "{text}: the message has {} bytes",
            message.payload.len()
        ))
        .with_hint("the server's max_payload says how many it takes"),
        PublishErrorKind::StreamNotFound => Error::nats(text).with_hint(
            "no JetStream stream takes this subject: see nats.stream and the stream's subjects",
        ),
        _ => Error::nats(text),
    }
    .context(what())
}

/// Keeps to a rate: message n goes out no earlier than n / rate after the first.
struct PublishRate {
    rate: Option<NonZeroU64>,
    started: Instant,
    sent: u64,
}

impl PublishRate {
    fn new(rate: Option<NonZeroU64>) -> Self {
        Self {
            rate,
            started: Instant::now(),
            sent: 0,
        }
    }

    async fn wait(&mut self) {
        if let Some(rate) = self.rate {
            let due = due(rate, self.sent);
            let ahead = due.saturating_sub(self.started.elapsed());
            // Timers are no finer than a millisecond: sleeping for less would only slow down.
            if ahead > Duration::from_millis(2) {
                tokio::time::sleep(ahead).await;
            }
            self.sent += 1;
        }
    }
}

/// When message `sent` is due, from the first one on.
fn due(rate: NonZeroU64, sent: u64) -> Duration {
    let nanos = u128::from(sent) * 1_000_000_000 / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_when_a_message_is_due() {
        let rate = |n| NonZeroU64::new(n).unwrap();
        assert_eq!(due(rate(1000), 0), Duration::ZERO);
        assert_eq!(due(rate(1000), 1500), Duration::from_millis(1500));
        assert_eq!(due(rate(3), 1), Duration::from_nanos(333_333_333));
    }

    #[test]
    fn a_report_accounts_for_every_message_and_names_the_repeats() {
        let message = |subject: &str| Message {
            subject: subject.into(),
            msg_id: format!("id of {subject}"),
            payload: "{}".into(),
        };
        let mut report = PublishReport::default();
        report.count(&message("trade.x"), true, 1);
        report.count(&message("trade.y"), false, 1);
        report.count(&message("orderbook.x"), true, 2);
        assert_eq!(
            report.total,
            PublishedCount {
                published: 2,
                duplicates: 1,
                bytes: 4
            }
        );
        assert_eq!(
            report.by_data_type["trade"],
            PublishedCount {
                published: 1,
                duplicates: 1,
                bytes: 2
            }
        );
        assert_eq!(report.duplicates_named[0].msg_id, "id of trade.y");
        assert_eq!(report.duplicates_named[0].first_sequence, 1);
    }
}
