//! Odd values, by the policy of their column.

use arrow::array::RecordBatch;

use super::{cell, custom, decoder, meta, row};
use crate::decode::{Decoder, Rejection};
use mpsync_core::dataset::{BadPolicy, ColumnPolicy, EmptyPolicy, ExcessPolicy};

const TRADE: &str =
    r#""ts_ms":1774590000000,"trade_id":"7","price":"1","quantity":"2","side":"buy""#;

/// A trade on this subject with further fields.
fn trade(subject: &str, more: &str) -> Result<RecordBatch, Rejection> {
    let mut decoder = decoder("trades");
    let payload = format!("{{{TRADE}{more}}}");
    decoder.append(&meta(subject, 1), payload.as_bytes())?;
    Ok(decoder.finish().unwrap())
}

/// A value of a column `v` with a policy.
fn value(type_text: &str, policy: ColumnPolicy, json: &str) -> Result<String, Rejection> {
    let (mut dataset, table) = custom(&[("v", type_text)]);
    dataset.policies.insert("v".into(), policy);
    let mut decoder = Decoder::new(&dataset, &table).unwrap();
    let payload = format!("{{\"ts\":1774590000000,\"v\":{json}}}");
    Ok(cell(&row(&mut decoder, &payload)?, "v"))
}

#[test]
fn a_collectors_own_clock_costs_no_row() {
    for (collected, expected) in [
        // `datetime.isoformat()` has microseconds, the column milliseconds.
        (
            "\"2026-03-27T05:40:00.123456+00:00\"",
            "2026-03-27T05:40:00.123Z",
        ),
        ("\"2026-03-27T05:40:00.123500\"", "2026-03-27T05:40:00.124Z"),
        (
            "\"2026-03-27T05:40:00.1234567891234Z\"",
            "2026-03-27T05:40:00.123Z",
        ),
        ("1774590000.1234567", "2026-03-27T05:40:00.123Z"),
        ("1774590000123456789", "2026-03-27T05:40:00.123Z"),
        ("\"\"", "NULL"),
        ("\"soon\"", "NULL"),
        ("86400000", "NULL"),
        ("{}", "NULL"),
    ] {
        let batch = trade(
            "trade.okx.spot.A-B",
            &format!(",\"collected_at\":{collected}"),
        )
        .unwrap();
        assert_eq!(cell(&batch, "collected_at"), expected, "{collected}");
    }
}

#[test]
fn values_made_null_are_counted_by_column() {
    let mut decoder = decoder("trades");
    for (seq, clock) in [(1, "\"soon\""), (2, "\"\""), (3, "1774590000123")] {
        let payload = format!("{{{TRADE},\"collected_at\":{clock}}}");
        decoder
            .append(&meta("trade.okx.spot.A-B", seq), payload.as_bytes())
            .unwrap();
    }
    // A message that is rejected in the end counts nothing.
    let payload = r#"{"ts_ms":1774590000000,"collected_at":"soon","trade_id":"7","price":"x"}"#;
    decoder
        .append(&meta("trade.okx.spot.A-B", 4), payload.as_bytes())
        .unwrap_err();
    let counters = decoder.counters();
    assert_eq!(counters.unknown_fields.get("collected_at=NULL"), Some(&2));
    assert_eq!((counters.rows, counters.rejected), (3, 1));
    assert_eq!(decoder.finish().unwrap().num_rows(), 3);
}

#[test]
fn prices_and_quantities_stay_strict() {
    for (field, flaw) in [
        ("price", "\"\""),
        ("price", "\"0.0000000000000000001\""),
        ("quantity", "\"x\""),
        ("quantity", "true"),
    ] {
        let mut decoder = decoder("trades");
        let payload = format!("{{{TRADE}}}").replace(
            &format!("\"{field}\":\"{}\"", if field == "price" { 1 } else { 2 }),
            &format!("\"{field}\":{flaw}"),
        );
        let rejection = decoder
            .append(&meta("trade.okx.spot.A-B", 1), payload.as_bytes())
            .unwrap_err();
        assert!(
            rejection.to_string().contains(&format!("column `{field}`")),
            "{rejection}"
        );
    }
}

#[test]
fn times_of_the_exchange_are_rounded_to_their_column() {
    let batch = trade(
        "trade.okx.spot.A-B",
        ",\"trade_time\":\"2026-03-27T05:39:59.9996\"",
    )
    .unwrap();
    assert_eq!(cell(&batch, "trade_time"), "2026-03-27T05:40:00Z");
}

#[test]
fn an_empty_text_is_null_in_a_nullable_number_and_refused_elsewhere() {
    let default = ColumnPolicy::default();
    for type_text in [
        "Nullable(Decimal(9, 2))",
        "Nullable(UInt8)",
        "Nullable(Bool)",
        "Nullable(Float64)",
        "Nullable(Date)",
    ] {
        assert_eq!(
            value(type_text, default, "\"\"").unwrap(),
            "NULL",
            "{type_text}"
        );
    }
    assert_eq!(value("Nullable(String)", default, "\"\"").unwrap(), "");
    for type_text in ["Decimal(9, 2)", "UInt8", "Bool"] {
        value(type_text, default, "\"\"").unwrap_err();
    }
    let reject = ColumnPolicy {
        empty: Some(EmptyPolicy::Reject),
        ..default
    };
    value("Nullable(Decimal(9, 2))", reject, "\"\"").unwrap_err();
    let rejection = value("String", reject, "\"\"").unwrap_err();
    assert_eq!(rejection.reason.label(), "empty_value");
    assert_eq!(
        rejection.to_string(),
        "column `v` of type String: field `v` is \"\", and it must not be empty"
    );
    let null = ColumnPolicy {
        empty: Some(EmptyPolicy::Null),
        ..default
    };
    assert_eq!(value("Nullable(UInt8)", null, "\"\"").unwrap(), "NULL");
}

#[test]
fn excess_and_bad_values_follow_their_policy() {
    let policy = |excess, bad| ColumnPolicy {
        excess,
        bad,
        ..ColumnPolicy::default()
    };
    let decimal = "Nullable(Decimal(9, 2))";
    for (excess, expected) in [
        (Some(ExcessPolicy::Round), Some("1.24")),
        (Some(ExcessPolicy::Null), Some("NULL")),
        (Some(ExcessPolicy::Reject), None),
        (None, None),
    ] {
        let found = value(decimal, policy(excess, BadPolicy::Reject), "\"1.236\"");
        assert_eq!(found.ok().as_deref(), expected);
    }
    assert_eq!(
        value(decimal, policy(None, BadPolicy::Null), "[1]").unwrap(),
        "NULL"
    );
    assert_eq!(
        value(decimal, policy(None, BadPolicy::Null), "\"1e99\"").unwrap(),
        "NULL"
    );
    // Damaged JSON has no value that could be replaced.
    value(decimal, policy(None, BadPolicy::Null), "[1").unwrap_err();
}

#[test]
fn a_policy_that_a_column_cannot_follow_is_refused() {
    let refusal = |type_text, policy| {
        let (mut dataset, table) = custom(&[("v", type_text)]);
        dataset.policies.insert("v".into(), policy);
        Decoder::new(&dataset, &table).unwrap_err().to_string()
    };
    let null = ColumnPolicy {
        bad: BadPolicy::Null,
        ..ColumnPolicy::default()
    };
    assert!(refusal("UInt8", null).contains("column `v`: its policy makes values NULL"));
    let empty = ColumnPolicy {
        null_is_empty: true,
        ..ColumnPolicy::default()
    };
    assert!(refusal("Nullable(UInt8)", empty).contains("is not an array"));
}

#[test]
fn a_flag_may_be_written_as_python_writes_it() {
    for (written, expected) in [
        ("\"True\"", "true"),
        ("\"False\"", "false"),
        ("\"TRUE\"", "true"),
    ] {
        let batch = trade("trade.okx.spot.A-B", &format!(",\"is_maker\":{written}")).unwrap();
        assert_eq!(cell(&batch, "is_maker"), expected);
    }
    trade("trade.okx.spot.A-B", ",\"is_maker\":\"yes\"").unwrap_err();
}

#[test]
fn a_null_side_of_a_book_is_empty_and_an_absent_one_is_refused() {
    let book = |sides: &str| {
        let mut decoder = decoder("orderbooks");
        let payload = format!("{{\"ts_ms\":1774590000000,\"last_update_id\":7,{sides}}}");
        decoder.append(&meta("orderbook.okx.spot.A-B", 1), payload.as_bytes())?;
        Ok::<_, Rejection>(decoder.finish().unwrap())
    };
    let batch = book(r#""bids":null,"asks":[["1","2"]]"#).unwrap();
    assert_eq!(cell(&batch, "bids_count"), "0");
    assert_eq!(cell(&batch, "best_bid_price"), "NULL");
    assert_eq!(cell(&batch, "asks_count"), "1");
    let rejection = book(r#""asks":[["1","2"]]"#).unwrap_err();
    assert_eq!(rejection.reason.label(), "missing");
}

#[test]
fn the_subject_fills_what_the_message_lacks_dots_included() {
    let batch = trade("trade.nyse.spot.BRK.B", "").unwrap();
    assert_eq!(cell(&batch, "symbol"), "BRK.B");
    assert_eq!(cell(&batch, "exchange"), "nyse");
    assert_eq!(cell(&batch, "data_source"), "nyse");
    let batch = trade(
        "trade.nyse.spot.X",
        ",\"symbol\":\"BRK.B\",\"data_source\":\"ws\"",
    )
    .unwrap();
    assert_eq!(cell(&batch, "symbol"), "BRK.B");
    assert_eq!(cell(&batch, "data_source"), "ws");
    let rejection = trade("trade.nyse.spot.X", ",\"symbol\":\"\"").unwrap_err();
    assert_eq!(rejection.reason.label(), "empty_value");
    let rejection = trade("trade.nyse.spot", "").unwrap_err();
    assert_eq!(rejection.reason.label(), "missing");
}
