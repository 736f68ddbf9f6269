//! The eight kinds of messages, field by field as their publisher writes them. Pure.

use std::fmt::Write as _;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::book;
use super::kind::{DataKind, Moment};
use super::market::{Instrument, Market, Volatility};
use super::message::Message;
use super::payload::{begin, finish, place, text};
use mpsync_core::decimal::Decimal;

/// Makes one message of this kind at this moment, and moves the market on.
pub(super) fn message(
    kind: DataKind,
    market: &mut Market,
    place: usize,
    moment: Moment,
    rng: &mut ChaCha8Rng,
) -> Message {
    if kind == DataKind::VolatilityIndex {
        return volatility_index(market, moment, rng);
    }
    let place = if kind.has_own_id() {
        place
    } else {
        market.perpetual(place)
    };
    let instrument = &mut market.instruments[place];
    match kind {
        DataKind::Orderbook => book::orderbook(instrument, moment, rng),
        DataKind::Trade => trade(instrument, moment, rng),
        _ => periodic(kind, instrument, moment, rng),
    }
}

fn trade(instrument: &mut Instrument, moment: Moment, rng: &mut ChaCha8Rng) -> Message {
    instrument.walk(rng);
    instrument.trade_id += rng.random_range(1..4_u64);
    let instrument = &*instrument;
    let is_sell = rng.random_range(0..2_u32) == 0;
    let ticks = instrument.mid_ticks + if is_sell { -1 } else { 1 };
    let price = text(instrument.price(ticks.max(1)), instrument, rng);
    let quantity = text(instrument.quantity(rng), instrument, rng);
    let happened = moment.event_ms - rng.random_range(0..160_i64);
    let mut payload = begin(DataKind::Trade, place(instrument), moment.event_ms, rng);
    let id = instrument.trade_id;
    let side = if is_sell { "sell" } else { "buy" };
    let _ = write!(
        payload,
        r#","trade_id":"{id}","price":"{price}","quantity":"{quantity}","side":"{side}","is_maker":{is_sell},"trade_ts_ms":{happened}"#
    );
    finish(DataKind::Trade, place(instrument), id, payload)
}

/// Makes a message of a kind whose identity is its time.
fn periodic(
    kind: DataKind,
    instrument: &mut Instrument,
    moment: Moment,
    rng: &mut ChaCha8Rng,
) -> Message {
    let ms = instrument.own_ms(kind as usize, moment.sent_ms);
    let instrument = &*instrument;
    let mut payload = begin(kind, place(instrument), ms, rng);
    let _ = write!(payload, r#","instrument_id":"{}""#, instrument.native_name);
    match kind {
        DataKind::OpenInterest => open_interest(&mut payload, instrument, rng),
        DataKind::FundingRate => funding_rate(&mut payload, instrument, ms, rng),
        DataKind::Liquidation => liquidation(&mut payload, instrument, ms, rng),
        DataKind::LsrTopPosition => long_short_ratio(&mut payload, "position", rng),
        _ => long_short_ratio(&mut payload, "account", rng),
    }
    finish(kind, place(instrument), ms, payload)
}

fn open_interest(payload: &mut String, instrument: &Instrument, rng: &mut ChaCha8Rng) {
    let contracts = Decimal::new(rng.random_range(1..20_000_000_i64).into(), 1);
    let usd = if rng.random_range(0..3_u32) == 0 {
        "null".to_owned()
    } else {
        contracts
            .times(instrument.price(instrument.mid_ticks))
            .number()
    };
    let _ = write!(
        payload,
        r#","open_interest_value":{},"open_interest_usd":{usd},"open_interest_unit":"contracts""#,
        contracts.number()
    );
}

fn funding_rate(payload: &mut String, instrument: &Instrument, ms: i64, rng: &mut ChaCha8Rng) {
    const INTERVAL_MS: i64 = 8 * 3_600_000;
    let rate =
        |rng: &mut ChaCha8Rng| Decimal::new(rng.random_range(-3_000..7_500_i64).into(), 7).number();
    let current = rate(rng);
    let estimated = if rng.random_range(0..2_u32) == 0 {
        "null".to_owned()
    } else {
        rate(rng)
    };
    let next = (ms.div_euclid(INTERVAL_MS) + 1) * INTERVAL_MS;
    let premium = rng.random_range(-5..=5_i64);
    let mid = instrument.mid_ticks;
    let _ = write!(
        payload,
        r#","current_funding_rate":{current},"estimated_funding_rate":{estimated},"next_funding_ts_ms":{next},"funding_interval":"8h","mark_price":{},"index_price":{},"premium_index":{}"#,
        instrument.price(mid).number(),
        instrument.price((mid - premium).max(1)).number(),
        instrument.price(premium).number(),
    );
}

fn liquidation(payload: &mut String, instrument: &Instrument, ms: i64, rng: &mut ChaCha8Rng) {
    let side = if rng.random_range(0..2_u32) == 0 {
        "sell"
    } else {
        "buy"
    };
    let price = instrument.price(instrument.mid_ticks);
    let quantity = instrument.quantity(rng);
    let notional = price.times(quantity).number();
    let (price, quantity) = (price.number(), quantity.number());
    let (exchange, id) = (&instrument.exchange, &instrument.native_name);
    let time = iso(ms);
    let _ = write!(
        payload,
        r#","liquidation_id":"{exchange}_{ms}_{id}_{side}","side":"{side}","status":"filled","price":{price},"quantity":{quantity},"filled_quantity":{quantity},"notional_value":{notional},"liquidation_time":"{time}","liquidation_ts_ms":{ms}"#
    );
}

fn long_short_ratio(payload: &mut String, of: &str, rng: &mut ChaCha8Rng) {
    let long = rng.random_range(3_000..7_500_i64);
    let short = 10_000 - long;
    let fraction = |units: i64| Decimal::new(units.into(), 4).scientific();
    let _ = write!(
        payload,
        r#","long_short_ratio":"{}","long_{of}_ratio":"{}","short_{of}_ratio":"{}","period":"5m""#,
        fraction(long * 10_000 / short),
        fraction(long),
        fraction(short),
    );
}

fn volatility_index(market: &mut Market, moment: Moment, rng: &mut ChaCha8Rng) -> Message {
    const KIND: DataKind = DataKind::VolatilityIndex;
    let exchange = market.volatility_exchange.clone();
    let drawn = usize::from(rng.random_range(0..2_u8));
    let index = &mut market.volatility[drawn];
    index.step(moment.sent_ms, rng);
    let place = [exchange.as_str(), "options", index.currency];
    let mut payload = begin(KIND, place, index.last_ms, rng);
    let value = |hundredths: i64| Decimal::new(hundredths.into(), 2).scientific();
    let currency = index.currency;
    let _ = write!(
        payload,
        r#","currency":"{currency}","instrument_id":"{currency}-DVOL","volatility_index":"{}","volatility_open":"{}","volatility_high":"{}","volatility_low":"{}","index_name":"{currency}DVOL""#,
        value(index.value),
        value(index.open),
        value(index.high),
        value(index.low),
    );
    finish(KIND, place, index.last_ms, payload)
}

impl Volatility {
    /// The next value at the first free millisecond from `ms` on.
    fn step(&mut self, ms: i64, rng: &mut ChaCha8Rng) {
        self.last_ms = ms.max(self.last_ms.saturating_add(1));
        self.value = (self.value + rng.random_range(-12..=12_i64)).clamp(1_500, 15_000);
        self.high = self.high.max(self.value);
        self.low = self.low.min(self.value);
    }
}

/// A time as Python's `isoformat` writes it: no fraction if it is zero, else six digits.
fn iso(ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(ms) else {
        return String::new();
    };
    let fraction = ms.rem_euclid(1000);
    let whole = time.strftime("%Y-%m-%dT%H:%M:%S");
    if fraction == 0 {
        format!("{whole}+00:00")
    } else {
        format!("{whole}.{fraction:03}000+00:00")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::{Generator, GeneratorOptions};

    fn payloads(options: GeneratorOptions) -> Vec<Value> {
        Generator::new(options)
            .unwrap()
            .map(|message| serde_json::from_slice(&message.payload).unwrap())
            .collect()
    }

    /// The fields of each kind with the JSON types that occur, as its publisher has them.
    #[test]
    fn fields_and_types_are_the_publishers() {
        let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for payload in payloads(GeneratorOptions {
            count: 60_000,
            ..GeneratorOptions::default()
        }) {
            let fields = payload.as_object().unwrap();
            let kind = found
                .entry(fields["data_type"].as_str().unwrap().to_owned())
                .or_default();
            for (name, value) in fields {
                let json_type = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(n) if n.is_f64() => "float",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let types = kind.entry(name.clone()).or_default();
                if !types.contains(json_type) {
                    *types = format!("{types} {json_type}").trim_start().to_owned();
                    let mut sorted: Vec<_> = types.split(' ').collect();
                    sorted.sort_unstable();
                    *types = sorted.join(" ");
                }
            }
        }
        let common = [
            "data_type",
            "exchange",
            "market_type",
            "symbol",
            "publisher",
            "ts_ms",
            "collected_ts_ms",
            "data_source",
        ];
        let text: Vec<String> = found
            .iter()
            .map(|(kind, fields)| {
                assert!(
                    common.iter().all(|name| fields.contains_key(*name)),
                    "{kind}"
                );
                let own: Vec<String> = fields
                    .iter()
                    .filter(|(name, _)| !common.contains(&name.as_str()))
                    .map(|(name, types)| format!("{name}={types}"))
                    .collect();
                format!("{kind}: {}", own.join(", "))
            })
            .collect();
        assert_eq!(
            text,
            [
                "funding_rate: current_funding_rate=float, estimated_funding_rate=float null, funding_interval=string, index_price=float, instrument_id=string, mark_price=float, next_funding_ts_ms=integer, premium_index=float",
                "liquidation: filled_quantity=float, instrument_id=string, liquidation_id=string, liquidation_time=string, liquidation_ts_ms=integer, notional_value=float, price=float, quantity=float, side=string, status=string",
                "lsr_all_account: instrument_id=string, long_account_ratio=string, long_short_ratio=string, period=string, short_account_ratio=string",
                "lsr_top_position: instrument_id=string, long_position_ratio=string, long_short_ratio=string, period=string, short_position_ratio=string",
                "open_interest: instrument_id=string, open_interest_unit=string, open_interest_usd=float null, open_interest_value=float",
                "orderbook: asks=array, bids=array, last_update_id=integer null",
                "trade: is_maker=boolean, price=string, quantity=string, side=string, trade_id=string, trade_ts_ms=integer",
                "volatility_index: currency=string, index_name=string, instrument_id=string, volatility_high=string, volatility_index=string, volatility_low=string, volatility_open=string",
            ]
        );
    }

    #[test]
    fn a_time_is_written_as_python_writes_it() {
        assert_eq!(iso(1_760_000_000_000), "2025-10-09T08:53:20+00:00");
        assert_eq!(iso(1_760_000_000_007), "2025-10-09T08:53:20.007000+00:00");
    }
}
