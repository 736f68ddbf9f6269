//! The stream of the benchmark: filling it, and fetching it without doing anything with the messages.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use mpsync_core::dataset::builtin;
use mpsync_core::error::{Error, Result};

use crate::servers::cpu_secs;

/// Messages that are published before their acknowledgements are looked at.
const IN_FLIGHT: usize = 4000;
/// Messages of a pull request at most, and between two acknowledgements where one is for all.
const BATCH: usize = 10_000;
/// Bytes of a pull request, about: larger ones overrun what lies between server and client.
const BATCH_BYTES: usize = 8 << 20;
/// The name of the stream, mpsync's default.
pub(crate) const STREAM: &str = "MARKET_DATA";

/// The time of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Took {
    pub(crate) secs: f64,
    /// Of the process that was measured.
    pub(crate) cpu_secs: f64,
}

/// Makes the stream anew and fills it with `count` messages, the given ones again and again.
pub(crate) async fn fill(
    jetstream: &jetstream::Context,
    subject: &str,
    messages: &[String],
    count: u64,
) -> Result<()> {
    // It may not be there.
    let _ = jetstream.delete_stream(STREAM).await;
    let config = stream::Config {
        name: STREAM.into(),
        subjects: builtin().iter().flat_map(|d| d.subjects.clone()).collect(),
        ..stream::Config::default()
    };
    jetstream.create_stream(config).await.map_err(Error::nats)?;
    let mut waiting = Vec::with_capacity(IN_FLIGHT);
    for (n, message) in (1..=count).zip(messages.iter().cycle()) {
        let payload = bytes::Bytes::copy_from_slice(message.as_bytes());
        let answer = jetstream.publish(subject.to_owned(), payload).await;
        waiting.push(answer.map_err(Error::nats)?);
        if waiting.len() == IN_FLIGHT || n == count {
            for answer in waiting.drain(..) {
                answer.await.map_err(Error::nats)?;
            }
        }
    }
    Ok(())
}

/// Fetches everything, acknowledging each message or one in a batch; `filter` as mpsync's consumers have one, or empty.
pub(crate) async fn fetch(
    jetstream: &jetstream::Context,
    policy: AckPolicy,
    filter: &str,
    count: u64,
    message_bytes: usize,
) -> Result<Took> {
    const NAME: &str = "raw";
    let batch = BATCH.min(BATCH_BYTES / message_bytes.max(1));
    let stream = jetstream.get_stream(STREAM).await.map_err(Error::nats)?;
    let _ = stream.delete_consumer(NAME).await;
    let config = pull::Config {
        durable_name: Some(NAME.into()),
        ack_policy: policy,
        filter_subject: filter.to_owned(),
        max_ack_pending: 1_000_000,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(Error::nats)?;
    let (began, cpu) = (Instant::now(), cpu_secs("self"));
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(batch)
        .expires(Duration::from_secs(5))
        .messages()
        .await
        .map_err(Error::nats)?;
    for n in 1..=count {
        let Some(message) = messages.next().await else {
            return Err(Error::nats("the fetch ended early"));
        };
        let message = message.map_err(Error::nats)?;
        if n == count {
            message.double_ack().await.map_err(Error::nats)?;
        } else if policy == AckPolicy::Explicit || n.is_multiple_of(batch as u64) {
            message.ack().await.map_err(Error::nats)?;
        }
    }
    Ok(Took {
        secs: began.elapsed().as_secs_f64(),
        cpu_secs: cpu_secs("self") - cpu,
    })
}
