//! The canonical wire form: a row of the archive as the message that it came from. Pure.
//!
//! What a message looks like is said in the documentation of [`super`]. A [`WireForm`] is made once a dataset, bound once
//! to every batch, and then writes bytes: no document is built in between, and what repeats (field names, the values of
//! a dictionary) is rendered once.

mod column;
mod id;
mod plain;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch, UInt64Array};
use arrow::datatypes::DataType;

use column::{Column, Times, as_type};
use id::{BoundId, IdForm};
pub(super) use plain::PlainColumn;

use super::number::push_text;
use super::order::{RowKey, StreamOrder};
use super::subject::{BoundSubject, SubjectForm};
use mpsync_core::dataset::{ColumnSource, Dataset, EPOCH_COLUMN, SEQ_COLUMN};
use mpsync_core::error::{Context as _, Error, Result};

/// The collector's time, where a dataset has it.
const COLLECTED_COLUMN: &str = "collected_at";

/// How the rows of one dataset become messages.
#[derive(Debug, Clone)]
pub struct WireForm {
    dataset: String,
    order: StreamOrder,
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
    pub fn new(dataset: &Dataset, subject: Option<&str>, order: StreamOrder) -> Result<Self> {
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
            StreamOrder::Event => (None, None),
            StreamOrder::Arrival => (Some(COLLECTED_COLUMN), self.stored_column.as_deref()),
            StreamOrder::Position => (None, self.stored_column.as_deref()),
        };
        collected.into_iter().chain(stored)
    }

    /// By what the rows are put in order.
    pub(super) fn order(&self) -> StreamOrder {
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
            .context(|| format!("fitting rows of dataset {} to messages", self.dataset))
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
                    Column::new(array).context(|| format!("column {}", field.column))?,
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
    order: StreamOrder,
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
                StreamOrder::Event => self.times.nanos(row),
                StreamOrder::Arrival => self.clock(row),
                StreamOrder::Position => 0,
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
