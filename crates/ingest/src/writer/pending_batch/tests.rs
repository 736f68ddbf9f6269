//! Messages pushed, batches landed, lost and failed in any order: nothing is lost, and the limits hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::UInt64Type;
use proptest::prelude::*;

use super::*;
use crate::decode::tests::{cases, dataset, table_of};
use crate::session::budget::Budget;
use crate::source::delivery_tracker::{Admission, DeliveryTracker};
use crate::source::durable::ConsumerPosition;
use mpsync_core::dataset::{Epoch, SEQ_COLUMN};

const LIMITS: FlushLimits = FlushLimits {
    rows: 12,
    bytes: 3_000,
    age: Duration::from_millis(100),
};
const BUDGET_BYTES: usize = 1 << 20;

#[derive(Debug, Clone)]
enum Op {
    /// So many messages are delivered, the next ones of the stream.
    Deliver(u8),
    /// The last one is delivered once more.
    Repeat,
    Wait(u8),
    /// The hand is launched, where nothing is on its way.
    Launch,
    Land,
    /// The life ends: what was on its way has landed unacknowledged, or has not.
    Fail(bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1_u8..30).prop_map(Op::Deliver),
        1 => Just(Op::Repeat),
        1 => (0_u8..150).prop_map(Op::Wait),
        3 => Just(Op::Launch),
        2 => Just(Op::Land),
        1 => any::<bool>().prop_map(Op::Fail),
    ];
    proptest::collection::vec(op, 1..80)
}

/// The Nth message: of any size, now and then one that cannot be a row.
fn message(seq: u64) -> Message {
    let id = "7".repeat(usize::try_from(seq * 37 % 300).unwrap());
    let price = if seq.is_multiple_of(11) {
        "much"
    } else {
        "1.5"
    };
    let payload = format!(
        r#"{{"exchange":"a","market_type":"spot","symbol":"S","data_source":"d","ts_ms":1774589999000,"trade_id":"{id}","price":"{price}","quantity":"2","side":"buy"}}"#
    );
    Message {
        subject: "trade.a.spot.S".into(),
        reply: Some(format!("reply.{seq}").into()),
        length: payload.len(),
        payload: payload.into(),
        headers: None,
        status: None,
        description: None,
    }
}

/// A consumer, and a life that takes what it delivers.
struct Model {
    mode: AckMode,
    budget: Budget,
    pending: PendingBatch,
    order: DeliveryTracker,
    in_flight: Option<Batch>,
    now: Instant,
    /// The last sequence delivered in this life, and the number of the last delivery.
    at: u64,
    delivery: u64,
    /// What the table and the dead letters hold.
    rows: BTreeMap<u64, u32>,
    dead_letters: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    /// What the table held when the life began.
    held: BTreeSet<u64>,
}

impl Model {
    fn new(mode: AckMode) -> Self {
        let consumer_position = ConsumerPosition {
            floor: 0,
            delivery: 0,
            fresh: true,
        };
        Self {
            mode,
            budget: Budget::new(BUDGET_BYTES),
            pending: Self::pending(mode, 0),
            order: DeliveryTracker::new(mode, &consumer_position),
            in_flight: None,
            now: Instant::now(),
            at: 0,
            delivery: 0,
            rows: BTreeMap::new(),
            dead_letters: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            held: BTreeSet::new(),
        }
    }

    fn pending(mode: AckMode, floor: u64) -> PendingBatch {
        let trades = dataset("trades");
        let decoder = Decoder::new(&trades, &table_of(&trades)).unwrap();
        PendingBatch::new(decoder, mode, floor)
    }

    fn settled(&self, seq: u64) -> bool {
        self.rows.contains_key(&seq) || self.dead_letters.contains(&seq)
    }

    fn floor(&self) -> u64 {
        let gap = (1..=self.at + 1).find(|seq| !self.acknowledged.contains(seq));
        gap.unwrap() - 1
    }

    fn deliver(&mut self, seq: u64) {
        if self.pending.is_full(&LIMITS) {
            return;
        }
        self.at = self.at.max(seq);
        self.delivery += 1;
        let delivery = Delivery {
            seq,
            number: self.delivery,
            stored_at_nanos: 1_774_590_000_000_000_000,
            pending: 0,
        };
        let message = message(seq);
        let mut request = self.budget.try_acquire(message.length).unwrap();
        request.hand_over(message.length, &mut self.pending.share);
        match self.order.admit(&delivery).unwrap() {
            Admission::InFlight => return,
            Admission::New if !self.held.contains(&seq) => {
                let position = Position {
                    epoch: Epoch(1),
                    seq,
                };
                self.pending.accept(&message, &delivery, position).unwrap();
            }
            Admission::New | Admission::Settled => {}
        }
        self.pending.add_ack(message, &delivery, self.now);
    }

    fn launch(&mut self) {
        if self.in_flight.is_none() {
            self.in_flight = Some(self.pending.batch(self.mode).unwrap());
            assert!(self.pending.is_empty() && self.pending.decoder.rows() == 0);
            self.order.launched();
        }
    }

    /// What a batch holds is in the table and among the dead letters.
    fn write(&mut self, batch: &Batch) {
        if let Some(rows) = &batch.rows {
            assert!(rows.num_rows() <= LIMITS.rows);
            for seq in rows[SEQ_COLUMN].as_primitive::<UInt64Type>().values() {
                *self.rows.entry(*seq).or_default() += 1;
            }
        }
        self.dead_letters.extend(
            batch
                .dead_letters
                .iter()
                .map(|dead_letter| dead_letter.position.seq),
        );
    }

    fn land(&mut self) {
        let Some(batch) = self.in_flight.take() else {
            return;
        };
        self.write(&batch);
        self.order.landed();
        let sequence = |reply: &async_nats::Subject| reply[6..].parse::<u64>().unwrap();
        match &batch.acks {
            PendingAcks::All(None) => {}
            PendingAcks::All(Some((upto, reply))) => {
                assert_eq!(sequence(reply), *upto);
                self.acknowledged.extend(1..=*upto);
            }
            PendingAcks::Each(replies) => self.acknowledged.extend(replies.iter().map(sequence)),
        }
    }

    fn fail(&mut self, has_landed: bool) {
        if let Some(batch) = self.in_flight.take()
            && has_landed
        {
            self.write(&batch);
        }
        let floor = self.floor();
        let consumer_position = ConsumerPosition {
            floor,
            delivery: self.delivery,
            fresh: false,
        };
        self.order = DeliveryTracker::new(self.mode, &consumer_position);
        self.pending = Self::pending(self.mode, floor);
        self.at = floor;
        self.held = self.rows.keys().copied().collect();
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Deliver(count) => {
                for _ in 0..*count {
                    self.deliver(self.at + 1);
                }
            }
            Op::Repeat if self.at > 0 => self.deliver(self.at),
            Op::Repeat => {}
            Op::Wait(millis) => self.now += Duration::from_millis(u64::from(*millis)),
            Op::Launch => self.launch(),
            Op::Land => self.land(),
            Op::Fail(has_landed) => self.fail(*has_landed),
        }
    }

    fn check(&self) {
        let pending = &self.pending;
        assert!(pending.decoder.rows() <= LIMITS.rows);
        // One message beyond, at most.
        assert!(
            pending.decoder.bytes() <= LIMITS.bytes + 1_000,
            "{}",
            pending.decoder.bytes()
        );
        let old = pending
            .since
            .is_some_and(|since| self.now - since >= LIMITS.age);
        assert_eq!(
            pending.is_due(&LIMITS, self.now, false),
            old || pending.is_full(&LIMITS)
        );
        assert_eq!(pending.since.is_some(), !pending.is_empty());
        assert_eq!(pending.is_due(&LIMITS, self.now, true), !pending.is_empty());
        assert!(
            self.rows.values().all(|times| *times == 1),
            "{:?}",
            self.rows
        );
        assert!(self.acknowledged.iter().all(|seq| self.settled(*seq)));
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn whatever_comes_between_every_message_is_a_row_or_a_dead_letter_once(ops in ops(), all: bool) {
        let mut model = Model::new(if all { AckMode::All } else { AckMode::Each });
        let mut seen = 0;
        for op in &ops {
            model.step(op);
            model.check();
            seen = seen.max(model.at);
        }
        // The stream ends here; a last life takes what is left.
        model.fail(false);
        while model.at < seen || !model.pending.is_empty() {
            while model.at < seen && !model.pending.is_full(&LIMITS) {
                model.deliver(model.at + 1);
            }
            model.launch();
            model.land();
            model.check();
        }
        for seq in 1..=seen {
            prop_assert_eq!(model.rows.contains_key(&seq), !seq.is_multiple_of(11));
            prop_assert_eq!(model.dead_letters.contains(&seq), seq.is_multiple_of(11));
        }
        prop_assert_eq!(model.floor(), seen);
        drop(model.pending);
        prop_assert!(model.budget.try_acquire(BUDGET_BYTES / 2).is_some(), "memory is not given back");
    }
}
