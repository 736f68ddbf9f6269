//! The context of a dataset's ingest, which all of its sessions share.

use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream::stream::Stream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::queue::DeadLetterQueue;
use crate::session::budget::Budget;
use crate::session::limits::CurrentLimits;
use crate::source::message_source::AHEAD_MESSAGES;
use crate::source::stream::{self, AckMode};
use crate::stats::DatasetStats;
use crate::writer::gate_name::Shard;
use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::Dataset;

/// The connections, limits and counters that all sessions of a dataset share.
pub(crate) struct DatasetIngest {
    pub(crate) config: Arc<Config>,
    /// With those of its subjects that this daemon takes.
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) shard: Shard,
    pub(crate) limits: CurrentLimits,
    pub(crate) tier: Tier,
    pub(crate) client: Client,
    pub(crate) stream: Stream,
    pub(crate) mode: AckMode,
    pub(crate) dead_letters: DeadLetterQueue,
    pub(crate) budget: Budget,
    pub(crate) stats: Arc<DatasetStats>,
    pub(crate) shutdown: CancellationToken,
    /// End when all messages up to this sequence are settled.
    pub(crate) drain_to: Option<u64>,
}

impl DatasetIngest {
    /// Says what the stream dropped before it was delivered: everything between `clear_to` and its first message.
    pub(crate) fn report_gap(&self, contiguous_up_to: u64, facts: &stream::StreamFacts) {
        let first_seq = facts.first_seq;
        let lost = first_seq.saturating_sub(contiguous_up_to + 1);
        if lost > 0 {
            self.stats
                .gap(lost, facts.first_at.unwrap_or_else(Timestamp::now));
            tracing::error!(
                dataset = %self.dataset.name, from = contiguous_up_to + 1, to = first_seq - 1, sequences = lost,
                "the stream dropped messages before they were known to be ingested: this dataset's among these sequences are lost"
            );
        }
    }

    /// How often the client has connected.
    pub(crate) fn connects(&self) -> u64 {
        self.client
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What may be unacknowledged at once: a batch in the hand, one on its way, what is fetched ahead, and as much again.
    pub(crate) fn max_ack_pending(&self) -> i64 {
        let in_flight = 2 * (self.limits.now().rows + AHEAD_MESSAGES);
        i64::try_from(2 * in_flight).unwrap_or(i64::MAX)
    }
}
