//! The canonical wire form: a row of the archive as the message that it came from. Pure.
//!
//! What a message looks like is said in the documentation of [`super`]. A [`WireForm`] is made once a dataset, bound once
//! to every batch, and then writes bytes: no document is built in between, and what repeats (field names, the values of
//! a dictionary) is rendered once.

mod id;
mod plain;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, Decimal128Array, Decimal256Array, DictionaryArray,
    Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use jiff::Timestamp;

use id::{BoundId, IdForm};
pub(super) use plain::PlainColumn;

use super::number::{push_decimal_text, push_decimal128, push_i64, push_text, push_u64};
use super::order::{Order, RowKey};
use super::subject::{BoundSubject, SubjectForm};
use crate::dataset::{ColumnSource, Dataset, EPOCH_COLUMN, SEQ_COLUMN};
use crate::error::{Context as _, Error, Result};

/// The milliseconds that a reader takes for milliseconds whoever wrote them: 2009 to 2262.
const PLAIN_MS: std::ops::Range<i64> = 1_230_768_000_000..9_223_372_036_000;
const NANOS_PER_SEC: i64 = 1_000_000_000;
/// The collector's time, where a dataset has it.
const COLLECTED_COLUMN: &str = "collected_at";

/// How the rows of one dataset become messages.
#[derive(Debug, Clone)]
pub struct WireForm {
    dataset: String,
    order: Order,
    time_column: String,
    /// The column that says when `JetStream` stored the message.
    stored_column: Option<String>,
    /// `{"data_type":"trade"` or `{`
    head: Vec<u8>,
    fields: Arc<[FieldForm]>,
    subject: SubjectForm,
    id: Option<IdForm>,
}

/// A column with the names of its field.
#[derive(Debug)]
struct FieldForm {
    column: String,
    /// `,"ts_ms":`
    name: Vec<u8>,
    /// The name for a time that is no whole millisecond: the first that does not promise one.
    fine_name: Vec<u8>,
}

impl WireForm {
    /// The form of a dataset's messages, which come in this order; `subject` is a template of their subjects, see [`super`].
    ///
    /// A schema error where the subject has a part that no column tells.
    pub fn new(dataset: &Dataset, subject: Option<&str>, order: Order) -> Result<Self> {
        let subject = SubjectForm::new(dataset, subject)?;
        let mut head = b"{".to_vec();
        if dataset.ignored_fields.iter().any(|f| f == "data_type")
            && let Some(data_type) = subject.data_type()
        {
            head.extend_from_slice(b"\"data_type\":");
            push_text(data_type, &mut head);
        }
        let mut fields: Vec<FieldForm> = Vec::new();
        for (column, source) in &dataset.columns {
            let ColumnSource::Fields(aliases) = source else {
                continue;
            };
            let names: Vec<&String> = aliases.iter().filter(|a| !a.starts_with('$')).collect();
            let is_taken =
                |name: &[u8]| fields.iter().any(|f| f.name == name || f.fine_name == name);
            let mut quoted = names
                .iter()
                .map(|name| key(name))
                .filter(|name| !is_taken(name));
            // Where all its names are another column's, that column's field says this one's value too.
            let Some(name) = quoted.next() else { continue };
            let mut fine = names.iter().filter(|n| !n.ends_with("_ms")).map(|n| key(n));
            let fine_name = fine.find(|n| !is_taken(n));
            fields.push(FieldForm {
                column: column.clone(),
                fine_name: fine_name.unwrap_or_else(|| name.clone()),
                name,
            });
        }
        let mut columns = dataset.columns.iter();
        let stored = columns.find(|(_, source)| matches!(source, ColumnSource::StoredAt));
        Ok(Self {
            dataset: dataset.name.to_string(),
            order,
            time_column: dataset.time_column.clone(),
            stored_column: stored.map(|(name, _)| name.clone()),
            head,
            fields: fields.into(),
            subject,
            id: dataset.message_id.as_deref().map(IdForm::new),
        })
    }

    /// The subjects that take all messages of this form, wildcards included.
    #[must_use]
    pub fn stream_subject(&self) -> String {
        self.subject.pattern()
    }

    /// The columns that messages are made of, and those by which they are put in order.
    pub(super) fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = self.fields.iter().map(|f| f.column.clone()).collect();
        columns.extend([self.time_column.as_str(), EPOCH_COLUMN, SEQ_COLUMN].map(str::to_owned));
        columns.extend(self.subject.columns().map(str::to_owned));
        columns.extend(self.arrival_columns().map(str::to_owned));
        let of_id = self.id.iter().flat_map(IdForm::columns);
        columns.extend(of_id.map(str::to_owned));
        columns
    }

    /// The columns that tell when a message arrived, where that matters: the collector's time and the time of storage.
    pub(super) fn arrival_columns(&self) -> impl Iterator<Item = &str> {
        let (collected, stored) = match self.order {
            Order::Event => (None, None),
            Order::Arrival => (Some(COLLECTED_COLUMN), self.stored_column.as_deref()),
            Order::Position => (None, self.stored_column.as_deref()),
        };
        collected.into_iter().chain(stored)
    }

    /// By what the rows are put in order.
    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// The column of the event time.
    pub(super) fn time_column(&self) -> &str {
        &self.time_column
    }

    /// Binds the form to a batch. Columns that the batch lacks are left out of the messages.
    ///
    /// A schema error for a type that no message can carry, and for a batch without time or position.
    pub fn bind(&self, batch: &RecordBatch) -> Result<BoundBatch> {
        self.bind_columns(batch)
            .doing(|| format!("fitting rows of dataset {} to messages", self.dataset))
    }

    fn bind_columns(&self, batch: &RecordBatch) -> Result<BoundBatch> {
        let needed = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| Error::schema(format!("the archive's rows have no column `{name}`")))
        };
        let position = |name: &str| as_type(needed(name)?, &DataType::UInt64);
        let times = Times::new(needed(&self.time_column)?, &self.time_column)?;
        let arrivals = self
            .arrival_columns()
            .filter_map(|name| Some((name, batch.column_by_name(name)?)))
            .map(|(name, array)| Times::new(array, name))
            .collect::<Result<Vec<_>>>()?;
        let mut fields = Vec::with_capacity(self.fields.len());
        for (at, field) in self.fields.iter().enumerate() {
            if let Some(array) = batch.column_by_name(&field.column) {
                fields.push((
                    at,
                    Column::new(array).doing(|| format!("column {}", field.column))?,
                ));
            }
        }
        Ok(BoundBatch {
            order: self.order,
            times,
            arrivals,
            epochs: position(EPOCH_COLUMN)?.as_primitive().clone(),
            seqs: position(SEQ_COLUMN)?.as_primitive().clone(),
            subject: self.subject.bind(batch)?,
            id: match &self.id {
                Some(id) => id.bind(batch)?,
                None => None,
            },
            rows: batch.clone(),
            head: self.head.clone(),
            forms: Arc::clone(&self.fields),
            fields,
        })
    }
}

/// `,"name":`
fn key(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 4);
    out.push(b',');
    push_text(name, &mut out);
    out.push(b':');
    out
}

/// A batch whose rows can be written as messages, in any order.
#[derive(Debug)]
pub struct BoundBatch {
    order: Order,
    times: Times,
    /// When it arrived: the first of these that says it.
    arrivals: Vec<Times>,
    epochs: UInt64Array,
    seqs: UInt64Array,
    subject: BoundSubject,
    id: Option<BoundId>,
    head: Vec<u8>,
    forms: Arc<[FieldForm]>,
    fields: Vec<(usize, Column)>,
    rows: RecordBatch,
}

impl BoundBatch {
    /// The rows as they lie in the archive.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.rows
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.times.values.len()
    }

    /// Where a row stands among those of its dataset.
    #[inline]
    #[must_use]
    pub fn key(&self, row: usize) -> RowKey {
        RowKey {
            rank: match self.order {
                Order::Event => self.times.nanos(row),
                Order::Arrival => self.clock(row),
                Order::Position => 0,
            },
            epoch: self.epochs.value(row),
            seq: self.seqs.value(row),
        }
    }

    /// A row's event time in nanoseconds since 1970.
    #[inline]
    #[must_use]
    pub fn event_nanos(&self, row: usize) -> i64 {
        self.times.nanos(row)
    }

    /// The time by which a row is due, in nanoseconds since 1970: that of its event, or of its arrival where that is the order.
    #[inline]
    #[must_use]
    pub fn clock(&self, row: usize) -> i64 {
        let mut arrivals = self
            .arrivals
            .iter()
            .filter(|times| times.values.is_valid(row));
        arrivals.next().unwrap_or(&self.times).nanos(row)
    }

    /// Writes a row's subject.
    pub fn push_subject(&self, row: usize, out: &mut Vec<u8>) {
        self.subject.push(row, out);
    }

    /// Writes the id that the publisher gave the message, where the dataset says how it is made; `false` where there is none.
    pub fn push_publisher_id(&self, row: usize, out: &mut Vec<u8>) -> bool {
        self.id.as_ref().is_some_and(|id| id.push(row, out))
    }

    /// Writes a row as a message; all its times are moved by so many whole seconds.
    pub fn push_payload(&self, row: usize, shift_secs: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        let mut is_first = self.head.len() == 1;
        for (form, column) in &self.fields {
            if column.is_null(row) {
                continue;
            }
            let form = &self.forms[*form];
            let name = if column.is_fine(row, shift_secs) {
                &form.fine_name
            } else {
                &form.name
            };
            // A name begins with the comma before it.
            out.extend_from_slice(&name[usize::from(is_first)..]);
            is_first = false;
            column.push(row, shift_secs, out);
        }
        out.push(b'}');
    }
}

/// A column of times.
#[derive(Debug)]
struct Times {
    values: Int64Array,
    /// How many nanoseconds one of them is.
    unit: i64,
}

impl Times {
    fn new(array: &ArrayRef, name: &str) -> Result<Self> {
        match Column::new(array).doing(|| format!("column {name}"))? {
            Column::Time { values, per_sec } => Ok(Self {
                values,
                unit: NANOS_PER_SEC / per_sec,
            }),
            _ => Err(Error::schema(format!("column `{name}` is no time"))),
        }
    }

    #[inline]
    fn nanos(&self, row: usize) -> i64 {
        self.values.value(row).saturating_mul(self.unit)
    }
}

/// A column of a batch, ready to be written.
#[derive(Debug)]
enum Column {
    Bool(BooleanArray),
    Int(Int64Array),
    UInt(UInt64Array),
    Float(Float64Array),
    Decimal(Decimal128Array, u32),
    WideDecimal(Decimal256Array, u32),
    Text(StringArray),
    /// The keys, and every value as it is written.
    Dictionary(DictionaryArray<Int32Type>, Vec<Vec<u8>>),
    Date(Int64Array),
    Time {
        values: Int64Array,
        per_sec: i64,
    },
    List(OffsetBuffer<i32>, Option<NullBuffer>, Box<Column>),
    /// Written as an array of its fields.
    Tuple(Vec<Column>, Option<NullBuffer>),
}

fn as_type(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let exactly = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(array, to, &exactly)?)
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Self> {
        let to = |t: &DataType| as_type(array, t);
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Self::Int(to(&DataType::Int64)?.as_primitive().clone())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Self::UInt(to(&DataType::UInt64)?.as_primitive().clone())
            }
            DataType::Float32 | DataType::Float64 => {
                Self::Float(to(&DataType::Float64)?.as_primitive().clone())
            }
            DataType::Decimal128(_, scale) => {
                Self::Decimal(array.as_primitive().clone(), unsigned(*scale)?)
            }
            DataType::Decimal256(_, scale) => {
                Self::WideDecimal(array.as_primitive().clone(), unsigned(*scale)?)
            }
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary => Self::Text(to(&DataType::Utf8)?.as_string().clone()),
            DataType::Dictionary(_, values) if !values.is_nested() => Self::dictionary(array)?,
            DataType::Date32 => Self::Date(
                as_type(&to(&DataType::Int32)?, &DataType::Int64)?
                    .as_primitive()
                    .clone(),
            ),
            DataType::Timestamp(unit, _) => Self::Time {
                values: to(&DataType::Int64)?.as_primitive().clone(),
                per_sec: match unit {
                    TimeUnit::Second => 1,
                    TimeUnit::Millisecond => 1_000,
                    TimeUnit::Microsecond => 1_000_000,
                    TimeUnit::Nanosecond => NANOS_PER_SEC,
                },
            },
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(
                    list.offsets().clone(),
                    list.nulls().cloned(),
                    Box::new(Self::new(list.values())?),
                )
            }
            DataType::Struct(_) => {
                let tuple = array.as_struct();
                let columns = tuple
                    .columns()
                    .iter()
                    .map(Self::new)
                    .collect::<Result<_>>()?;
                Self::Tuple(columns, tuple.nulls().cloned())
            }
            other => {
                return Err(Error::schema(format!(
                    "a value of type {other} has no form in a message"
                )));
            }
        })
    }

    fn dictionary(array: &ArrayRef) -> Result<Self> {
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let array = as_type(array, &text)?;
        let keys = array.as_dictionary::<Int32Type>().clone();
        let values = keys.values().as_string::<i32>();
        let rendered = values.iter().map(|value| {
            let mut out = Vec::new();
            push_text(value.unwrap_or_default(), &mut out);
            out
        });
        let rendered = rendered.collect();
        Ok(Self::Dictionary(keys, rendered))
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(a) => a.is_null(row),
            Self::Int(a) | Self::Date(a) | Self::Time { values: a, .. } => a.is_null(row),
            Self::UInt(a) => a.is_null(row),
            Self::Float(a) => a.is_null(row),
            Self::Decimal(a, _) => a.is_null(row),
            Self::WideDecimal(a, _) => a.is_null(row),
            Self::Text(a) => a.is_null(row),
            Self::Dictionary(a, _) => a.is_null(row),
            Self::List(_, nulls, _) | Self::Tuple(_, nulls) => {
                nulls.as_ref().is_some_and(|n| n.is_null(row))
            }
        }
    }

    /// Whether it is a time that cannot be said in whole milliseconds.
    #[inline]
    fn is_fine(&self, row: usize, shift_secs: i64) -> bool {
        match self {
            Self::Time { values, per_sec } => {
                plain_ms(values.value(row), *per_sec, shift_secs).is_none()
            }
            _ => false,
        }
    }

    #[inline]
    fn push(&self, row: usize, shift_secs: i64, out: &mut Vec<u8>) {
        match self {
            Self::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
            Self::Int(a) => push_i64(a.value(row), out),
            Self::UInt(a) => push_u64(a.value(row), out),
            Self::Float(a) => push_float(a.value(row), out),
            Self::Decimal(a, scale) => push_decimal128(a.value(row), *scale, out),
            Self::WideDecimal(a, scale) => {
                push_decimal_text(&a.value(row).to_string(), *scale, out);
            }
            Self::Text(a) => push_text(a.value(row), out),
            Self::Dictionary(a, rendered) => {
                let key = usize::try_from(a.keys().value(row)).unwrap_or(usize::MAX);
                out.extend_from_slice(rendered.get(key).map_or(b"null", Vec::as_slice));
            }
            Self::Date(a) => push_date(a.value(row), shift_secs, out),
            Self::Time { values, per_sec } => {
                push_time(values.value(row), *per_sec, shift_secs, out);
            }
            Self::List(offsets, _, child) => {
                let span = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
                out.push(b'[');
                for (nth, element) in (span(row)..span(row + 1)).enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    child.push_or_null(element, shift_secs, out);
                }
                out.push(b']');
            }
            Self::Tuple(columns, _) => {
                out.push(b'[');
                for (nth, column) in columns.iter().enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    column.push_or_null(row, shift_secs, out);
                }
                out.push(b']');
            }
        }
    }

    #[inline]
    fn push_or_null(&self, row: usize, shift_secs: i64, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            self.push(row, shift_secs, out);
        }
    }
}

fn unsigned(scale: i8) -> Result<u32> {
    u32::try_from(scale).map_err(|_| {
        Error::schema(format!(
            "a decimal of scale {scale} has no form in a message"
        ))
    })
}

/// Milliseconds since 1970, where it is a whole number of them that nobody takes for another unit.
#[inline]
fn plain_ms(value: i64, per_sec: i64, shift_secs: i64) -> Option<i64> {
    let value = value.checked_add(shift_secs.checked_mul(per_sec)?)?;
    let ms = match per_sec {
        1_000 => value,
        1 => value.checked_mul(1_000)?,
        finer => {
            let unit = finer / 1_000;
            (value % unit == 0).then_some(value / unit)?
        }
    };
    PLAIN_MS.contains(&ms).then_some(ms)
}

fn push_time(value: i64, per_sec: i64, shift_secs: i64, out: &mut Vec<u8>) {
    if let Some(ms) = plain_ms(value, per_sec, shift_secs) {
        return push_i64(ms, out);
    }
    let nanos = i128::from(value) * i128::from(NANOS_PER_SEC / per_sec)
        + i128::from(shift_secs) * i128::from(NANOS_PER_SEC);
    match Timestamp::from_nanosecond(nanos) {
        Ok(time) => {
            out.push(b'"');
            out.extend_from_slice(time.to_string().as_bytes());
            out.push(b'"');
        }
        // Beyond the year 9999, where no column's value lies.
        Err(_) => out.extend_from_slice(b"null"),
    }
}

fn push_date(days: i64, shift_secs: i64, out: &mut Vec<u8>) {
    let secs = days.saturating_mul(86_400).saturating_add(shift_secs);
    match Timestamp::from_second(secs) {
        Ok(day) => {
            out.push(b'"');
            out.extend_from_slice(day.strftime("%Y-%m-%d").to_string().as_bytes());
            out.push(b'"');
        }
        Err(_) => out.extend_from_slice(b"null"),
    }
}

/// The shortest text that reads back as the same number. JSON has no word for what is no number.
fn push_float(value: f64, out: &mut Vec<u8>) {
    let text = value.to_string();
    if value.is_finite() {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_text(&text, out);
    }
}
