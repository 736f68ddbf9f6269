//! Values of every kind of column.

use super::{cell, custom, decoder_of, meta, row, value};
use crate::ingest::Decoder;

#[test]
fn every_kind_of_column_takes_its_values() {
    for (type_text, json, expected) in [
        ("Bool", "true", "true"),
        ("Bool", "\"false\"", "false"),
        ("Bool", "1", "true"),
        ("Bool", "\"0\"", "false"),
        ("Nullable(Bool)", "null", "NULL"),
        ("String", "\"a\\u00e9\\n\\\"\"", "aé\n\""),
        ("String", "1.50", "1.50"),
        ("String", "\"\"", ""),
        ("LowCardinality(String)", "\"\\ud83d\\ude00\"", "😀"),
        ("LowCardinality(Nullable(String))", "null", "NULL"),
        ("LowCardinality(Nullable(String))", "\"x\"", "x"),
        ("Nullable(Decimal(38, 18))", "null", "NULL"),
        ("Decimal(9, 2)", "\"\\u0031.5\"", "1.50"),
        ("Enum8('buy' = 1, 'it\\'s' = 2)", "\"it's\"", "it's"),
        ("Array(String)", "[\"a\",2]", "[a, 2]"),
        ("Array(Nullable(UInt8))", " [ 1 , null ]", "[1, ]"),
        ("Array(Array(Int32))", "[[1],[],[2,3]]", "[[1], [], [2, 3]]"),
        (
            "Array(Tuple(id UInt8, name Nullable(String)))",
            "[[1,\"a\"],{\"id\":2}]",
            "[{id: 1, name: a}, {id: 2, name: }]",
        ),
        ("Tuple(UInt8, String)", "[7,\"x\"]", "{1: 7, 2: x}"),
        (
            "Array(Tuple(Decimal(76, 2), Decimal(38, 0)))",
            "[[\"1.25\",3]]",
            "[{1: 1.25, 2: 3}]",
        ),
    ] {
        assert_eq!(
            value(type_text, json).unwrap(),
            expected,
            "{type_text} {json}"
        );
    }
}

#[test]
fn levels_come_in_every_form() {
    const LEVELS: &str = "Array(Tuple(price Decimal(38, 2), quantity Decimal(38, 1)))";
    let level = |price: &str, quantity: &str| format!("{{price: {price}, quantity: {quantity}}}");
    for (json, expected) in [
        ("[]", vec![]),
        (" [ ] ", vec![]),
        ("[[\"1.5\",\"2\"]]", vec![level("1.50", "2.0")]),
        (
            "[[1.5,2],[\"-3e0\",0]]",
            vec![level("1.50", "2.0"), level("-3.00", "0.0")],
        ),
        (
            "[ [ \"1\" , \"2\" ] , [ \"3\" , \"4\" ] ]",
            vec![level("1.00", "2.0"), level("3.00", "4.0")],
        ),
        (
            "[[\"1\",\"2\",\"7\",{\"x\":[]}]]",
            vec![level("1.00", "2.0")],
        ),
        (
            "[{\"price\":\"1\",\"quantity\":\"2\"}]",
            vec![level("1.00", "2.0")],
        ),
        (
            "[{\"size\":3,\"orders\":9,\"price\":1}]",
            vec![level("1.00", "3.0")],
        ),
        (
            "[{\"qty\":3,\"price\":1},{\"amount\":4,\"price\":1}]",
            vec![level("1.00", "3.0"), level("1.00", "4.0")],
        ),
        (
            "[[\"0.0000e2\",\"0.00000000000000000000\"]]",
            vec![level("0.00", "0.0")],
        ),
    ] {
        assert_eq!(
            value(LEVELS, json).unwrap(),
            format!("[{}]", expected.join(", ")),
            "{json}"
        );
    }
}

#[test]
fn elements_of_levels_that_no_column_takes_are_counted() {
    let levels = "Array(Tuple(price Decimal(38, 2), quantity Decimal(38, 1)))";
    let mut decoder = decoder_of(&[("bids", levels)]);
    for payload in [
        r#"{"ts":1774590000000,"bids":[["1","2","3","4"],{"price":1,"qty":2,"orders":7}]}"#,
        r#"{"ts":1774590000000,"bids":[["1","2","3"]],"new":1}"#,
        // Rejected: what it had counts for nothing.
        r#"{"ts":1774590000000,"bids":[["1","2","3"],["x","2"]],"new":1}"#,
        r#"{"ts":1,"bids":[["1","2","3"]],"new":1}"#,
    ] {
        let _ = decoder.append(&meta("c.x", 1), payload.as_bytes());
    }
    let counters = decoder.counters();
    assert_eq!((counters.rows, counters.rejected), (2, 2));
    let unknown: Vec<_> = counters.unknown_fields.into_iter().collect();
    assert_eq!(unknown, [("bids[]".to_owned(), 4), ("new".to_owned(), 1)]);
}

#[test]
fn the_best_level_is_the_first_of_the_best_price_whose_quantity_is_not_zero() {
    let mut decoder = super::decoder("orderbooks");
    let payload = r#"{"ts_ms":1774590000000,"exchange":"e","market_type":"m","symbol":"s","data_source":"d",
        "bids":[["3","0"],["2","5"],["2","6"],["1","7"]],"asks":[["4","0"]]}"#;
    let batch = row(&mut decoder, payload).unwrap();
    for (column, expected) in [
        ("bids_count", "4"),
        ("asks_count", "1"),
        ("best_bid_price", "2.000000000000000000"),
        ("best_bid_quantity", "5.000000000000000000"),
        ("best_ask_price", "NULL"),
        ("best_ask_quantity", "NULL"),
        ("last_update_id", "NULL"),
    ] {
        assert_eq!(cell(&batch, column), expected, "{column}");
    }
}

#[test]
fn unknown_fields_are_counted_by_name_up_to_a_bound() {
    let (mut dataset, table) = custom(&[]);
    dataset.ignored_fields = vec!["publisher".to_owned()];
    let mut decoder = Decoder::new(&dataset, &table).unwrap();
    for seq in 0..300 {
        let payload = format!(
            r#"{{"ts":1774590000000,"publisher":1,"always":[{{}}],"n\u0061me{seq}":{{"a":1}}}}"#
        );
        decoder
            .append(&meta("c.x", seq), payload.as_bytes())
            .unwrap();
    }
    let counters = decoder.counters();
    assert_eq!(counters.unknown_fields.len(), 256);
    assert_eq!(counters.unknown_fields["always"], 300);
    assert_eq!(counters.unknown_fields["name7"], 1);
    assert_eq!(counters.other_unknown_fields, 45);
}

#[test]
fn the_first_field_that_is_there_and_not_null_wins() {
    let mut decoder = super::decoder("funding_rates");
    let common = r#""ts_ms":null,"timestamp":"2026-03-27T05:00:00Z","exchange":"e","market_type":"m","symbol":"s","data_source":"d""#;
    let payload = format!(
        r#"{{{common},"funding_rate":null,"current_funding_rate":"0.5","funding_ts_ms":1774590000000,"funding_time":"rubbish"}}"#
    );
    let batch = row(&mut decoder, &payload).unwrap();
    assert_eq!(cell(&batch, "timestamp"), "2026-03-27T05:00:00Z");
    assert_eq!(cell(&batch, "funding_rate"), "0.500000000000000000");
    assert_eq!(cell(&batch, "funding_time"), "2026-03-27T05:40:00Z");
}

#[test]
fn excess_digits_are_rounded_and_counted_where_the_dataset_says_so() {
    let (mut dataset, table) = custom(&[("v", "Decimal(9, 2)"), ("t", "DateTime64(3, 'UTC')")]);
    dataset.excess_digits = crate::dataset::ExcessDigits::Round;
    let mut decoder = Decoder::new(&dataset, &table).unwrap();
    let payload = r#"{"ts":1774590000000,"v":"1.2350","t":"2026-03-27T05:00:00.0015Z"}"#;
    let batch = row(&mut decoder, payload).unwrap();
    assert_eq!(cell(&batch, "v"), "1.24");
    assert_eq!(cell(&batch, "t"), "2026-03-27T05:00:00.002Z");
    assert_eq!(decoder.counters().rounded, 2);
    // Rejected for another reason: nothing was rounded that became a row.
    row(&mut decoder, r#"{"ts":1,"v":"1.2350","t":1774590000000}"#).unwrap_err();
    assert_eq!(decoder.counters().rounded, 2);
}
