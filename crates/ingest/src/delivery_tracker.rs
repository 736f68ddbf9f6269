//! Which deliveries are new, which are known. Pure.

use roaring::RoaringTreemap;

use super::Ended;
use super::delivery::Delivery;
use super::stream::{AckMode, Standing};

/// What becomes of a delivered message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It was not taken in this life.
    New,
    /// It was taken and is on its way: its acknowledgement follows.
    Taken,
    /// It was taken and is settled: its acknowledgement was lost.
    Settled,
}

/// Which messages were taken in this life.
#[derive(Debug)]
pub(super) enum Order {
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
        in_hand: RoaringTreemap,
        /// Those of them that are on their way.
        on_the_way: RoaringTreemap,
    },
}

impl Order {
    /// At the beginning of a life.
    pub(super) fn new(mode: AckMode, standing: &Standing) -> Self {
        match mode {
            AckMode::All => Self::Strict {
                delivery: standing.delivery,
                taken: standing.floor,
                launched: standing.floor,
                settled: standing.floor,
            },
            AckMode::Each => Self::Loose {
                floor: standing.floor,
                taken: RoaringTreemap::new(),
                in_hand: RoaringTreemap::new(),
                on_the_way: RoaringTreemap::new(),
            },
        }
    }

    /// Decides about a delivery.
    pub(super) fn admit(&mut self, delivery: &Delivery) -> Result<Admission, Ended> {
        match self {
            Self::Strict {
                delivery: last,
                taken,
                settled,
                ..
            } => {
                if delivery.number != *last + 1 {
                    return Err(Ended::doubt(format!(
                        "delivery {} came after delivery {last}: others went elsewhere",
                        delivery.number
                    )));
                }
                *last = delivery.number;
                if delivery.seq > *taken {
                    *taken = delivery.seq;
                    Ok(Admission::New)
                } else if delivery.seq > *settled {
                    Ok(Admission::Taken)
                } else {
                    Ok(Admission::Settled)
                }
            }
            Self::Loose {
                floor,
                taken,
                in_hand,
                on_the_way,
            } => {
                let seq = delivery.seq;
                if seq <= *floor {
                    Ok(Admission::Settled)
                } else if taken.insert(seq) {
                    in_hand.insert(seq);
                    Ok(Admission::New)
                } else if in_hand.contains(seq) || on_the_way.contains(seq) {
                    Ok(Admission::Taken)
                } else {
                    Ok(Admission::Settled)
                }
            }
        }
    }

    /// What was in the hand is on its way.
    pub(super) fn launched(&mut self) {
        match self {
            Self::Strict {
                taken, launched, ..
            } => *launched = *taken,
            Self::Loose {
                in_hand,
                on_the_way,
                ..
            } => *on_the_way = std::mem::take(in_hand),
        }
    }

    /// What was on its way is settled.
    pub(super) fn landed(&mut self) {
        match self {
            Self::Strict {
                launched, settled, ..
            } => *settled = *launched,
            Self::Loose { on_the_way, .. } => on_the_way.clear(),
        }
    }

    /// Whether the server, which has made `delivered` deliveries, delivered more than came here.
    pub(super) fn misses(&self, delivered: u64) -> bool {
        matches!(self, Self::Strict { delivery, .. } if delivered > *delivery)
    }

    /// Forgets what the server knows to be acknowledged.
    pub(super) fn forget(&mut self, floor: u64) {
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

    const STANDING: Standing = Standing {
        floor: 10,
        delivery: 4,
        fresh: false,
    };

    #[test]
    fn in_strict_order_a_missing_delivery_ends_the_life_and_a_repeat_is_known() {
        let mut order = Order::new(AckMode::All, &STANDING);
        assert_eq!(order.admit(&delivered(11, 5)).unwrap(), Admission::New);
        assert_eq!(order.admit(&delivered(15, 6)).unwrap(), Admission::New);
        order.launched();
        assert_eq!(order.admit(&delivered(11, 7)).unwrap(), Admission::Taken);
        order.landed();
        assert_eq!(order.admit(&delivered(15, 8)).unwrap(), Admission::Settled);
        assert_eq!(order.admit(&delivered(16, 9)).unwrap(), Admission::New);
        assert_eq!(order.admit(&delivered(16, 10)).unwrap(), Admission::Taken);
        assert!(order.misses(11) && !order.misses(10));
        assert!(order.admit(&delivered(17, 12)).is_err());
    }

    #[test]
    fn a_life_whose_first_delivery_went_elsewhere_ends() {
        let mut order = Order::new(AckMode::All, &STANDING);
        assert!(order.admit(&delivered(12, 6)).is_err());
    }

    #[test]
    fn in_loose_order_old_messages_may_come_late_and_repeats_are_known() {
        let mut order = Order::new(AckMode::Each, &STANDING);
        assert_eq!(order.admit(&delivered(20, 9)).unwrap(), Admission::New);
        assert_eq!(order.admit(&delivered(11, 30)).unwrap(), Admission::New);
        order.launched();
        assert_eq!(order.admit(&delivered(12, 31)).unwrap(), Admission::New);
        assert_eq!(order.admit(&delivered(11, 32)).unwrap(), Admission::Taken);
        order.landed();
        assert_eq!(order.admit(&delivered(20, 33)).unwrap(), Admission::Settled);
        assert_eq!(order.admit(&delivered(12, 34)).unwrap(), Admission::Taken);
        order.forget(20);
        assert_eq!(order.admit(&delivered(21, 35)).unwrap(), Admission::New);
        // Delivered again before its acknowledgement arrived, and read only now.
        assert_eq!(order.admit(&delivered(11, 36)).unwrap(), Admission::Settled);
    }
}
