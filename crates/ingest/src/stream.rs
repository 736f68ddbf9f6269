//! The stream and the durable consumers: what they are, and what they must be.

use std::collections::{BTreeSet, HashMap};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{self, ErrorCode};
use jiff::Timestamp;

use super::consumers::{check, create, disjoint, filters, make_anew, of_dataset};
use super::epoch::EpochHistory;
use super::gate_name::Shard;
use mpsync_config::IngestConfig;
use mpsync_core::dataset::{Dataset, Epoch};
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_nats::covers;

/// Metadata key of the durable consumer: when its stream was created, nanoseconds since 1970.
const CREATED_KEY: &str = "mpsync-stream-created";
/// Metadata key of the durable consumer: the stream's [`EpochHistory`].
const EPOCHS_KEY: &str = "mpsync-epochs";

/// How positions are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckMode {
    /// One acknowledgement for all that lie at or below it. Safe only where the consumer can be set back to its floor.
    All,
    /// One for each message.
    Each,
}

impl AckMode {
    /// What this server and this stream allow.
    ///
    /// After a crash a server delivers new messages first and the old unacknowledged ones only when `ack_wait` has passed,
    /// so that one acknowledgement for all would lose the old ones; from 2.14 on a consumer can be set back.
    pub(super) fn of(client: &async_nats::Client, stream: &Stream) -> Self {
        let retention = stream.cached_info().config.retention;
        let version = client.server_info().version;
        if client.is_server_compatible(2, 14, 0) && retention == RetentionPolicy::Limits {
            return Self::All;
        }
        tracing::info!(
            server = %version, ?retention,
            "acknowledging each message by itself, which is slower: one for a batch needs nats-server 2.14 and limits retention"
        );
        Self::Each
    }

    fn policy(self) -> AckPolicy {
        match self {
            Self::All => AckPolicy::All,
            Self::Each => AckPolicy::Explicit,
        }
    }
}

/// What of a stream a life needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamFacts {
    /// The epoch of its creation.
    pub(super) created: Epoch,
    /// The lowest sequence that it still holds; one above the last where it is empty.
    pub(super) first_seq: u64,
    /// When the message of that sequence was stored; `None` where it is empty.
    pub(super) first_at: Option<Timestamp>,
    /// The last sequence that it issued.
    pub(super) last_seq: u64,
}

/// Asks the stream.
pub(super) async fn facts(stream: &Stream) -> Result<StreamFacts> {
    let info = stream
        .get_info()
        .await
        .map_err(Error::nats)
        .context(|| format!("asking for stream {}", stream.cached_info().config.name))?;
    let nanos = info.created.unix_timestamp_nanos();
    Ok(StreamFacts {
        created: Epoch(u64::try_from(nanos).map_err(|_| {
            Error::nats(format!("the stream says that it was created at {nanos} ns"))
        })?),
        first_seq: info.state.first_sequence,
        // An empty stream says the year 1.
        first_at: Timestamp::from_nanosecond(info.state.first_timestamp.unix_timestamp_nanos())
            .ok()
            .filter(|at| *at > Timestamp::UNIX_EPOCH),
        last_seq: info.state.last_sequence,
    })
}

/// When the message at a sequence was stored, nanoseconds since 1970, or `None` where the stream has it no more.
pub(super) async fn message_nanos(stream: &Stream, seq: u64) -> Result<Option<i64>> {
    match stream.get_raw_message(seq).await {
        Ok(message) => i64::try_from(message.time.unix_timestamp_nanos())
            .map(Some)
            .map_err(|_| Error::nats(format!("message {seq} has a time outside of all years"))),
        Err(e) if is_no_message(&e.kind()) => Ok(None),
        Err(e) => Err(Error::nats(e).context(format!("asking for message {seq}"))),
    }
}

/// Whether the stream answered that it does not have the message.
pub(super) fn is_no_message(kind: &jetstream::stream::RawMessageErrorKind) -> bool {
    matches!(kind, jetstream::stream::RawMessageErrorKind::NoMessageFound)
        || matches!(kind, jetstream::stream::RawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::NO_MESSAGE_FOUND)
}

/// A dataset's durable consumer, made if it is absent, checked if it is there.
pub(super) struct Durable {
    pub(super) consumer: PullConsumer,
    mode: AckMode,
}

/// Where a consumer stands at the beginning of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConsumerPosition {
    /// All messages at or below this stream sequence are acknowledged.
    pub(super) floor: u64,
    /// The number of the last delivery; the next one bears one more.
    pub(super) delivery: u64,
    /// Whether anything was ever delivered.
    pub(super) fresh: bool,
}

impl Durable {
    /// The name of the durable of a dataset, or of a shard of it.
    pub(super) fn name(dataset: &Dataset, shard: Option<&str>) -> String {
        match shard {
            Some(shard) => format!("mpsync-{}-{shard}", dataset.name),
            None => format!("mpsync-{}", dataset.name),
        }
    }

    /// Opens or makes it. `max_ack_pending`: how many messages may be on the way at least.
    ///
    /// Refused where another consumer of the dataset takes some of the same subjects: both would land them.
    pub(super) async fn open(
        stream: &Stream,
        dataset: &Dataset,
        shard: Option<&str>,
        config: &IngestConfig,
        mode: AckMode,
        max_ack_pending: i64,
    ) -> Result<Self> {
        let name = Self::name(dataset, shard);
        let context = || format!("opening consumer {name}");
        disjoint(&name, dataset, &of_dataset(stream, dataset).await?).context(context)?;
        let wanted = pull::Config {
            durable_name: Some(name.clone()),
            description: Some(format!("mpsync: {} to hot", dataset.name)),
            deliver_policy: DeliverPolicy::All,
            ack_policy: mode.policy(),
            ack_wait: config.ack_wait,
            max_deliver: -1,
            filter_subjects: dataset.subjects.clone(),
            max_ack_pending,
            ..pull::Config::default()
        };
        let found = match stream.consumer_info(&name).await {
            Ok(info) => Some(info),
            Err(e) if is_no_consumer(&e) => None,
            Err(e) => return Err(Error::nats(e).context(context())),
        };
        match found {
            Some(info) if info.config.ack_policy != wanted.ack_policy => {
                check(&info.config, &wanted, stream).context(context)?;
                make_anew(stream, &info, wanted).await.context(context)?;
            }
            Some(info) => check(&info.config, &wanted, stream).context(context)?,
            None => {
                create(stream, wanted).await.context(context)?;
                // Two that began at once see each other now, or one of them does.
                let others = of_dataset(stream, dataset).await?;
                if let Err(e) = disjoint(&name, dataset, &others) {
                    stream.delete_consumer(&name).await.map_err(Error::nats)?;
                    return Err(e.context(context()));
                }
            }
        }
        let consumer = stream
            .get_consumer::<pull::Config>(&name)
            .await
            .map_err(Error::nats)
            .context(context)?;
        Ok(Self { consumer, mode })
    }

    /// All durables of a dataset, as they are; nothing is made and nothing is checked.
    pub(super) async fn of_dataset(stream: &Stream, dataset: &Dataset) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (_, info) in of_dataset(stream, dataset).await? {
            let consumer = stream
                .get_consumer::<pull::Config>(&info.name)
                .await
                .map_err(Error::nats)
                .context(|| format!("asking for consumer {}", info.name))?;
            // Nothing is acknowledged or set back: the mode does not matter.
            all.push(Self {
                consumer,
                mode: AckMode::Each,
            });
        }
        Ok(all)
    }

    /// Which shards of a dataset have a consumer.
    pub(super) async fn shards(stream: &Stream, dataset: &Dataset) -> Result<BTreeSet<Shard>> {
        let all = of_dataset(stream, dataset).await?;
        Ok(all.into_iter().map(|(shard, _)| shard).collect())
    }

    /// Whether it takes messages of a subject; of an empty one nobody knows.
    pub(super) fn takes(&self, subject: &str) -> bool {
        let filters = filters(&self.consumer.cached_info().config);
        subject.is_empty()
            || filters.is_empty()
            || filters.iter().any(|filter| covers(filter, subject))
    }

    /// How it acknowledges.
    pub(super) fn mode(&self) -> AckMode {
        self.mode
    }

    /// The history of epochs that its metadata remembers, where that is of this very stream.
    pub(super) fn remembered(&self, created: Epoch) -> Result<Option<EpochHistory>> {
        let metadata = &self.consumer.cached_info().config.metadata;
        if metadata.get(CREATED_KEY) != Some(&created.0.to_string()) {
            return Ok(None);
        }
        metadata
            .get(EPOCHS_KEY)
            .map(|text| EpochHistory::parse(text))
            .transpose()
            .context(|| {
                format!(
                    "reading `{EPOCHS_KEY}` of consumer {}",
                    self.consumer.cached_info().name
                )
            })
    }

    /// Keeps a history of epochs in its metadata, before any row of it is written.
    pub(super) async fn remember(
        &mut self,
        stream: &Stream,
        created: Epoch,
        history: &EpochHistory,
    ) -> Result<()> {
        let context = || format!("keeping the stream's epochs in its consumer ({history})");
        let mut config = self.consumer.cached_info().config.clone();
        let mut metadata: HashMap<String, String> = config.metadata;
        metadata.retain(|key, _| !key.starts_with("_nats."));
        metadata.insert(CREATED_KEY.into(), created.0.to_string());
        metadata.insert(EPOCHS_KEY.into(), history.to_string());
        config.metadata = metadata;
        stream
            .update_consumer(config)
            .await
            .map_err(Error::nats)
            .context(context)?;
        self.refresh().await.context(context)
    }

    async fn refresh(&mut self) -> Result<()> {
        self.consumer.info().await.map_err(Error::nats)?;
        Ok(())
    }

    /// Where it stands, without changing anything.
    pub(super) async fn consumer_position(&mut self) -> Result<ConsumerPosition> {
        self.refresh().await.context(|| "asking for the consumer")?;
        Ok(consumer_position(self.consumer.cached_info()))
    }

    /// Sets it back to its floor, or, where the stream was rewound, to `from`, so that everything above is delivered again.
    ///
    /// Where each message is acknowledged by itself nothing is set back: what was not acknowledged comes again by itself
    /// when `ack_wait` has passed.
    pub(super) async fn set_back(&mut self, from: Option<u64>) -> Result<ConsumerPosition> {
        match self.mode {
            AckMode::All => {
                self.consumer
                    .reset(from)
                    .await
                    .map_err(Error::nats)
                    .context(|| "setting the consumer back to its floor")?;
                Ok(consumer_position(self.consumer.cached_info()))
            }
            AckMode::Each => {
                let consumer_position = self.consumer_position().await?;
                match from {
                    Some(from) if consumer_position.floor >= from => Err(Error::schema(format!(
                        "the stream was rewound to sequence {from}, below the consumer's floor {}, and this server cannot set \
                         a consumer back",
                        consumer_position.floor
                    ))
                    .with_hint("delete the consumer: a new one begins at the stream's first message, and rows that are held are skipped")),
                    _ => Ok(consumer_position),
                }
            }
        }
    }
}

fn consumer_position(info: &jetstream::consumer::Info) -> ConsumerPosition {
    ConsumerPosition {
        floor: info.ack_floor.stream_sequence,
        delivery: info.delivered.consumer_sequence,
        fresh: info.delivered.consumer_sequence == 0 && info.ack_floor.stream_sequence == 0,
    }
}

fn is_no_consumer(e: &jetstream::context::ConsumerInfoError) -> bool {
    matches!(
        e.kind(),
        jetstream::context::ConsumerInfoErrorKind::NotFound
    ) || matches!(e.kind(), jetstream::context::ConsumerInfoErrorKind::JetStream(e)
            if e.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}
