//! Whatever is written into a message comes out of its row; what is rejected leaves nothing behind.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    Decimal128Type, Decimal256Type, TimestampMicrosecondType, TimestampNanosecondType, i256,
};
use proptest::prelude::*;

use super::reference::decimal_text;
use super::{cases, custom, meta};
use crate::Decoder;

const COLUMNS: &[(&str, &str)] = &[
    ("narrow", "Decimal(38, 18)"),
    ("wide", "Nullable(Decimal(76, 38))"),
    ("time", "DateTime64(6, 'UTC')"),
    ("text", "String"),
    ("word", "LowCardinality(Nullable(String))"),
    (
        "levels",
        "Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18)))",
    ),
];

/// A row as it was before it became a message.
#[derive(Debug, Clone)]
struct Row {
    timestamp_nanos: i64,
    narrow: i128,
    wide: Option<(bool, u128)>,
    time_micros: i64,
    text: String,
    word: Option<u8>,
    levels: Vec<(i128, i128)>,
    /// In which of the forms things are written.
    form: u8,
    /// Where a value is spoilt, if it is to be rejected.
    spoilt: Option<u8>,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let decimal = prop_oneof![
        -10_i128.pow(38) + 1..10_i128.pow(38),
        any::<i64>().prop_map(i128::from),
        (0_i128..1_000_000_000).prop_map(|n| n * 10_i128.pow(14)),
    ];
    let level = (decimal.clone(), decimal.clone());
    let row = (
        1_230_768_000_000_000_000_i64..1_774_590_000_000_000_000,
        decimal,
        proptest::option::of((any::<bool>(), any::<u128>())),
        1_230_768_000_000_000_i64..4_000_000_000_000_000,
        any::<String>(),
        proptest::option::of(0_u8..20),
        proptest::collection::vec(level, 0..6),
        any::<u8>(),
        proptest::option::weighted(0.3, 0_u8..7),
    );
    let row = row.prop_map(
        |(timestamp_nanos, narrow, wide, time_micros, text, word, levels, form, spoilt)| Row {
            timestamp_nanos,
            narrow,
            wide,
            time_micros,
            text,
            word,
            levels,
            form,
            spoilt,
        },
    );
    proptest::collection::vec(row, 1..30)
}

fn decimal(value: i128, form: u8) -> String {
    match form % 3 {
        0 => format!(
            "\"{}\"",
            decimal_text(&value.unsigned_abs().to_string(), 18, value < 0)
        ),
        1 => format!("{value}e-18"),
        _ => format!("\"{value}E-18\""),
    }
}

/// The canonical message of a row, and variations of it that mean the same.
fn encode(row: &Row) -> String {
    let spoilt = |part: u8, good: String| {
        if row.spoilt == Some(part) {
            "\"spoilt\"".to_owned()
        } else {
            good
        }
    };
    let mut members = vec![
        format!("\"ts\":{}", spoilt(0, row.timestamp_nanos.to_string())),
        format!("\"narrow\":{}", spoilt(1, decimal(row.narrow, row.form))),
        format!("\"time\":{}", spoilt(2, time(row))),
        // Spoilt: an object is not a text.
        format!(
            "\"text\":{}",
            if row.spoilt == Some(3) {
                "{}".to_owned()
            } else {
                serde_json::to_string(&row.text).unwrap()
            }
        ),
        format!("\"levels\":{}", levels(row)),
    ];
    if let Some((negative, digits)) = row.wide {
        let text = decimal_text(&digits.to_string(), 38, negative);
        members.push(format!("\"wide\":{}", spoilt(4, format!("\"{text}\""))));
    } else if row.form.is_multiple_of(2) {
        members.push("\"wide\":null".to_owned());
    }
    if let Some(word) = row.word {
        members.push(format!(
            "\"word\":{}",
            if row.spoilt == Some(5) {
                "[]".to_owned()
            } else {
                format!("\"w{word}\"")
            }
        ));
    }
    if row.form & 4 != 0 {
        members.reverse();
    }
    let separator = if row.form & 8 != 0 { " ,\n" } else { "," };
    format!("{{{}}}", members.join(separator))
}

fn time(row: &Row) -> String {
    match row.form % 5 {
        0 => row.time_micros.to_string(),
        1 => format!("\"{}\"", row.time_micros),
        2 => format!("{}000", row.time_micros),
        3 => format!(
            "{}.{:06}",
            row.time_micros / 1_000_000,
            row.time_micros % 1_000_000
        ),
        _ => format!(
            "\"{}\"",
            jiff::Timestamp::from_microsecond(row.time_micros).unwrap()
        ),
    }
}

fn levels(row: &Row) -> String {
    let mut out = "[".to_owned();
    for (i, (price, quantity)) in row.levels.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let (price, quantity) = (decimal(*price, row.form), decimal(*quantity, row.form));
        let quantity = if row.spoilt == Some(6) && i + 1 == row.levels.len() {
            "\"?\"".to_owned()
        } else {
            quantity
        };
        let _ = match row.form % 4 {
            0 => write!(out, "{comma}{{\"price\":{price},\"size\":{quantity}}}"),
            _ => write!(out, "{comma}[{price},{quantity}]"),
        };
    }
    out + "]"
}

fn is_spoilt(row: &Row) -> bool {
    match row.spoilt {
        None => false,
        Some(4) => row.wide.is_some(),
        Some(5) => row.word.is_some(),
        Some(6) => !row.levels.is_empty(),
        Some(_) => true,
    }
}

fn wide(row: &Row) -> Option<i256> {
    let (negative, digits) = row.wide?;
    let value = i256::from_string(&digits.to_string()).unwrap();
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn rows_come_back_exactly_and_rejected_ones_leave_no_trace(rows in rows()) {
        let (dataset, table) = custom(COLUMNS);
        let mut decoder = Decoder::new(&dataset, &table).unwrap();
        // A second batch, so that what a first one leaves in the decoder is in the way.
        for _ in 0..2 {
            let mut kept = Vec::new();
            for (seq, row) in (1..).zip(&rows) {
                let message = encode(row);
                let appended = decoder.append(&meta("c.x", seq), message.as_bytes());
                prop_assert_eq!(appended.is_err(), is_spoilt(row), "{} {:?}", message, appended);
                if let Ok(appended) = appended {
                    prop_assert_eq!(appended.event_time_nanos, row.timestamp_nanos);
                    kept.push((seq, row));
                }
                prop_assert_eq!(decoder.rows(), kept.len());
            }
            let batch = decoder.finish().unwrap();
            prop_assert_eq!(batch.num_rows(), kept.len());
            prop_assert_eq!(&batch.schema(), decoder.schema());
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let words = column("word").as_dictionary::<arrow::datatypes::Int32Type>();
            let used: std::collections::BTreeSet<_> = kept.iter().filter_map(|(_, row)| row.word).collect();
            prop_assert_eq!(words.values().len(), used.len().max(usize::from(!kept.is_empty())));
            let words = words.downcast_dict::<arrow::array::StringArray>().unwrap();
            for (i, (seq, row)) in kept.into_iter().enumerate() {
                prop_assert_eq!(column("stream_seq").as_primitive::<arrow::datatypes::UInt64Type>().value(i), seq);
                prop_assert_eq!(column("timestamp").as_primitive::<TimestampNanosecondType>().value(i), row.timestamp_nanos);
                prop_assert_eq!(column("narrow").as_primitive::<Decimal128Type>().value(i), row.narrow);
                let wides = column("wide").as_primitive::<Decimal256Type>();
                prop_assert_eq!(wides.is_valid(i).then(|| wides.value(i)), wide(row));
                prop_assert_eq!(column("time").as_primitive::<TimestampMicrosecondType>().value(i), row.time_micros);
                prop_assert_eq!(column("text").as_string::<i32>().value(i), &row.text);
                let word = words.is_valid(i).then(|| arrow::array::ArrayAccessor::value(&words, i).to_owned());
                prop_assert_eq!(word, row.word.map(|word| format!("w{word}")));
                let levels = column("levels").as_list::<i32>().value(i);
                let part = |i: usize| levels.as_struct().column(i).as_primitive::<Decimal128Type>().values().to_vec();
                let levels: Vec<_> = part(0).into_iter().zip(part(1)).collect();
                prop_assert_eq!(&levels, &row.levels);
            }
        }
    }
}
