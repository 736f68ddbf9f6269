//! The state of a running session.

use std::sync::Arc;

use roaring::RoaringTreemap;

use crate::decode::DecodeCounters;
use crate::session::epoch::EpochHistory;
use crate::source::delivery_tracker::DeliveryTracker;
use crate::source::durable::Durable;
use crate::source::message_source::MessageSource;
use crate::writer::pending_batch::PendingBatch;
use crate::writer::sink::Sink;

/// A session that has begun and recovered.
pub(crate) struct Session {
    pub(crate) durable: Durable,
    pub(crate) sink: Arc<Sink>,
    pub(crate) source: MessageSource,
    pub(crate) pending: PendingBatch,
    pub(crate) history: EpochHistory,
    /// Sequences above the floor whose rows landed in an earlier session.
    pub(crate) held: RoaringTreemap,
    pub(crate) order: DeliveryTracker,
    /// How often the client had connected when the session began.
    pub(crate) connects: u64,
    /// All messages of the dataset up to this sequence were delivered.
    pub(crate) contiguous_up_to: u64,
    /// The number of deliveries that the server reported last.
    pub(crate) delivered: u64,
    /// How often the server was asked.
    pub(crate) asked: u32,
    /// The decoder's counters at the last count.
    pub(crate) counted: DecodeCounters,
}
