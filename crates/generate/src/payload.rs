//! The parts that all payloads have in common.

use bytes::Bytes;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use mpsync_core::decimal::Decimal;

use super::kind::DataKind;
use super::market::Instrument;
use super::message::Message;

/// The fields that every payload begins with; the caller goes on behind them.
pub(super) fn begin(
    kind: DataKind,
    [exchange, market_type, symbol]: [&str; 3],
    event_ms: i64,
    rng: &mut ChaCha8Rng,
) -> String {
    // The collector's clock is its own: sometimes it is behind the exchange's.
    let delay = match rng.random_range(0..100_u32) {
        0..=9 => rng.random_range(-40..0_i64),
        10 => rng.random_range(200..5_000_i64),
        _ => rng.random_range(1..80_i64),
    };
    let collected = event_ms + delay;
    format!(
        r#"{{"data_type":"{}","exchange":"{exchange}","market_type":"{market_type}","symbol":"{symbol}","publisher":"unified-collector","ts_ms":{event_ms},"collected_ts_ms":{collected},"data_source":"marketprism""#,
        kind.data_type()
    )
}

pub(super) fn finish(
    kind: DataKind,
    place: [&str; 3],
    id: impl std::fmt::Display,
    mut payload: String,
) -> Message {
    payload.push('}');
    let [exchange, market_type, symbol] = place;
    let data_type = kind.data_type();
    Message {
        subject: format!("{data_type}.{exchange}.{market_type}.{symbol}"),
        msg_id: format!("{data_type}:{exchange}:{symbol}:{id}"),
        payload: Bytes::from(payload),
    }
}

/// The place of an instrument in subjects.
pub(super) fn place(instrument: &Instrument) -> [&str; 3] {
    [
        &instrument.exchange,
        instrument.market_type,
        &instrument.symbol,
    ]
}

/// A decimal as this exchange's texts have it: padded, plain, or now and then with an exponent.
pub(super) fn text(value: Decimal, instrument: &Instrument, rng: &mut ChaCha8Rng) -> String {
    if instrument.exchange == "okx" && rng.random_range(0..4_u32) == 0 {
        value.scientific()
    } else {
        value.plain(instrument.padding())
    }
}
