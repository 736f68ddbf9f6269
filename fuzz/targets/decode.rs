//! Any bytes as a message: the decoder never panics, a rejected message leaves nothing behind, and an accepted one is JSON
//! whose numbers are, digit by digit, those of the row.
//!
//! The first byte of an input says the dataset, the rest is the payload. With `MPSYNC_SEEDS=FOLDER` it writes the recorded
//! messages there, in this form, and ends.

#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::util::display::array_value_to_string;
use libfuzzer_sys::fuzz_target;
use mpsync_clickhouse::TableSchema;
use mpsync_core::dataset::{Dataset, Epoch, Position, builtin};
use mpsync_generate::{DataKind, Generator, GeneratorOptions, read_messages};
use mpsync_ingest::{Decoder, MessageMeta};
use serde_json::value::RawValue;

const STORED_AT_NANOS: i64 = 1_774_590_000_000_000_000;

/// A dataset's decoder, and the message that every fresh batch of it begins with.
struct Target {
    kind: DataKind,
    decoder: Decoder,
}

thread_local! {
    static TARGETS: RefCell<Vec<Target>> = RefCell::new(targets());
}

fn targets() -> Vec<Target> {
    let target = |kind: DataKind| {
        let subject = format!("{}.x", kind.data_type());
        let takes = |d: &&Dataset| {
            d.subjects
                .iter()
                .any(|own| mpsync_nats::covers(own, &subject))
        };
        let dataset = builtin()
            .iter()
            .find(takes)
            .expect("a built-in dataset takes it");
        let table = TableSchema::of_ddl(dataset).expect("its DDL reads");
        let decoder = Decoder::new(dataset, &table).expect("its table fits");
        Target { kind, decoder }
    };
    DataKind::ALL.into_iter().map(target).collect()
}

fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("MPSYNC_SEEDS") {
            write_seeds(Path::new(&folder));
            std::process::exit(0);
        }
    },
    |data: &[u8]| {
        let Some((&which, payload)) = data.split_first() else { return };
        TARGETS.with_borrow_mut(|targets| {
            let which = usize::from(which) % targets.len();
            decode(&mut targets[which], payload);
        });
    }
);

fn decode(target: &mut Target, payload: &[u8]) {
    let subject = format!("{}.binance.spot.BTC-USDT", target.kind.data_type());
    let meta = MessageMeta {
        subject: &subject,
        position: Position {
            epoch: Epoch(1),
            seq: 7,
        },
        stored_at_nanos: STORED_AT_NANOS,
    };
    let decoder = &mut target.decoder;
    let accepted = decoder.append(&meta, payload);
    match accepted {
        Err(rejection) => {
            assert_eq!(decoder.rows(), 0, "a rejected message left a row behind");
            assert!(!rejection.to_string().is_empty());
        }
        Ok(appended) => {
            assert_eq!(decoder.rows(), 1);
            assert_eq!(
                appended.hour,
                appended.event_time_nanos.div_euclid(3_600_000_000_000)
            );
            let batch = decoder.finish().expect("a row");
            decoder
                .append(&meta, payload)
                .expect("accepted once, accepted again");
            assert_eq!(
                batch,
                decoder.finish().expect("a row"),
                "decoded twice, two rows"
            );
            compare(&batch, payload);
        }
    }
}

/// Holds the row's numbers against the message, which is read by other means.
fn compare(batch: &RecordBatch, payload: &[u8]) {
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(payload).expect("accepted, but no JSON object");
    for name in [
        "price",
        "quantity",
        "filled_quantity",
        "notional_value",
        "mark_price",
        "index_price",
    ] {
        let (Some(column), Some(raw)) = (batch.column_by_name(name), fields.get(name)) else {
            continue;
        };
        compare_number(column, 0, raw);
    }
    for name in ["bids", "asks"] {
        let (Some(column), Some(raw)) = (batch.column_by_name(name), fields.get(name)) else {
            continue;
        };
        let levels = column.as_list::<i32>().value(0);
        let parts = levels.as_struct();
        // A null side is an empty one.
        let raw: Option<Vec<Box<RawValue>>> = serde_json::from_str(raw.get()).expect("levels");
        let raw = raw.unwrap_or_default();
        assert_eq!(raw.len(), parts.len(), "a level was lost or made");
        for (at, level) in raw.iter().enumerate() {
            let Ok(pair) = serde_json::from_str::<Vec<Box<RawValue>>>(level.get()) else {
                continue;
            };
            compare_number(parts.column(0), at, &pair[0]);
            compare_number(parts.column(1), at, &pair[1]);
        }
    }
}

fn compare_number(column: &ArrayRef, at: usize, raw: &RawValue) {
    let text = serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
    if column.is_null(at) {
        return;
    }
    let found = array_value_to_string(column, at).expect("a number");
    assert_eq!(normal(&found), normal(text.trim()), "{text} became {found}");
}

/// Sign, digits without zeros at either end, and the power of ten of the last digit.
fn normal(text: &str) -> (bool, String, i64) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_end_matches('0');
    if digits.trim_start_matches('0').is_empty() {
        return (false, String::new(), 0);
    }
    // A number that is not zero fits its column, so that its exponent is small.
    let exponent: i64 = exponent.parse().expect("an exponent");
    let power = exponent - fraction.len() as i64 + (all.len() - digits.len()) as i64;
    (negative, digits.trim_start_matches('0').to_owned(), power)
}

/// The recorded messages, and generated ones of the kinds of which there is no recording.
fn write_seeds(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/messages");
    let mut messages = Vec::new();
    for file in std::fs::read_dir(fixtures).expect("the fixtures") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            messages.extend(
                read_messages(&path)
                    .expect("messages")
                    .map(|m| m.expect("a message")),
            );
        }
    }
    let options = GeneratorOptions {
        count: 3000,
        depth: 4,
        ..GeneratorOptions::default()
    };
    messages.extend(Generator::new(options).expect("messages"));
    for (n, message) in messages.iter().enumerate() {
        let kind = DataKind::of_subject(&message.subject).expect("a kind");
        let which = DataKind::ALL
            .iter()
            .position(|k| *k == kind)
            .expect("one of all");
        let mut input = vec![u8::try_from(which).expect("eight kinds")];
        input.extend_from_slice(&message.payload);
        std::fs::write(folder.join(format!("message-{n:05}")), input).expect("written");
    }
}
