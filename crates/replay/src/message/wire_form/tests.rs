//! The wire form against its documentation.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use super::{StreamOrder, WireForm};
use mpsync_core::dataset::builtin;

fn form(dataset: &str, subject: Option<&str>) -> WireForm {
    let dataset = builtin()
        .iter()
        .find(|d| d.name.as_str() == dataset)
        .unwrap();
    WireForm::new(dataset, subject, StreamOrder::Event).unwrap()
}

fn decimals(values: Vec<Option<i128>>) -> ArrayRef {
    Arc::new(
        Decimal128Array::from(values)
            .with_precision_and_scale(38, 18)
            .unwrap(),
    )
}

fn common() -> Vec<(&'static str, ArrayRef)> {
    vec![
        (
            "timestamp",
            Arc::new(
                TimestampMillisecondArray::from(vec![1_760_000_000_123, 5]).with_timezone("UTC"),
            ),
        ),
        (
            "exchange",
            Arc::new(StringArray::from(vec!["okx", "binance"])),
        ),
        (
            "market_type",
            Arc::new(StringArray::from(vec!["spot", "spot"])),
        ),
        (
            "symbol",
            Arc::new(StringArray::from(vec!["BTC-USDT", "A.B \"C\""])),
        ),
        ("stream_epoch", Arc::new(UInt64Array::from(vec![9, 9]))),
        ("stream_seq", Arc::new(UInt64Array::from(vec![1, 2]))),
    ]
}

fn written(
    form: &WireForm,
    columns: Vec<(&'static str, ArrayRef)>,
    shift_secs: i64,
) -> Vec<(String, String)> {
    let bound = form
        .bind(
            &RecordBatch::try_from_iter_with_nullable(
                columns.into_iter().map(|(n, a)| (n, a, true)),
            )
            .unwrap(),
        )
        .unwrap();
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    };
    (0..bound.rows())
        .map(|row| {
            (
                text(&|out| bound.push_subject(row, out)),
                text(&|out| bound.push_payload(row, shift_secs, out)),
            )
        })
        .collect()
}

#[test]
fn trade_is_written_as_documented() {
    let mut columns = common();
    columns.extend([
        (
            "price",
            decimals(vec![Some(64_900_500_000_000_000_000_000), Some(1)]),
        ),
        (
            "quantity",
            decimals(vec![Some(10_i128.pow(18)), Some(-10_i128.pow(17))]),
        ),
        (
            "is_maker",
            Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef,
        ),
        // A time finer than a millisecond, and one in a year in which integers are ambiguous.
        (
            "trade_time",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_760_000_000_123_456), None])
                    .with_timezone("UTC"),
            ),
        ),
    ]);
    assert_eq!(
        written(&form("trades", None), columns, 0),
        [
            (
                "trade.okx.spot.BTC-USDT".to_owned(),
                r#"{"data_type":"trade","ts_ms":1760000000123,"exchange":"okx","market_type":"spot","symbol":"BTC-USDT","price":"64900.5","quantity":"1","is_maker":true,"trade_time":"2025-10-09T08:53:20.123456Z"}"#.to_owned()
            ),
            (
                "trade.binance.spot.A_B_\"C\"".to_owned(),
                r#"{"data_type":"trade","timestamp":"1970-01-01T00:00:00.005Z","exchange":"binance","market_type":"spot","symbol":"A.B \"C\"","price":"0.000000000000000001","quantity":"-0.1"}"#.to_owned()
            ),
        ]
    );
}

#[test]
fn levels_are_pairs_and_derived_columns_are_omitted() {
    let parts = Fields::from(vec![
        Field::new("price", DataType::Decimal128(38, 18), false),
        Field::new("quantity", DataType::Decimal128(38, 18), false),
    ]);
    let prices = decimals(vec![Some(2 * 10_i128.pow(18)), Some(10_i128.pow(18))]);
    let quantities = decimals(vec![Some(0), Some(5 * 10_i128.pow(17))]);
    let levels = StructArray::new(parts.clone(), vec![prices, quantities], None);
    let item = Arc::new(Field::new("item", DataType::Struct(parts), false));
    let bids = ListArray::new(
        item,
        OffsetBuffer::new(vec![0, 2, 2].into()),
        Arc::new(levels),
        None,
    );
    let mut columns = common();
    columns.extend([
        (
            "last_update_id",
            Arc::new(Int64Array::from(vec![Some(-4), None])) as ArrayRef,
        ),
        ("bids", Arc::new(bids)),
        ("bids_count", Arc::new(UInt64Array::from(vec![2, 0]))),
    ]);
    let found = written(
        &form("orderbooks", Some("replay.{symbol}.{dataset}")),
        columns,
        1000,
    );
    assert_eq!(found[0].0, "replay.BTC-USDT.orderbooks");
    assert_eq!(
        found[0].1,
        r#"{"data_type":"orderbook","ts_ms":1760001000123,"exchange":"okx","market_type":"spot","symbol":"BTC-USDT","last_update_id":-4,"bids":[["2","0"],["1","0.5"]]}"#
    );
    assert!(found[1].1.ends_with(r#""bids":[]}"#), "{}", found[1].1);
}

#[test]
fn rows_without_position_are_refused() {
    let columns: Vec<_> = common()
        .into_iter()
        .filter(|(name, _)| *name != "stream_seq")
        .collect();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let e = form("trades", None).bind(&batch).unwrap_err().to_string();
    assert!(e.contains("trades") && e.contains("`stream_seq`"), "{e}");
}
