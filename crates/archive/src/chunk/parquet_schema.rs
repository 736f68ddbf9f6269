//! The schema of rows in Parquet, derived from the schema that the server sends. Pure.
//!
//! ClickHouse does not promise that a String is UTF-8, so strings travel as Binary; in Parquet they should be text, so that
//! DuckDB, Polars and pyarrow display it. A column is stored as text until a value comes that is not UTF-8: the chunk is completed
//! before it, and the rest of the generation holds that column as bytes ([`ParquetSchema::give_up_text`]). ClickHouse
//! reads either as String, so nothing is lost and nothing has to be exported again.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, max, min};
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use jiff::Timestamp;

use mpsync_core::dataset::ColumnType;
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_core::fingerprint::HashedColumn;

/// The columns of the batches, and the types as which they are stored.
#[derive(Debug, Clone)]
pub(crate) struct ParquetSchema {
    input: SchemaRef,
    stored: SchemaRef,
}

/// Why a batch could not be stored as it is.
#[derive(Debug)]
pub(crate) enum Unstorable {
    /// The column of this index holds a value that is not UTF-8.
    NotText(usize),
    /// Its schema is not the agreed one.
    Wrong(Error),
}

impl ParquetSchema {
    /// Returns the stored schema for batches of schema `input` whose columns have these ClickHouse types.
    pub(crate) fn new(input: &SchemaRef, columns: &[HashedColumn]) -> Result<Self> {
        let names = input.fields().iter().map(|field| field.name());
        if !names.eq(columns.iter().map(|column| &column.name)) {
            return Err(Error::schema(format!(
                "the rows have the columns {}, the manifest would name {}",
                list(input.fields().iter().map(|field| field.name().as_str())),
                list(columns.iter().map(|column| column.name.as_str()))
            )));
        }
        let types = columns
            .iter()
            .map(|c| ColumnType::parse(&c.type_name).context(|| format!("column {}", c.name)))
            .collect::<Result<Vec<_>>>()?;
        let fields = input.fields().iter().zip(&types).map(|(field, t)| {
            let stored = stored_type(field.data_type(), t);
            field.as_ref().clone().with_data_type(stored)
        });
        Ok(Self {
            stored: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            input: Arc::clone(input),
        })
    }

    /// Returns the schema of the Parquet file.
    pub(crate) fn stored(&self) -> &SchemaRef {
        &self.stored
    }

    /// Stores a column as bytes from here on.
    pub(crate) fn give_up_text(&mut self, column: usize) {
        let fields = self.stored.fields().iter().enumerate();
        let fields: Vec<FieldRef> = fields
            .map(|(i, field)| {
                Arc::clone(if i == column {
                    self.input.fields().get(i).unwrap_or(field)
                } else {
                    field
                })
            })
            .collect();
        self.stored = Arc::new(Schema::new(fields));
    }

    /// Returns the batch as it is stored. Strings are checked, not copied.
    pub(crate) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, Unstorable> {
        if !same_columns(batch.schema_ref(), &self.input) {
            return Err(Unstorable::Wrong(Error::schema(format!(
                "unexpected schema of rows: {}, not {}",
                describe(batch.schema_ref()),
                describe(&self.input)
            ))));
        }
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (i, (column, field)) in batch.columns().iter().zip(self.stored.fields()).enumerate() {
            if column.data_type() == field.data_type() {
                columns.push(Arc::clone(column));
                continue;
            }
            match cast(column, field.data_type()) {
                Ok(column) => columns.push(column),
                Err(_) if holds_bytes(column.data_type()) => return Err(Unstorable::NotText(i)),
                Err(e) => {
                    let e = Error::from(e).context(format!("column {}", field.name()));
                    return Err(Unstorable::Wrong(e));
                }
            }
        }
        RecordBatch::try_new(Arc::clone(&self.stored), columns)
            .map_err(|e| Unstorable::Wrong(e.into()))
    }
}

/// Casts without loss: a value that does not fit is an error, not NULL.
fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    // A cast from a number to a time takes the number as it is, whatever the unit: the unit is given first.
    let unit = match (column.data_type(), to) {
        (DataType::UInt32, DataType::Timestamp(_, tz)) => {
            let seconds = cast_with_options(column, &DataType::Int64, &options)?;
            let unit = DataType::Timestamp(TimeUnit::Second, tz.clone());
            cast_with_options(&seconds, &unit, &options)?
        }
        (DataType::UInt16, DataType::Date32) => {
            cast_with_options(column, &DataType::Int32, &options)?
        }
        _ => Arc::clone(column),
    };
    cast_with_options(&unit, to, &options)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn describe(schema: &Schema) -> String {
    let fields = schema.fields().iter();
    let fields = fields.map(|f| format!("{} {}", f.name(), f.data_type()));
    fields.collect::<Vec<_>>().join(", ")
}

fn same_columns(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields()
            .iter()
            .zip(b.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}

/// Returns the stored type of a column that comes as `sent` and has this type in ClickHouse.
fn stored_type(sent: &DataType, column: &ColumnType) -> DataType {
    let utc = |tz: &Option<String>| Some(Arc::from(tz.as_deref().unwrap_or("UTC")));
    match (sent, column.inner()) {
        // ClickHouse sends these two as plain numbers, which no other reader recognizes as times.
        (DataType::UInt32, ColumnType::DateTime(tz)) => {
            DataType::Timestamp(TimeUnit::Millisecond, utc(tz))
        }
        (DataType::UInt16, ColumnType::Date) => DataType::Date32,
        // Parquet has no unit of a second.
        (DataType::Timestamp(TimeUnit::Second, tz), _) => {
            DataType::Timestamp(TimeUnit::Millisecond, tz.clone())
        }
        (sent, _) => as_text(sent),
    }
}

fn as_text(sent: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(as_text(field.data_type())),
        )
    };
    match sent {
        DataType::Binary => DataType::Utf8,
        DataType::LargeBinary => DataType::LargeUtf8,
        DataType::BinaryView => DataType::Utf8View,
        DataType::Dictionary(key, value) => {
            DataType::Dictionary(key.clone(), Box::new(as_text(value)))
        }
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

fn holds_bytes(sent: &DataType) -> bool {
    as_text(sent) != *sent
}

/// Returns the earliest and the latest time in a column; `None` for no rows.
pub(crate) fn time_bounds(column: &ArrayRef) -> Result<Option<(Timestamp, Timestamp)>> {
    if column.is_empty() {
        return Ok(None);
    }
    if column.null_count() > 0 {
        return Err(Error::malformed("there are rows without a time"));
    }
    macro_rules! bounds {
        ($type:ty) => {{
            let times = column.as_primitive::<$type>();
            (min(times).map(i64::from), max(times).map(i64::from))
        }};
    }
    let (bounds, nanos) = match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => (bounds!(TimestampSecondType), 1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            (bounds!(TimestampMillisecondType), 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => (bounds!(TimestampMicrosecondType), 1000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (bounds!(TimestampNanosecondType), 1),
        DataType::Date32 => (bounds!(Date32Type), 86_400_000_000_000),
        other => {
            return Err(Error::schema(format!(
                "a column of type {other} holds no times"
            )));
        }
    };
    let moment = |count: i64| {
        Timestamp::from_nanosecond(i128::from(count) * nanos)
            .map_err(|e| Error::malformed(format!("a time is out of range: {e}")))
    };
    match bounds {
        (Some(earliest), Some(latest)) => Ok(Some((moment(earliest)?, moment(latest)?))),
        _ => Ok(None),
    }
}

/// Returns the index of a column by its name.
pub(crate) fn index_of(schema: &Schema, name: &str) -> Result<usize> {
    schema
        .index_of(name)
        .map_err(|_| Error::schema(format!("there is no column `{name}`")))
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, DictionaryArray, UInt16Array, UInt32Array};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn hashed(columns: &[(&str, &str)]) -> Vec<HashedColumn> {
        let column = |(name, type_name): &(&str, &str)| HashedColumn {
            name: (*name).into(),
            type_name: (*type_name).into(),
        };
        columns.iter().map(column).collect()
    }

    #[test]
    fn bytes_become_text_dictionaries_stay_and_numbers_of_seconds_become_times() {
        let names: DictionaryArray<Int32Type> = DictionaryArray::new(
            vec![0, 1, 0].into(),
            Arc::new(BinaryArray::from_vec(vec![b"a", b"b"])),
        );
        let batch = RecordBatch::try_from_iter([
            (
                "id",
                Arc::new(BinaryArray::from_vec(vec![b"x", b"y", b"z"])) as ArrayRef,
            ),
            ("name", Arc::new(names)),
            ("at", Arc::new(UInt32Array::from(vec![1, 2, 3]))),
            ("day", Arc::new(UInt16Array::from(vec![1, 2, 3]))),
        ])
        .unwrap();
        let columns = hashed(&[
            ("id", "String"),
            ("name", "LowCardinality(String)"),
            ("at", "DateTime('UTC')"),
            ("day", "Date"),
        ]);
        let schema = ParquetSchema::new(&batch.schema(), &columns).unwrap();
        let stored = schema.convert(&batch).unwrap();
        assert_eq!(
            describe(&stored.schema()),
            "id Utf8, name Dictionary(Int32, Utf8), at Timestamp(ms, \"UTC\"), day Date32"
        );
        let (earliest, latest) = time_bounds(stored.column(2)).unwrap().unwrap();
        assert_eq!((earliest.as_second(), latest.as_second()), (1, 3));
        let (earliest, latest) = time_bounds(stored.column(3)).unwrap().unwrap();
        assert_eq!(
            (earliest.as_second(), latest.as_second()),
            (86_400, 3 * 86_400)
        );
    }

    #[test]
    fn column_of_a_value_that_is_not_utf8_is_stored_as_bytes() {
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(BinaryArray::from_vec(vec![b"x"])) as ArrayRef),
            ("b", Arc::new(BinaryArray::from_vec(vec![&[0xff]]))),
        ])
        .unwrap();
        let columns = hashed(&[("a", "String"), ("b", "String")]);
        let mut schema = ParquetSchema::new(&batch.schema(), &columns).unwrap();
        assert!(matches!(
            schema.convert(&batch),
            Err(Unstorable::NotText(1))
        ));
        schema.give_up_text(1);
        let stored = schema.convert(&batch).unwrap();
        assert_eq!(describe(&stored.schema()), "a Utf8, b Binary");
    }

    #[test]
    fn rows_of_another_schema_are_refused() {
        let batch =
            RecordBatch::try_from_iter([("a", Arc::new(UInt32Array::from(vec![1])) as ArrayRef)])
                .unwrap();
        let e = ParquetSchema::new(&batch.schema(), &hashed(&[("b", "UInt32")])).unwrap_err();
        assert!(e.to_string().contains("the rows have the columns a"), "{e}");
    }
}
