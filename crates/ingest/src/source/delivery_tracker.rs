//! De-duplicates deliveries. Pure.

use roaring::RoaringTreemap;

use crate::session::end::{SessionEnd, Uncertainty};
use crate::source::delivery::Delivery;
use crate::source::durable::ConsumerPosition;
use crate::source::stream::AckMode;

/// How a delivered message is treated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It was not accepted in this session.
    New,
    /// It was accepted and is in flight: its acknowledgement follows.
    InFlight,
    /// It was accepted and is settled: its acknowledgement was lost.
    Settled,
}

/// The messages that were accepted in this session.
#[derive(Debug)]
pub(crate) enum DeliveryTracker {
    /// Deliveries come in order and without a gap, or the session ends: one acknowledgement covers all messages before it,
    /// so that a message delivered to another reader would be acknowledged unseen.
    Strict {
        /// Number of the last delivery.
        delivery: u64,
        /// Sequence of the last message accepted.
        taken: u64,
        /// Sequence of the last message in flight.
        launched: u64,
        /// Sequence of the last message settled.
        settled: u64,
    },
    /// Old messages may come after new ones; each is acknowledged by itself.
    Loose {
        /// Everything at or below it is acknowledged: a delivery below it is a repeat that was in transit.
        floor: u64,
        /// Sequences accepted in this session, above the floor.
        taken: RoaringTreemap,
        /// Those of them in the pending batch.
        pending: RoaringTreemap,
        /// Those of them in flight.
        in_flight: RoaringTreemap,
    },
}

impl DeliveryTracker {
    /// Returns the tracker of a session that begins at this position.
    pub(crate) fn new(mode: AckMode, consumer_position: &ConsumerPosition) -> Self {
        match mode {
            AckMode::All => Self::Strict {
                delivery: consumer_position.delivery,
                taken: consumer_position.floor,
                launched: consumer_position.floor,
                settled: consumer_position.floor,
            },
            AckMode::Each => Self::Loose {
                floor: consumer_position.floor,
                taken: RoaringTreemap::new(),
                pending: RoaringTreemap::new(),
                in_flight: RoaringTreemap::new(),
            },
        }
    }

    /// Returns how a delivery is treated.
    ///
    /// # Errors
    ///
    /// Ends the session if a delivery is missing, when one acknowledgement covers all.
    pub(crate) fn admit(&mut self, delivery: &Delivery) -> Result<Admission, SessionEnd> {
        match self {
            Self::Strict {
                delivery: last,
                taken,
                settled,
                ..
            } => {
                if delivery.number != *last + 1 {
                    return Err(Uncertainty::MissedDelivery {
                        number: delivery.number,
                        last: *last,
                    }
                    .into());
                }
                *last = delivery.number;
                if delivery.seq > *taken {
                    *taken = delivery.seq;
                    Ok(Admission::New)
                } else if delivery.seq > *settled {
                    Ok(Admission::InFlight)
                } else {
                    Ok(Admission::Settled)
                }
            }
            Self::Loose {
                floor,
                taken,
                pending,
                in_flight,
            } => {
                let seq = delivery.seq;
                if seq <= *floor {
                    Ok(Admission::Settled)
                } else if taken.insert(seq) {
                    pending.insert(seq);
                    Ok(Admission::New)
                } else if pending.contains(seq) || in_flight.contains(seq) {
                    Ok(Admission::InFlight)
                } else {
                    Ok(Admission::Settled)
                }
            }
        }
    }

    /// Records that the pending batch is in flight.
    pub(crate) fn launched(&mut self) {
        match self {
            Self::Strict {
                taken, launched, ..
            } => *launched = *taken,
            Self::Loose {
                pending, in_flight, ..
            } => *in_flight = std::mem::take(pending),
        }
    }

    /// Records that the batch in flight is settled.
    pub(crate) fn landed(&mut self) {
        match self {
            Self::Strict {
                launched, settled, ..
            } => *settled = *launched,
            Self::Loose { in_flight, .. } => in_flight.clear(),
        }
    }

    /// Returns whether the server, which has made `delivered` deliveries, made more than were received.
    pub(crate) fn misses(&self, delivered: u64) -> bool {
        matches!(self, Self::Strict { delivery, .. } if delivered > *delivery)
    }

    /// Forgets the sequences that the server knows to be acknowledged.
    pub(crate) fn forget(&mut self, floor: u64) {
        if let Self::Loose {
            floor: known,
            taken,
            ..
        } = self
        {
            *known = floor.max(*known);
            taken.remove_range(..=*known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(seq: u64, number: u64) -> Delivery {
        Delivery {
            seq,
            number,
            stored_at_nanos: 0,
            pending: 0,
        }
    }

    const POSITION: ConsumerPosition = ConsumerPosition {
        floor: 10,
        delivery: 4,
        fresh: false,
    };

    #[test]
    fn strict_tracker_ends_at_a_missing_delivery() {
        let mut order = DeliveryTracker::new(AckMode::All, &POSITION);
        assert_eq!(order.admit(&delivered(11, 5)).unwrap(), Admission::New);
        assert_eq!(order.admit(&delivered(15, 6)).unwrap(), Admission::New);
        order.launched();
        assert_eq!(order.admit(&delivered(11, 7)).unwrap(), Admission::InFlight);
        order.landed();
        assert_eq!(order.admit(&delivered(15, 8)).unwrap(), Admission::Settled);
        assert_eq!(order.admit(&delivered(16, 9)).unwrap(), Admission::New);
        assert_eq!(
            order.admit(&delivered(16, 10)).unwrap(),
            Admission::InFlight
        );
        assert!(order.misses(11) && !order.misses(10));
        assert!(order.admit(&delivered(17, 12)).is_err());
    }

    #[test]
    fn strict_tracker_ends_if_the_first_delivery_is_missing() {
        let mut order = DeliveryTracker::new(AckMode::All, &POSITION);
        assert!(order.admit(&delivered(12, 6)).is_err());
    }

    #[test]
    fn loose_tracker_accepts_late_messages_and_knows_repeats() {
        let mut order = DeliveryTracker::new(AckMode::Each, &POSITION);
        assert_eq!(order.admit(&delivered(20, 9)).unwrap(), Admission::New);
        assert_eq!(order.admit(&delivered(11, 30)).unwrap(), Admission::New);
        order.launched();
        assert_eq!(order.admit(&delivered(12, 31)).unwrap(), Admission::New);
        assert_eq!(
            order.admit(&delivered(11, 32)).unwrap(),
            Admission::InFlight
        );
        order.landed();
        assert_eq!(order.admit(&delivered(20, 33)).unwrap(), Admission::Settled);
        assert_eq!(
            order.admit(&delivered(12, 34)).unwrap(),
            Admission::InFlight
        );
        order.forget(20);
        assert_eq!(order.admit(&delivered(21, 35)).unwrap(), Admission::New);
        // Delivered again before its acknowledgement arrived, and read only now.
        assert_eq!(order.admit(&delivered(11, 36)).unwrap(), Admission::Settled);
    }
}
