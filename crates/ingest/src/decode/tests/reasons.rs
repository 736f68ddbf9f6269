//! Every reason of a rejection, with its exact text.

use super::{STORED_AT_NANOS, custom, dataset, decoder, decoder_of, meta, row, table, table_of};
use crate::{Decoder, MAX_PAYLOAD_BYTES, Reason};

const LEVELS: &str = "Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18)))";

/// A message with one field `v` for a column of a type, its label and text.
fn check(type_text: &str, json: &str, label: &str, text: &str) {
    let mut decoder = decoder_of(&[("v", type_text)]);
    let payload = format!("{{\"ts\":1774590000000,\"v\":{json}}}");
    let rejection = row(&mut decoder, &payload).unwrap_err();
    assert_eq!(rejection.to_string(), text);
    assert_eq!(rejection.reason.label(), label);
    assert_eq!(
        (decoder.rows(), decoder.bytes() / 64),
        (0, decoder_of(&[("v", type_text)]).bytes() / 64)
    );
    assert_eq!(decoder.counters().rejected, 1);
}

#[test]
fn a_payload_other_than_an_object_is_rejected() {
    let mut decoder = decoder("trades");
    for (payload, text) in [
        (&b""[..], "the payload is empty"),
        (
            b"  ",
            "the payload is not a JSON object: an object was expected at byte 2",
        ),
        (
            b"[1]",
            "the payload is not a JSON object: an object was expected at byte 0",
        ),
        (
            b"{\"price\":1",
            "the payload is not a JSON object: `,` or `}` was expected at byte 10",
        ),
        (
            b"{} x",
            "the payload is not a JSON object: there is more after the end of the object at byte 3",
        ),
        (
            b"{\"a\":\"\xff\"}",
            "the payload is not a JSON object: invalid UTF-8 begins at byte 6",
        ),
    ] {
        let rejection = decoder
            .append(&meta("trade.a.b.c", 1), payload)
            .unwrap_err();
        assert_eq!(rejection.to_string(), text);
    }
    let large = vec![b' '; MAX_PAYLOAD_BYTES + 1];
    let rejection = decoder.append(&meta("trade.a.b.c", 1), &large).unwrap_err();
    assert_eq!(
        rejection.to_string(),
        "the payload has 8388609 bytes, more than the 8388608 allowed"
    );
    assert_eq!(rejection.reason.label(), "too_large");
}

#[test]
fn a_field_that_is_there_twice_is_rejected() {
    let mut decoder = decoder_of(&[("bids", LEVELS)]);
    for (payload, text) in [
        (
            r#"{"ts":1774590000000,"ts":1774590000000}"#,
            "field `ts` is there twice",
        ),
        (
            r#"{"ts":1774590000000,"t\u0073":1774590000000}"#,
            "field `ts` is there twice",
        ),
        (
            r#"{"ts":1774590000000,"bids":[],"new":1,"bids":[]}"#,
            "field `bids` is there twice",
        ),
        (
            r#"{"ts":1774590000000,"bids":[],"new\u0000":1,"x":2,"new\u0000":3}"#,
            "field `new\\0` is there twice",
        ),
        (
            r#"{"ts":1774590000000,"bids":[{"price":1,"qty":2,"size":3}]}"#,
            "field `bids[0].size` is there twice",
        ),
        (
            r#"{"ts":1774590000000,"bids":[["1","2"],{"price":1,"price":2,"qty":3}]}"#,
            "field `bids[1].price` is there twice",
        ),
    ] {
        let rejection = row(&mut decoder, payload).unwrap_err();
        assert_eq!(rejection.to_string(), text);
        assert_eq!(rejection.reason.label(), "duplicate_field");
    }
}

#[test]
fn a_column_without_a_value_is_rejected_unless_it_is_nullable() {
    let mut decoder = decoder("funding_rates");
    let payload = r#"{"ts_ms":1774590000000,"exchange":"e","market_type":"m","symbol":"s","data_source":"d","funding_rate":null}"#;
    let rejection = row(&mut decoder, payload).unwrap_err();
    assert_eq!(
        rejection.to_string(),
        "column `funding_rate` cannot be NULL, and the message has none of the fields `funding_rate`, `current_funding_rate`"
    );
    assert_eq!(rejection.reason.label(), "missing");
    let mut decoder = super::decoder("trades");
    let payload = r#"{"ts_ms":1774590000000}"#;
    let rejection = decoder
        .append(&meta("trade", 1), payload.as_bytes())
        .unwrap_err();
    assert_eq!(
        rejection.to_string(),
        "column `exchange` cannot be NULL, and the message has none of the fields `exchange`, `$subject.1`"
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_rejected() {
    check(
        "Decimal(9, 2)",
        "true",
        "wrong_type",
        "column `v` of type Decimal(9, 2): field `v` is true, which it cannot take",
    );
    check(
        "String",
        "{\"a\":\"b\"}",
        "wrong_type",
        "column `v` of type String: field `v` is {\"a\":\"b\"}, which it cannot take",
    );
    check(
        "Bool",
        "\"yes\"",
        "wrong_type",
        "column `v` of type Bool: field `v` is \"yes\", which it cannot take",
    );
    check(
        "Array(UInt8)",
        "[1,null]",
        "wrong_type",
        "column `v` of type Array(UInt8): field `v[1]` is null, which it cannot take",
    );
    check(
        "Array(UInt8)",
        "\"1\"",
        "wrong_type",
        "column `v` of type Array(UInt8): field `v` is \"1\", which it cannot take",
    );
    check(
        LEVELS,
        "[[\"1\",\"2\"],7]",
        "wrong_type",
        "column `v` of type Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))): field `v[1]` is 7, which it cannot take",
    );
    check(
        LEVELS,
        "[[\"1\",null]]",
        "wrong_type",
        "column `v` of type Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))): field `v[0][1]` is null, which it cannot take",
    );
    check(
        LEVELS,
        "{}",
        "wrong_type",
        "column `v` of type Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))): field `v` is {}, which it cannot take",
    );
}

#[test]
fn a_level_without_price_or_quantity_is_rejected() {
    check(
        LEVELS,
        "[[\"1\",\"2\"], [\"1\"]]",
        "wrong_elements",
        "column `v` of type Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))): field `v[1]` is [\"1\"], \
         which does not have the elements that it must have",
    );
    check(
        LEVELS,
        "[{\"price\":1}]",
        "wrong_elements",
        "column `v` of type Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))): field `v[0]` is {\"price\":1}, \
         which does not have the elements that it must have",
    );
    check(
        "Tuple(UInt8, UInt8)",
        "[1,2,3]",
        "wrong_elements",
        "column `v` of type Tuple(UInt8, UInt8): field `v` is [1,2,3], which does not have the elements that it must have",
    );
}

#[test]
fn an_invalid_number_is_rejected() {
    check(
        "Decimal(9, 2)",
        "\"1.2.3\"",
        "bad_number",
        "column `v` of type Decimal(9, 2): field `v` is \"1.2.3\", which is not a number",
    );
    check(
        "UInt8",
        "\"\"",
        "bad_number",
        "column `v` of type UInt8: field `v` is \"\", which is not a number",
    );
    check(
        LEVELS,
        "[[\"1\",\"2\"],{\"price\":\"a\\u0000b\",\"qty\":1}]",
        "bad_number",
        "column `v` of type Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))): field `v[1].price` is \"a\\u0000b\", \
         which is not a number",
    );
    let long = format!("\"{}\"", "x".repeat(100));
    let shown = "x".repeat(64);
    check(
        "UInt8",
        &long,
        "bad_number",
        &format!("column `v` of type UInt8: field `v` is \"{shown}…\", which is not a number"),
    );
}

#[test]
fn a_number_that_does_not_fit_is_rejected() {
    check(
        "Decimal(9, 2)",
        "\"1.234\"",
        "excess_digits",
        "column `v` of type Decimal(9, 2): field `v` is \"1.234\", which has more decimals than the column holds",
    );
    check(
        "UInt8",
        "1.5",
        "excess_digits",
        "column `v` of type UInt8: field `v` is 1.5, which has more decimals than the column holds",
    );
    check(
        "UInt8",
        "256",
        "out_of_range",
        "column `v` of type UInt8: field `v` is 256, which is beyond what the column holds",
    );
    check(
        "Decimal(9, 2)",
        "12345678",
        "out_of_range",
        "column `v` of type Decimal(9, 2): field `v` is 12345678, which is beyond what the column holds",
    );
    check(
        "Enum8('buy' = 1)",
        "\"sell\"",
        "out_of_range",
        "column `v` of type Enum8('buy' = 1): field `v` is \"sell\", which is beyond what the column holds",
    );
}

#[test]
fn a_time_that_is_none_is_rejected() {
    check(
        "DateTime64(3)",
        "\"soon\"",
        "bad_time",
        "column `v` of type DateTime64(3): field `v` is \"soon\", which is not a time",
    );
    check(
        "DateTime64(3)",
        "86400000",
        "implausible_time",
        "column `v` of type DateTime64(3): field `v` is 86400000, which is not a plausible time: as a number since 1970, be it of \
         seconds, milliseconds, microseconds or nanoseconds, it is not between 2009 and 2262",
    );
}

#[test]
fn an_event_time_before_2009_or_after_the_day_of_storage_is_rejected() {
    let mut decoder = decoder_of(&[]);
    let day = 86_400_000_000_000;
    for good in [
        1_230_768_000_000_000_000,
        STORED_AT_NANOS,
        STORED_AT_NANOS + day,
    ] {
        row(&mut decoder, &format!("{{\"ts\":{good}}}")).unwrap();
    }
    for (bad, shown) in [
        (
            (STORED_AT_NANOS + day + 1).to_string(),
            "1774676400000000001",
        ),
        ("0".to_owned(), "0"),
        (
            "\"2008-12-31T23:59:59.999999999Z\"".to_owned(),
            "\"2008-12-31T23:59:59.999999999Z\"",
        ),
    ] {
        let rejection = row(&mut decoder, &format!("{{\"ts\":{bad}}}")).unwrap_err();
        assert_eq!(
            rejection.to_string(),
            format!(
                "column `timestamp` of type DateTime64(9, 'UTC'): field `ts` is {shown}, which is not a plausible time: it must be \
                 from 2009-01-01T00:00:00Z to 2026-03-28T05:40:00Z, a day after the message was stored"
            )
        );
        assert_eq!(rejection.reason.label(), "implausible_time");
        assert!(matches!(rejection.reason, Reason::ImplausibleTime { .. }));
    }
    assert_eq!(decoder.rows(), 0);
}

#[test]
fn a_table_that_does_not_fit_is_refused_by_column() {
    let refusal = |columns: &[(&str, &str)]| {
        let (dataset, table) = custom(columns);
        Decoder::new(&dataset, &table).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(&[("v", "UUID")]),
        "fitting dataset custom to table hot.t: column `v`: a column of type UUID cannot be filled from messages"
    );
    assert!(refusal(&[("v", "Array(Map(String, String))")]).contains("column `v`: "));
    assert!(refusal(&[("v", "Int128")]).contains("column `v`: "));

    let (dataset, _) = custom(&[]);
    let time = |type_text: &str| {
        let table = table(&[
            ("timestamp", type_text),
            ("stream_epoch", "UInt64"),
            ("stream_seq", "UInt64"),
        ]);
        Decoder::new(&dataset, &table).unwrap_err().to_string()
    };
    assert_eq!(
        time("Nullable(DateTime64(3))"),
        "fitting dataset custom to table hot.t: column `timestamp` holds the event time and must be a DateTime or DateTime64 that \
         is not Nullable; it is Nullable(DateTime64(3))"
    );
    let missing = table(&[("timestamp", "DateTime"), ("stream_epoch", "UInt64")]);
    assert_eq!(
        Decoder::new(&dataset, &missing).unwrap_err().to_string(),
        "fitting dataset custom to table hot.t: column `stream_seq`: the table has no such column"
    );
}

#[test]
fn a_derived_column_that_cannot_be_derived_is_refused() {
    let books = dataset("orderbooks");
    let refusal = |column: &str, type_text: &str| {
        let mut table = table_of(&books);
        let found = table.columns.iter_mut().find(|c| c.name == column).unwrap();
        found.column_type = mpsync_core::dataset::ColumnType::parse(type_text).unwrap();
        Decoder::new(&books, &table).unwrap_err().to_string()
    };
    for (column, type_text, text) in [
        (
            "best_bid_price",
            "Decimal(38, 18)",
            "column `best_bid_price`: it is Decimal(38, 18), but its source needs it to be Nullable: a side of a book can be empty",
        ),
        (
            "best_bid_price",
            "Nullable(Decimal(38, 8))",
            "column `best_bid_price`: it is Nullable(Decimal(38, 8)), but its source needs the same decimal as in `bids`",
        ),
        (
            "bids",
            "Array(String)",
            "column `best_bid_price`: it is Nullable(Decimal(38, 18)), but its source needs `bids` to be an array of levels, each a \
             tuple of the decimals price and quantity",
        ),
        (
            "bids",
            "String",
            "column `bids`: it has `null_is_empty`, but is not an array",
        ),
        (
            "asks_count",
            "String",
            "column `asks_count`: it is String, but its source needs an integer",
        ),
        (
            "created_at",
            "DateTime64(3)",
            "column `created_at`: it is DateTime64(3), but its source needs DateTime64(9): the time of storage is part of a row's \
             identity, to the nanosecond",
        ),
        (
            "stream_seq",
            "UInt32",
            "column `stream_seq`: it is UInt32, but its source needs UInt64",
        ),
    ] {
        assert_eq!(
            refusal(column, type_text),
            format!("fitting dataset orderbooks to table hot.t: {text}")
        );
    }
}
