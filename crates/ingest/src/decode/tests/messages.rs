//! Real messages, and those of the kinds of which there is no capture.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{cell, dataset, decoder, meta, reference, row};

/// A line of a fixture.
#[derive(Debug, Deserialize)]
pub(super) struct Recorded {
    pub subject: String,
    pub payload: Box<RawValue>,
}

pub(super) fn recorded() -> Vec<Recorded> {
    let files = [
        include_str!("../../../../../fixtures/messages/binance_futures.jsonl"),
        include_str!("../../../../../fixtures/messages/binance_spot.jsonl"),
        include_str!("../../../../../fixtures/messages/binance_us_spot.jsonl"),
        include_str!("../../../../../fixtures/messages/deribit.jsonl"),
    ];
    let lines = files.into_iter().flat_map(str::lines);
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(super) fn dataset_of(subject: &str) -> &'static str {
    match subject.split('.').next().unwrap() {
        "orderbook" => "orderbooks",
        "trade" => "trades",
        "open_interest" => "open_interests",
        other => panic!("{other}"),
    }
}

#[test]
fn every_recorded_message_becomes_exactly_its_row() {
    let messages = recorded();
    assert_eq!(messages.len(), 2967 + 183 + 351 + 135);
    for name in ["orderbooks", "trades", "open_interests"] {
        let own: Vec<_> = messages
            .iter()
            .filter(|m| dataset_of(&m.subject) == name)
            .collect();
        let mut decoder = decoder(name);
        for (seq, message) in (1..).zip(&own) {
            let payload = message.payload.get().as_bytes();
            let appended = decoder
                .append(&meta(&message.subject, seq), payload)
                .unwrap();
            assert_eq!(appended.hour, appended.event_time_nanos / 3_600_000_000_000);
        }
        assert_eq!(decoder.rows(), own.len());
        let bytes = decoder.bytes();
        let batch = decoder.finish().unwrap();
        // Vectors double when they are full, so that up to as much again is reserved.
        let real = batch.get_array_memory_size();
        assert!(
            bytes < real + real / 10 && real < bytes * 2 + 100_000,
            "{name}: {bytes} counted, {real} real"
        );
        assert_eq!(decoder.bytes() / 10_000, 0);
        let dataset = dataset(name);
        for (row, message) in own.iter().enumerate() {
            let payload = message.payload.get().as_bytes();
            reference::check(
                &dataset,
                &message.subject,
                payload,
                &batch,
                row,
                row as u64 + 1,
            );
        }
        let counters = decoder.counters();
        assert_eq!(counters.rows, own.len() as u64);
        assert_eq!((counters.rejected, counters.rounded), (0, 0));
        assert!(
            counters.unknown_fields.is_empty(),
            "{:?}",
            counters.unknown_fields
        );
    }
}

/// Returns a payload: the fields of all messages, and these of its kind.
fn payload(own: &str) -> String {
    format!(
        r#"{{"data_type":"x","exchange":"okx","market_type":"perpetual","symbol":"BTC-USDT","publisher":"unified-collector","ts_ms":1760000000123,"collected_ts_ms":1760000000223,"data_source":"marketprism",{own}}}"#
    )
}

/// A kind's message and some cells of its row.
fn check_kind(name: &str, own: &str, cells: &[(&str, &str)]) {
    let mut decoder = decoder(name);
    let batch = row(&mut decoder, &payload(own)).unwrap();
    for (column, expected) in cells {
        assert_eq!(cell(&batch, column), *expected, "{name}.{column}");
    }
    assert_eq!(cell(&batch, "timestamp"), "2025-10-09T08:53:20.123Z");
    assert_eq!(cell(&batch, "exchange"), "okx");
    reference::check(&dataset(name), "c.x", payload(own).as_bytes(), &batch, 0, 1);
}

#[test]
fn a_liquidation_becomes_its_row() {
    check_kind(
        "liquidations",
        r#""instrument_id":"BTC-USDT-SWAP","liquidation_id":"okx_1760000000000_BTC-USDT-SWAP_sell","side":"sell","status":"filled","price":64900.0,"quantity":1.5,"filled_quantity":1.5,"notional_value":97350.0,"liquidation_time":"2025-10-09T08:53:20+00:00","liquidation_ts_ms":1760000000000"#,
        &[
            ("liquidation_id", "okx_1760000000000_BTC-USDT-SWAP_sell"),
            ("side", "sell"),
            ("status", "filled"),
            ("price", "64900.000000000000000000"),
            ("quantity", "1.500000000000000000"),
            ("notional_value", "97350.000000000000000000"),
            ("liquidation_time", "2025-10-09T08:53:20Z"),
        ],
    );
    check_kind(
        "liquidations",
        r#""side":"sell","price":"64900","quantity":"1.5","liquidation_time":"2025-10-09 10:53:20.5+02:00""#,
        &[
            ("liquidation_time", "2025-10-09T08:53:20.500Z"),
            ("filled_quantity", "NULL"),
            ("liquidation_id", "NULL"),
            ("status", "NULL"),
        ],
    );
}

#[test]
fn a_funding_rate_becomes_its_row() {
    check_kind(
        "funding_rates",
        r#""instrument_id":"BTCUSDT","current_funding_rate":0.0001,"estimated_funding_rate":null,"next_funding_ts_ms":1760011200000,"funding_interval":"8h","mark_price":65001.2,"index_price":65000.9,"premium_index":0.3"#,
        &[
            ("funding_rate", "0.000100000000000000"),
            ("estimated_funding_rate", "NULL"),
            ("funding_time", "NULL"),
            ("next_funding_time", "2025-10-09T12:00:00Z"),
            ("funding_interval", "8h"),
            ("premium_index", "0.300000000000000000"),
        ],
    );
}

#[test]
fn long_short_ratios_become_their_rows() {
    check_kind(
        "lsr_top_positions",
        r#""instrument_id":"BTCUSDT","long_short_ratio":"1.5","long_position_ratio":"0.6","short_position_ratio":"0.4","period":"5m""#,
        &[
            ("long_short_ratio", "1.500000000000000000"),
            ("long_position_ratio", "0.600000000000000000"),
            ("short_position_ratio", "0.400000000000000000"),
            ("period", "5m"),
        ],
    );
    check_kind(
        "lsr_all_accounts",
        r#""instrument_id":"BTC-USDT-SWAP","long_short_ratio":"1.2","long_account_ratio":"0.545","short_account_ratio":"0.455","period":"5m""#,
        &[
            ("long_account_ratio", "0.545000000000000000"),
            ("short_account_ratio", "0.455000000000000000"),
            ("instrument_id", "BTC-USDT-SWAP"),
        ],
    );
}

#[test]
fn a_volatility_index_becomes_its_row() {
    check_kind(
        "volatility_indices",
        r#""currency":"BTC","instrument_id":"BTC-DVOL","volatility_index":"45.2","volatility_open":"45.0","volatility_high":"45.9","volatility_low":"44.8","index_name":"BTCDVOL""#,
        &[
            ("index_value", "45.200000000000000000"),
            ("index_open", "45.000000000000000000"),
            ("index_high", "45.900000000000000000"),
            ("index_low", "44.800000000000000000"),
            ("index_name", "BTCDVOL"),
            ("underlying_asset", "BTC"),
            ("maturity_date", "NULL"),
        ],
    );
}

#[test]
fn what_the_payload_does_not_say_is_taken_from_the_subject() {
    let mut decoder = decoder("trades");
    let payload = r#"{"ts_ms":1760000000123,"data_source":"d","trade_id":7,"price":1,"quantity":2,"side":"buy"}"#;
    decoder
        .append(&meta("trade.okx.spot.BTC-USDT", 9), payload.as_bytes())
        .unwrap();
    let batch = decoder.finish().unwrap();
    let cells = [
        "exchange",
        "market_type",
        "symbol",
        "trade_id",
        "is_maker",
        "stream_seq",
        "created_at",
    ];
    assert_eq!(
        cells.map(|column| cell(&batch, column)),
        [
            "okx",
            "spot",
            "BTC-USDT",
            "7",
            "NULL",
            "9",
            "2026-03-27T05:40:00Z"
        ]
    );
}
