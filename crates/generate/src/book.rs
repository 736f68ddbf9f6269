//! Order books: whole ones and what changes in them. Pure.

use std::fmt::Write as _;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::kind::{DataKind, Moment};
use super::market::Instrument;
use super::message::Message;
use super::payload::{begin, finish, place, text};
use mpsync_core::decimal::Decimal;

/// The next book of this instrument: the first one is a snapshot, of the others one in sixty.
pub(super) fn orderbook(
    instrument: &mut Instrument,
    moment: Moment,
    rng: &mut ChaCha8Rng,
) -> Message {
    instrument.walk(rng);
    instrument.update_id += rng.random_range(1..200_u64);
    let is_snapshot = !instrument.has_book || rng.random_range(0..60_u32) == 0;
    instrument.has_book = true;
    // Some books have no number; then their time is their identity, and it has to be a new one.
    let has_number = instrument.exchange != "okx" || rng.random_range(0..10_u32) > 0;
    let event_ms = if has_number {
        moment.event_ms
    } else {
        instrument.own_ms(DataKind::Orderbook as usize, moment.sent_ms)
    };
    let instrument = &*instrument;
    let (bids, asks) = if is_snapshot {
        (
            snapshot(instrument, -1, moment.depth, rng),
            snapshot(instrument, 1, moment.depth, rng),
        )
    } else {
        changes(instrument, moment.depth, rng)
    };
    let (number, id) = if has_number {
        let number = instrument.update_id.to_string();
        (number.clone(), number)
    } else {
        ("null".to_owned(), event_ms.to_string())
    };
    let mut payload = begin(DataKind::Orderbook, place(instrument), event_ms, rng);
    let _ = write!(payload, r#","last_update_id":{number},"bids":"#);
    write_levels(&mut payload, instrument, &bids, rng);
    payload.push_str(r#","asks":"#);
    write_levels(&mut payload, instrument, &asks, rng);
    finish(DataKind::Orderbook, place(instrument), id, payload)
}

/// A price in ticks and what is there now.
type Level = (i64, Decimal);

/// A whole side, the best level first.
fn snapshot(
    instrument: &Instrument,
    direction: i64,
    depth: u32,
    rng: &mut ChaCha8Rng,
) -> Vec<Level> {
    let mut ticks = instrument.mid_ticks;
    let mut levels = Vec::new();
    for _ in 0..depth {
        ticks += direction * rng.random_range(1..4_i64);
        if ticks < 1 {
            break;
        }
        levels.push((ticks, instrument.quantity(rng)));
    }
    levels
}

/// Some levels of mostly one side, a quarter of them removed.
fn changes(instrument: &Instrument, depth: u32, rng: &mut ChaCha8Rng) -> (Vec<Level>, Vec<Level>) {
    let mut side = |is_there: bool, direction: i64| {
        let mut levels = Vec::new();
        if !is_there {
            return levels;
        }
        let mut ticks = instrument.mid_ticks;
        for _ in 0..rng.random_range(1..=depth.clamp(1, 12)) {
            ticks += direction * rng.random_range(1..=i64::from(depth.max(2)));
            if ticks < 1 {
                break;
            }
            let quantity = if rng.random_range(0..4_u32) == 0 {
                Decimal::new(0, instrument.quantity_scale)
            } else {
                instrument.quantity(rng)
            };
            levels.push((ticks, quantity));
        }
        levels
    };
    // The same update in three of ten; an empty one in a thousand.
    let which = instrument.update_id % 1000;
    let bids = side(which < 650, -1);
    let asks = side((350..999).contains(&which), 1);
    (bids, asks)
}

/// Levels as `["price","quantity"]`, or as objects if the exchange's collector makes them so.
fn write_levels(
    payload: &mut String,
    instrument: &Instrument,
    levels: &[Level],
    rng: &mut ChaCha8Rng,
) {
    payload.push('[');
    for (place, (ticks, quantity)) in levels.iter().enumerate() {
        if place > 0 {
            payload.push(',');
        }
        let price = text(instrument.price(*ticks), instrument, rng);
        let quantity = text(*quantity, instrument, rng);
        let _ = if instrument.exchange == "deribit" {
            write!(payload, r#"{{"price":"{price}","quantity":"{quantity}"}}"#)
        } else {
            write!(payload, r#"["{price}","{quantity}"]"#)
        };
    }
    payload.push(']');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::{Generator, GeneratorOptions};

    #[test]
    fn books_have_their_best_level_first_and_every_quirk_of_the_field() {
        let mut seen = BTreeMap::<&str, u32>::new();
        let options = GeneratorOptions {
            count: 30_000,
            kinds: vec![DataKind::Orderbook],
            ..GeneratorOptions::default()
        };
        for payload in Generator::new(options)
            .unwrap()
            .map(|m| serde_json::from_slice::<Value>(&m.payload).unwrap())
        {
            let number = |level: &Value, key: &str, place: usize| -> f64 {
                let value = level.get(key).or_else(|| level.get(place)).unwrap();
                value.as_str().unwrap().parse().unwrap()
            };
            let side = |name: &str| -> Vec<(f64, f64)> {
                let levels = payload[name].as_array().unwrap();
                levels
                    .iter()
                    .map(|l| (number(l, "price", 0), number(l, "quantity", 1)))
                    .collect()
            };
            let (bids, asks) = (side("bids"), side("asks"));
            assert!(bids.windows(2).all(|w| w[0].0 > w[1].0), "{payload}");
            assert!(asks.windows(2).all(|w| w[0].0 < w[1].0), "{payload}");
            assert!(bids.iter().chain(&asks).all(|level| level.0 > 0.0));
            if let (Some(bid), Some(ask)) = (bids.first(), asks.first()) {
                assert!(bid.0 < ask.0, "{payload}");
            }
            let text = payload.to_string();
            let quirks = [
                ("removal", bids.iter().chain(&asks).any(|l| l.1 == 0.0)),
                ("one side", bids.is_empty() != asks.is_empty()),
                ("no side", bids.is_empty() && asks.is_empty()),
                ("snapshot", bids.len() == 20 && asks.len() == 20),
                ("exponent", text.contains("E-")),
                ("objects", text.contains("{\"price\"")),
                ("padded", text.contains("00000000\"")),
                ("no number", payload["last_update_id"].is_null()),
            ];
            for (name, is_there) in quirks {
                *seen.entry(name).or_default() += u32::from(is_there);
            }
        }
        assert!(seen.values().all(|n| *n > 0), "{seen:?}");
    }
}
