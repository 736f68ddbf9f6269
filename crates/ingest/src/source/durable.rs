//! The durable consumer of a dataset: opened, checked, set back; its metadata remembers the epochs of the stream.

use std::collections::{BTreeSet, HashMap};

use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, ErrorCode};

use crate::session::epoch::EpochHistory;
use crate::source::consumers::{
    check, consumer_name, create, disjoint, filters, make_anew, of_dataset,
};
use crate::source::stream::AckMode;
use crate::writer::gate_name::Shard;
use mpsync_config::IngestConfig;
use mpsync_core::dataset::{Dataset, Epoch};
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_nats::covers;

/// Metadata key of the durable consumer: when its stream was created, nanoseconds since 1970.
const CREATED_KEY: &str = "mpsync-stream-created";
/// Metadata key of the durable consumer: the stream's [`EpochHistory`].
const EPOCHS_KEY: &str = "mpsync-epochs";

/// A dataset's durable consumer, made if it is absent, checked if it is there.
pub(crate) struct Durable {
    pub(crate) consumer: PullConsumer,
    mode: AckMode,
}

/// Where a consumer stands at the beginning of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsumerPosition {
    /// All messages at or below this stream sequence are acknowledged.
    pub(crate) floor: u64,
    /// The number of the last delivery; the next one bears one more.
    pub(crate) delivery: u64,
    /// Whether anything was ever delivered.
    pub(crate) fresh: bool,
}

impl Durable {
    /// Opens or makes it. `max_ack_pending`: how many messages may be on the way at least.
    ///
    /// Refused where another consumer of the dataset takes some of the same subjects: both would land them.
    pub(crate) async fn open(
        stream: &Stream,
        dataset: &Dataset,
        shard: Option<&str>,
        config: &IngestConfig,
        mode: AckMode,
        max_ack_pending: i64,
    ) -> Result<Self> {
        let name = consumer_name(dataset, shard);
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
    pub(crate) async fn of_dataset(stream: &Stream, dataset: &Dataset) -> Result<Vec<Self>> {
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
    pub(crate) async fn shards(stream: &Stream, dataset: &Dataset) -> Result<BTreeSet<Shard>> {
        let all = of_dataset(stream, dataset).await?;
        Ok(all.into_iter().map(|(shard, _)| shard).collect())
    }

    /// Whether it takes messages of a subject; of an empty one nobody knows.
    pub(crate) fn takes(&self, subject: &str) -> bool {
        let filters = filters(&self.consumer.cached_info().config);
        subject.is_empty()
            || filters.is_empty()
            || filters.iter().any(|filter| covers(filter, subject))
    }

    /// How it acknowledges.
    pub(crate) fn mode(&self) -> AckMode {
        self.mode
    }

    /// The history of epochs that its metadata remembers, where that is of this very stream.
    pub(crate) fn remembered(&self, created: Epoch) -> Result<Option<EpochHistory>> {
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
    pub(crate) async fn remember(
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
    pub(crate) async fn consumer_position(&mut self) -> Result<ConsumerPosition> {
        self.refresh().await.context(|| "asking for the consumer")?;
        Ok(consumer_position(self.consumer.cached_info()))
    }

    /// Sets it back to its floor, or, where the stream was rewound, to `from`, so that everything above is delivered again.
    ///
    /// Where each message is acknowledged by itself nothing is set back: what was not acknowledged comes again by itself
    /// when `ack_wait` has passed.
    pub(crate) async fn set_back(&mut self, from: Option<u64>) -> Result<ConsumerPosition> {
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
