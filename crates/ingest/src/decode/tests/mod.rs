//! Tests of the decoder as a whole, and what they share.

mod exact;
mod json;
mod kinds;
mod messages;
mod mutations;
mod number;
mod policies;
mod reasons;
mod reference;
mod scales;
mod time;

use std::fmt::Write as _;

use arrow::array::{Array as _, RecordBatch, make_array};
use arrow::datatypes::DataType;
use proptest::test_runner::{Config, RngSeed};

use super::{Decoder, MessageMeta, Rejection};
use mpsync_clickhouse::{TableColumn, TableSchema};
use mpsync_core::dataset::{ColumnType, Dataset, Epoch, Position, builtin};

/// 2026-03-27T05:40:00Z.
pub(super) const STORED_AT_NANOS: i64 = 1_774_590_000_000_000_000;

/// Property tests with the same cases at every run.
pub(crate) fn cases(count: u32) -> Config {
    Config {
        cases: count,
        rng_seed: RngSeed::Fixed(20_260_327),
        failure_persistence: None,
        ..Config::default()
    }
}

pub(super) fn meta(subject: &str, seq: u64) -> MessageMeta<'_> {
    MessageMeta {
        subject,
        position: Position {
            epoch: Epoch(1_700_000_000_000_000_001),
            seq,
        },
        stored_at_nanos: STORED_AT_NANOS,
    }
}

pub(crate) fn dataset(name: &str) -> Dataset {
    builtin()
        .iter()
        .find(|d| d.name.as_str() == name)
        .unwrap()
        .clone()
}

/// The table of a dataset, from its DDL.
pub(crate) fn table_of(dataset: &Dataset) -> TableSchema {
    TableSchema {
        database: "hot".into(),
        table: "t".into(),
        ..TableSchema::of_ddl(dataset).unwrap()
    }
}

pub(super) fn table(columns: &[(&str, &str)]) -> TableSchema {
    TableSchema {
        database: "hot".into(),
        table: "t".into(),
        engine: "MergeTree".into(),
        partition_key: String::new(),
        sorting_key: String::new(),
        create_query: String::new(),
        columns: columns
            .iter()
            .map(|(name, type_text)| TableColumn {
                name: (*name).to_owned(),
                column_type: ColumnType::parse(type_text).unwrap(),
                default_kind: String::new(),
            })
            .collect(),
    }
}

/// A dataset of its event time, its position and these columns, each filled from the field of its name.
pub(super) fn custom(columns: &[(&str, &str)]) -> (Dataset, TableSchema) {
    let mut yaml = "name: custom\nsubjects: ['c.>']\ntable: t\ncolumns:\n".to_owned();
    for (column, source) in [
        ("timestamp", "from: [ts]"),
        ("stream_epoch", "message: epoch"),
        ("stream_seq", "message: sequence"),
    ] {
        writeln!(yaml, "  - {{column: {column}, {source}}}").unwrap();
    }
    for (name, _) in columns {
        writeln!(yaml, "  - {{column: {name}, from: [{name}]}}").unwrap();
    }
    let mut all = vec![
        ("timestamp", "DateTime64(9, 'UTC')"),
        ("stream_epoch", "UInt64"),
        ("stream_seq", "UInt64"),
    ];
    all.extend(columns);
    let dataset = Dataset::from_yaml("custom.yaml", &yaml, String::new()).unwrap();
    (dataset, table(&all))
}

pub(super) fn decoder(name: &str) -> Decoder {
    let dataset = dataset(name);
    Decoder::new(&dataset, &table_of(&dataset)).unwrap()
}

/// A custom dataset's decoder.
pub(super) fn decoder_of(columns: &[(&str, &str)]) -> Decoder {
    let (dataset, table) = custom(columns);
    Decoder::new(&dataset, &table).unwrap()
}

/// One message's row, or why it is none.
pub(super) fn row(decoder: &mut Decoder, payload: &str) -> Result<RecordBatch, Rejection> {
    decoder.append(&meta("c.x", 1), payload.as_bytes())?;
    Ok(decoder.finish().unwrap())
}

/// A cell of the only row, as text.
pub(super) fn cell(batch: &RecordBatch, column: &str) -> String {
    let array = batch.column_by_name(column).unwrap();
    if array.is_null(0) {
        return "NULL".to_owned();
    }
    // Arrow writes times of named zones only with a database of zones.
    let array = match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            make_array(
                array
                    .to_data()
                    .into_builder()
                    .data_type(utc)
                    .build()
                    .unwrap(),
            )
        }
        _ => array.clone(),
    };
    arrow::util::display::array_value_to_string(&array, 0).unwrap()
}

/// The row of `value` in a column `v` of a type, as text.
pub(super) fn value(type_text: &str, json: &str) -> Result<String, Rejection> {
    let mut decoder = decoder_of(&[("v", type_text)]);
    let payload = format!("{{\"ts\":1774590000000,\"v\":{json}}}");
    Ok(cell(&row(&mut decoder, &payload)?, "v"))
}
