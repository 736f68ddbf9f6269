//! The expected row, worked out a second time and differently: with `serde_json`, text and big-enough integers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal128Type, Int32Type, Int64Type, TimestampMillisecondType,
    TimestampNanosecondType, UInt32Type, UInt64Type,
};
use serde_json::value::RawValue;

use super::{STORED_AT_NANOS, meta};
use mpsync_core::dataset::{BadPolicy, BookSide, ColumnSource, Dataset, LevelPart};

/// A number without the forms in which it may be written: sign, digits without zeros at either end, power of ten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Normal(bool, String, i64);

/// Takes a number's text to pieces.
pub(super) fn normal(text: &str) -> Normal {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i64>().unwrap()),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_end_matches('0');
    let zeros = i64::try_from(all.len() - digits.len()).unwrap();
    let power = exponent - i64::try_from(fraction.len()).unwrap() + zeros;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Normal(false, String::new(), 0);
    }
    Normal(negative, digits.to_owned(), power)
}

/// A decimal of an Arrow array.
fn normal_of(unscaled: i128, scale: i8) -> Normal {
    normal(&format!("{unscaled}e-{scale}"))
}

type Object = BTreeMap<String, Box<RawValue>>;

/// A JSON string's value or a number's text.
fn text(raw: &RawValue) -> String {
    serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// The fields as `serde_json` reads them.
pub(super) fn object(payload: &[u8]) -> Object {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(payload) {
        Ok(_) => {}
        // Only as a float: numbers of passed-over fields are of any size.
        Err(e) => assert!(e.to_string().starts_with("number out of range"), "{e}"),
    }
    serde_json::from_slice(payload).unwrap()
}

/// Holds a row against the message that it came from: every column, by its source.
pub(super) fn check(
    dataset: &Dataset,
    subject: &str,
    payload: &[u8],
    batch: &RecordBatch,
    row: usize,
    seq: u64,
) {
    let object = object(payload);
    for (name, source) in &dataset.columns {
        let array = batch.column_by_name(name).unwrap();
        let what = format!("column {name} of {}", String::from_utf8_lossy(payload));
        match source {
            ColumnSource::Fields(names) => {
                let found = names
                    .iter()
                    .find_map(|field| match field.strip_prefix("$subject.") {
                        Some(n) => {
                            let token = match n.strip_suffix(".rest") {
                                Some(n) => {
                                    let n: usize = n.parse().unwrap();
                                    subject.splitn(n + 1, '.').nth(n)?
                                }
                                None => subject.split('.').nth(n.parse().unwrap())?,
                            };
                            Some(serde_json::value::to_raw_value(token).unwrap())
                        }
                        None => object.get(field).filter(|raw| raw.get() != "null").cloned(),
                    });
                let policy = dataset.policies.get(name).copied().unwrap_or_default();
                match found {
                    Some(raw) if array.is_null(row) => {
                        let may = policy.bad == BadPolicy::Null && !is_milliseconds(&raw);
                        assert!(may || raw.get() == "\"\"", "{what}");
                    }
                    Some(raw) => check_value(&what, &raw, array, row),
                    None if policy.null_is_empty => {
                        assert!(levels(array, row).is_empty(), "{what}");
                    }
                    None => assert!(array.is_null(row), "{what}"),
                }
            }
            ColumnSource::StoredAt => {
                let nanos = array.as_primitive::<TimestampNanosecondType>().value(row);
                assert_eq!(nanos, STORED_AT_NANOS, "{what}");
            }
            ColumnSource::Epoch => {
                let epoch = array.as_primitive::<UInt64Type>().value(row);
                assert_eq!(epoch, meta("", 0).position.epoch.0, "{what}");
            }
            ColumnSource::Sequence => {
                assert_eq!(array.as_primitive::<UInt64Type>().value(row), seq, "{what}");
            }
            ColumnSource::Count(of) => {
                let levels: Option<Vec<Box<RawValue>>> =
                    serde_json::from_str(object[of].get()).unwrap();
                let levels = levels.unwrap_or_default();
                let count = array.as_primitive::<UInt32Type>().value(row);
                assert_eq!(count as usize, levels.len(), "{what}");
            }
            ColumnSource::Best { of, side, part } => {
                let best = best(batch.column_by_name(of).unwrap(), row, *side, *part);
                let own = (!array.is_null(row))
                    .then(|| array.as_primitive::<Decimal128Type>().value(row));
                assert_eq!(own, best, "{what}");
            }
        }
    }
}

fn check_value(what: &str, raw: &RawValue, array: &ArrayRef, row: usize) {
    assert!(!array.is_null(row), "{what}");
    match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            assert_eq!(normal_of(value, *scale), normal(&text(raw)), "{what}");
        }
        DataType::Timestamp(..) => {
            let value = array.as_primitive::<TimestampMillisecondType>().value(row);
            assert_eq!(i128::from(value), milliseconds(&text(raw)), "{what}");
        }
        DataType::Utf8 => assert_eq!(array.as_string::<i32>().value(row), text(raw), "{what}"),
        DataType::Dictionary(..) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let key = usize::try_from(dictionary.keys().value(row)).unwrap();
            let value = dictionary.values().as_string::<i32>().value(key);
            assert_eq!(value, text(raw), "{what}");
        }
        DataType::Boolean => {
            let wanted = matches!(text(raw).to_lowercase().as_str(), "true" | "1");
            assert_eq!(array.as_boolean().value(row), wanted, "{what}");
        }
        DataType::Int64 => {
            let value = array.as_primitive::<Int64Type>().value(row);
            assert_eq!(normal(&value.to_string()), normal(&text(raw)), "{what}");
        }
        DataType::UInt64 => {
            let value = array.as_primitive::<UInt64Type>().value(row);
            assert_eq!(normal(&value.to_string()), normal(&text(raw)), "{what}");
        }
        DataType::List(_) => assert_eq!(levels(array, row), levels_of(raw), "{what}"),
        other => panic!("{what}: {other}"),
    }
}

/// Whether a value is what publishers send: a plausible number of milliseconds.
fn is_milliseconds(raw: &RawValue) -> bool {
    let text = text(raw);
    let digits = text.len() == 13 && text.bytes().all(|b| b.is_ascii_digit());
    digits && ("1230768000000".."9223372036000").contains(&text.as_str())
}

/// Milliseconds since 1970, rounded half to even.
fn milliseconds(text: &str) -> i128 {
    let nanos = nanos(text);
    let (whole, rest) = (nanos.div_euclid(1_000_000), nanos.rem_euclid(1_000_000));
    let up = rest > 500_000 || rest == 500_000 && whole % 2 == 1;
    whole + i128::from(up)
}

/// Nanoseconds since 1970, finer digits cut: a number in whichever unit is plausible, or RFC 3339 as `jiff` reads it.
fn nanos(text: &str) -> i128 {
    if !text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        || text.matches('-').count() > 1
    {
        let zoned = if text.len() <= 10 || text[10..].contains(['Z', 'z', '+', '-']) {
            text.to_owned()
        } else {
            format!("{text}Z")
        };
        return zoned.parse::<jiff::Timestamp>().unwrap().as_nanosecond();
    }
    let Normal(negative, digits, power) = normal(text);
    if digits.is_empty() {
        return 0;
    }
    let digits: i128 = digits.parse().unwrap();
    assert!(!negative);
    [9_i64, 6, 3, 0]
        .into_iter()
        .map(|unit| match u32::try_from(power + unit) {
            Ok(more) => digits.saturating_mul(10_i128.saturating_pow(more)),
            Err(_) => digits / 10_i128.saturating_pow(u32::try_from(-power - unit).unwrap()),
        })
        .find(|nanos| (1_230_768_000_000_000_000..9_223_372_036_000_000_000).contains(nanos))
        .unwrap()
}

fn levels(array: &ArrayRef, row: usize) -> Vec<(Normal, Normal)> {
    let levels = array.as_list::<i32>().value(row);
    let levels = levels.as_struct();
    let part = |i: usize| {
        let decimals = levels.column(i).as_primitive::<Decimal128Type>();
        let scale = decimals.scale();
        decimals
            .values()
            .iter()
            .map(move |&value| normal_of(value, scale))
    };
    part(0).zip(part(1)).collect()
}

fn levels_of(raw: &RawValue) -> Vec<(Normal, Normal)> {
    let levels: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).unwrap();
    let level = |raw: &RawValue| {
        if let Ok(pair) = serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()) {
            return (normal(&text(&pair[0])), normal(&text(&pair[1])));
        }
        let object: Object = serde_json::from_str(raw.get()).unwrap();
        let quantity = ["quantity", "qty", "size", "amount"]
            .iter()
            .find_map(|name| object.get(*name))
            .unwrap();
        (normal(&text(&object["price"])), normal(&text(quantity)))
    };
    levels.iter().map(|raw| level(raw)).collect()
}

fn best(array: &ArrayRef, row: usize, side: BookSide, part: LevelPart) -> Option<i128> {
    let levels = array.as_list::<i32>().value(row);
    let levels = levels.as_struct();
    let numbers = |i: usize| {
        levels
            .column(i)
            .as_primitive::<Decimal128Type>()
            .values()
            .to_vec()
    };
    let mut left: Vec<_> = numbers(0).into_iter().zip(numbers(1)).collect();
    left.retain(|(_, quantity)| *quantity != 0);
    // Stable: of equal prices the first one stays the first.
    left.sort_by_key(|(price, _)| match side {
        BookSide::Bid => -price,
        BookSide::Ask => *price,
    });
    left.first().map(|(price, quantity)| match part {
        LevelPart::Price => *price,
        LevelPart::Quantity => *quantity,
    })
}

/// A decimal's text with all digits of its scale.
pub(super) fn decimal_text(digits: &str, scale: usize, negative: bool) -> String {
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let mut out = String::new();
    let _ = write!(out, "{}{whole}", if negative { "-" } else { "" });
    if scale > 0 {
        let _ = write!(out, ".{fraction}");
    }
    out
}
