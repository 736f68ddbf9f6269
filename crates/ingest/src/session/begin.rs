//! How a life begins: older doors are shut first, and only then is asked what is there.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use roaring::RoaringTreemap;

use crate::decode::{DecodeCounters, Decoder};
use crate::session::context::DatasetIngest;
use crate::session::end::SessionEnd;
use crate::session::epoch::EpochHistory;
use crate::session::recovery::{HeldPositions, Recovery};
use crate::session::state::Session;
use crate::source::delivery_tracker::DeliveryTracker;
use crate::source::durable::{ConsumerPosition, Durable};
use crate::source::message_source::MessageSource;
use crate::source::stream;
use crate::writer::insert_gate::InsertGate;
use crate::writer::pending_batch::PendingBatch;
use crate::writer::sink::Sink;
use mpsync_clickhouse::check_columns;
use mpsync_core::error::{Error, Result};

/// What a life finds out before it begins to ingest.
struct Recovered {
    pub(crate) history: EpochHistory,
    pub(crate) held: RoaringTreemap,
    pub(crate) consumer_position: ConsumerPosition,
    /// All messages of the dataset up to here are known to have been settled.
    pub(crate) contiguous_up_to: u64,
}

/// Nanoseconds since 1970.
fn now_nanos() -> Result<u64> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| u64::try_from(d.as_nanos()).ok())
        .ok_or_else(|| Error::config("this machine's clock is not between 1970 and 2554"))
}

impl DatasetIngest {
    /// Begins a life: shuts older doors first, and only then asks what is there.
    pub(crate) async fn begin(&self, last_token: &mut Option<u64>) -> Result<Session, SessionEnd> {
        let began = Instant::now();
        let connects = self.connects();
        let live = self.tier.describe_existing(&self.dataset.table).await?;
        check_columns(&self.dataset, &live)?;
        let decoder = Decoder::new(&self.dataset, &live)?;
        let mut durable = Durable::open(
            &self.stream,
            &self.dataset,
            self.shard.as_deref(),
            &self.config.ingest,
            self.mode,
            self.max_ack_pending(),
        )
        .await?;
        let nanos = now_nanos()?;
        let live_shards = Durable::shards(&self.stream, &self.dataset).await?;
        let gate = InsertGate::open(
            &self.tier,
            &self.dataset,
            self.shard.as_deref(),
            live_shards,
            nanos / 1_000_000,
            last_token,
        )
        .await?;
        let held_positions = HeldPositions::new(&self.tier, &self.dataset)?;
        let Recovered {
            history,
            held,
            consumer_position,
            contiguous_up_to,
        } = self.recover(&mut durable, &held_positions, nanos).await?;
        let facts = stream::facts(&self.stream).await?;
        if !consumer_position.fresh {
            self.report_gap(contiguous_up_to, &facts);
        }
        let source = MessageSource::open(&self.client, &durable.consumer).await?;
        tracing::info!(
            dataset = %self.dataset.name, session = gate.fencing_token(), epoch = history.current().0, floor = consumer_position.floor,
            held = held.len(), last_seq = facts.last_seq, duration = ?began.elapsed(), "ingesting"
        );
        let mode = durable.mode();
        Ok(Session {
            sink: Arc::new(Sink {
                tier: self.tier.clone(),
                dataset: self.dataset.clone(),
                live,
                gate,
                held_positions,
                dead_letters: self.dead_letters.clone(),
                stream: self.stream.clone(),
                client: self.client.clone(),
                stats: self.stats.clone(),
            }),
            pending: PendingBatch::new(decoder, mode, consumer_position.floor),
            order: DeliveryTracker::new(mode, &consumer_position),
            durable,
            source,
            history,
            held,
            connects,
            contiguous_up_to,
            delivered: consumer_position.delivery,
            asked: 1,
            counted: DecodeCounters::default(),
        })
    }

    /// Finds out which epoch counts and which positions are held, and sets the consumer back.
    async fn recover(
        &self,
        durable: &mut Durable,
        held_positions: &HeldPositions,
        now_nanos: u64,
    ) -> Result<Recovered> {
        let facts = stream::facts(&self.stream).await?;
        let before = durable.consumer_position().await?;
        let remembered = durable.remembered(facts.created)?;
        let known = remembered.clone();
        let recovery = Recovery {
            held_positions,
            stream: &self.stream,
            facts: &facts,
        };
        let found = recovery.epochs(remembered, before.floor, now_nanos).await?;
        let history = found.history;
        // Where the stream was rewound below the floor, what was issued again lies below it.
        let back_to = found.rewound_from.filter(|from| *from <= before.floor);
        if let Some(from) = found.rewound_from {
            self.stats.rewinds.add(1);
            tracing::warn!(
                dataset = %self.dataset.name, from, epoch = history.current().0, last_seq = facts.last_seq,
                "the stream was rewound: it issues sequences again, which count as a new epoch from here on"
            );
        }
        if known.as_ref() != Some(&history) {
            durable
                .remember(&self.stream, facts.created, &history)
                .await?;
        }
        let consumer_position = durable.set_back(back_to).await?;
        let floor = consumer_position.floor.min(before.floor);
        let held = recovery.held_above(&history, floor).await?;
        // A purge takes the floor along, and limits do so after a while; then only the rows say how far ingest had come.
        let contiguous_up_to = if facts.first_seq > before.floor + 1 {
            before.floor
        } else {
            found.highest.unwrap_or(before.floor).min(before.floor)
        };
        Ok(Recovered {
            history,
            held,
            consumer_position,
            contiguous_up_to,
        })
    }
}
