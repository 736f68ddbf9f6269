//! Which deliveries are new, which are known. Pure.

use roaring::RoaringTreemap;

use crate::session::end::{SessionEnd, Uncertainty};
use crate::source::delivery::Delivery;
use crate::source::durable::ConsumerPosition;
use crate::source::stream::AckMode;

/// What becomes of a delivered message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It was not taken in this life.
    New,
    /// It was taken and is on its way: its acknowledgement follows.
    InFlight,
    /// It was taken and is settled: its acknowledgement was lost.
    Settled,
}

/// Which messages were taken in this life.
#[derive(Debug)]
pub(crate) enum DeliveryTracker {
    /// Deliveries come in order and without a gap, or the life ends: one acknowledgement covers all before it, so that what
    /// was delivered to somebody else would be acknowledged unseen.
    Strict {
        /// Number of the last delivery.
        delivery: u64,
        /// Sequence of the last message taken.
        taken: u64,
        /// Sequence of the last message on its way.
        launched: u64,
        /// Sequence of the last message settled.
        settled: u64,
    },
    /// Old messages may come after new ones; each is acknowledged by itself.
    Loose {
        /// At or below it everything is acknowledged: what still comes is a repeat that was under way.
        floor: u64,
        /// Sequences taken in this life, above the floor.
        taken: RoaringTreemap,
        /// Those of them that are in the hand.
        pending: RoaringTreemap,
        /// Those of them that are on their way.
        in_flight: RoaringTreemap,
    },
}

impl DeliveryTracker {
    /// At the beginning of a life.
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

    /// Decides about a delivery.
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

    /// What was in the hand is on its way.
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

    /// What was on its way is settled.
    pub(crate) fn landed(&mut self) {
        match self {
            Self::Strict {
                launched, settled, ..
            } => *settled = *launched,
            Self::Loose { in_flight, .. } => in_flight.clear(),
        }
    }

    /// Whether the server, which has made `delivered` deliveries, delivered more than came here.
    pub(crate) fn misses(&self, delivered: u64) -> bool {
        matches!(self, Self::Strict { delivery, .. } if delivered > *delivery)
    }

    /// Forgets what the server knows to be acknowledged.
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

    const STANDING: ConsumerPosition = ConsumerPosition {
        floor: 10,
        delivery: 4,
        fresh: false,
    };

    #[test]
    fn in_strict_order_a_missing_delivery_ends_the_life_and_a_repeat_is_known() {
        let mut order = DeliveryTracker::new(AckMode::All, &STANDING);
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
    fn a_life_whose_first_delivery_went_elsewhere_ends() {
        let mut order = DeliveryTracker::new(AckMode::All, &STANDING);
        assert!(order.admit(&delivered(12, 6)).is_err());
    }

    #[test]
    fn in_loose_order_old_messages_may_come_late_and_repeats_are_known() {
        let mut order = DeliveryTracker::new(AckMode::Each, &STANDING);
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
