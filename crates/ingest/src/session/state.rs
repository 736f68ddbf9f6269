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

/// A life that has begun: everything that it must know is asked.
pub(crate) struct Session {
    pub(crate) durable: Durable,
    pub(crate) sink: Arc<Sink>,
    pub(crate) source: MessageSource,
    pub(crate) pending: PendingBatch,
    pub(crate) history: EpochHistory,
    /// Sequences above the floor whose rows landed in an earlier life.
    pub(crate) held: RoaringTreemap,
    pub(crate) order: DeliveryTracker,
    /// How often the connection had been made when the life began.
    pub(crate) connects: u64,
    /// All messages of the dataset up to here were delivered.
    pub(crate) contiguous_up_to: u64,
    /// What the server said last that it had delivered.
    pub(crate) delivered: u64,
    /// How often it was asked.
    pub(crate) asked: u32,
    /// What of the decoder's counters is counted already.
    pub(crate) counted: DecodeCounters,
}
