//! Messages of several kinds, published throughout, each until its acknowledgement has come.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, message::PublishMessage};
use bytes::Bytes;
use mpsync_generate::{DataKind, Generator, GeneratorOptions, Message};

use crate::support::nats::{DUPLICATE_WINDOW, LOST_ANSWER};

/// The datasets that the messages are of.
pub(super) const DATASETS: &str = "trades,orderbooks,liquidations";
/// Messages that are published before an answer is waited for.
const GROUP: usize = 40;
/// One message in so many is damaged.
const DAMAGED_EVERY: usize = 97;

/// Returns a hash by which a message is compared with the published one.
pub(super) fn fingerprint(subject: &str, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (subject, payload).hash(&mut hasher);
    hasher.finish()
}

/// The acknowledged messages by their sequence.
pub(super) type Acknowledged = BTreeMap<u64, u64>;

/// Publishes in the background until it is stopped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    publishing: tokio::task::JoinHandle<Acknowledged>,
}

impl Load {
    /// Starts it; `pause` lies between two groups.
    pub(super) fn start(mut jetstream: jetstream::Context, seed: u64, pause: Duration) -> Self {
        jetstream.set_timeout(LOST_ANSWER);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let publishing = tokio::spawn(async move {
            let mut acknowledged = Acknowledged::new();
            let mut messages = messages(seed);
            while !stopping.load(Ordering::Relaxed) {
                let group: Vec<Message> = messages.by_ref().take(GROUP).collect();
                publish_until_acknowledged(&jetstream, &group, &mut acknowledged).await;
                tokio::time::sleep(pause).await;
            }
            acknowledged
        });
        Self { stop, publishing }
    }

    /// Lets the last group through; gives what was acknowledged.
    pub(super) async fn stop(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        self.publishing.await.expect("the publisher goes on")
    }
}

/// Trades, books and liquidations as a market sends them, some of them damaged.
fn messages(seed: u64) -> impl Iterator<Item = Message> {
    let options = GeneratorOptions {
        seed,
        count: 10_000_000,
        kinds: vec![DataKind::Trade, DataKind::Orderbook, DataKind::Liquidation],
        depth: 5,
        ..GeneratorOptions::default()
    };
    let generator = Generator::new(options).expect("good options");
    (1_usize..).zip(generator).map(|(n, mut message)| {
        if n.is_multiple_of(DAMAGED_EVERY) {
            let end = message.payload.len() - 1 - n % 50;
            message.payload = message.payload.slice(..end);
        }
        message
    })
}

/// Whether a message can be a row: what was damaged lost its end.
pub(super) fn is_whole(payload: &Bytes) -> bool {
    payload.ends_with(b"}") && serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok()
}

/// Publishes a group again and again, each message under its id, so that the stream refuses it where it has it.
async fn publish_until_acknowledged(
    jetstream: &jetstream::Context,
    group: &[Message],
    acknowledged: &mut Acknowledged,
) {
    let begun = Instant::now();
    loop {
        let answers = publish(jetstream, group).await;
        let complete = answers.len() == group.len();
        for (message, seq) in group.iter().zip(answers) {
            let print = fingerprint(&message.subject, &message.payload);
            let known = acknowledged.insert(seq, print);
            assert!(
                known.is_none_or(|known| known == print),
                "two messages were given sequence {seq}"
            );
        }
        if complete {
            return;
        }
        assert!(
            begun.elapsed() < DUPLICATE_WINDOW,
            "the stream takes no messages"
        );
    }
}

/// The sequences of those messages at the group's beginning that were acknowledged.
async fn publish(jetstream: &jetstream::Context, group: &[Message]) -> Vec<u64> {
    let mut answers = Vec::with_capacity(group.len());
    for message in group {
        let publish = PublishMessage::build()
            .payload(message.payload.clone())
            .message_id(&message.msg_id);
        answers.push(
            jetstream
                .send_publish(message.subject.clone(), publish)
                .await,
        );
    }
    let mut sequences = Vec::with_capacity(group.len());
    for answer in answers {
        // Each that fails takes as long as an answer may: one is enough.
        let Ok(answer) = answer else { break };
        let Ok(answer) = answer.await else { break };
        sequences.push(answer.sequence);
    }
    sequences
}
