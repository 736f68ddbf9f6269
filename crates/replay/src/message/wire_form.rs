//! The canonical wire form: a row of the archive as the message that it came from. Pure.
//!
//! The documentation of the crate describes messages. A [`WireForm`] is made once for a dataset, bound
//! once to each batch, and then writes bytes: no document is built in between, and repeated parts (field
//! names, the values of a dictionary) are rendered once.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch, UInt64Array};
use arrow::datatypes::DataType;

use super::column::{Column, Times, as_type};
use super::id::{BoundId, IdForm};
use super::subject::{BoundSubject, SubjectForm};
use crate::number::push_text;
use crate::order::{RowKey, StreamOrder};
use mpsync_core::dataset::{ColumnSource, Dataset, EPOCH_COLUMN, SEQ_COLUMN};
use mpsync_core::error::{Context as _, Error, Result};

/// The collector's time, where a dataset has it.
const COLLECTED_COLUMN: &str = "collected_at";

/// The form of one dataset's messages.
#[derive(Debug, Clone)]
pub struct WireForm {
    dataset: String,
    order: StreamOrder,
    time_column: String,
    /// The column with the time at which `JetStream` stored the message.
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
    /// The name for a time that is not a whole millisecond: the first that does not end in `_ms`.
    fine_name: Vec<u8>,
}

impl WireForm {
    /// Returns the form of a dataset's messages in this order; `subject` is a template of their subjects.
    ///
    /// # Errors
    ///
    /// A schema error if a part of the subject comes from no column.
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
            // If all its names belong to another column, that column's field carries this value too.
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

    /// Returns a subject pattern that matches all messages of this form.
    #[must_use]
    pub fn stream_subject(&self) -> String {
        self.subject.pattern()
    }

    /// Returns the columns of messages and of their order.
    pub(crate) fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = self.fields.iter().map(|f| f.column.clone()).collect();
        columns.extend([self.time_column.as_str(), EPOCH_COLUMN, SEQ_COLUMN].map(str::to_owned));
        columns.extend(self.subject.columns().map(str::to_owned));
        columns.extend(self.arrival_columns().map(str::to_owned));
        let of_id = self.id.iter().flat_map(IdForm::columns);
        columns.extend(of_id.map(str::to_owned));
        columns
    }

    /// Returns the columns with the arrival time, if the order needs it: the collector's time and the time
    /// of storage.
    pub(crate) fn arrival_columns(&self) -> impl Iterator<Item = &str> {
        let (collected, stored) = match self.order {
            StreamOrder::Event => (None, None),
            StreamOrder::Arrival => (Some(COLLECTED_COLUMN), self.stored_column.as_deref()),
            StreamOrder::Position => (None, self.stored_column.as_deref()),
        };
        collected.into_iter().chain(stored)
    }

    /// Returns the order of the rows.
    pub(crate) fn order(&self) -> StreamOrder {
        self.order
    }

    /// Returns the column of the event time.
    pub(crate) fn time_column(&self) -> &str {
        &self.time_column
    }

    /// Binds the form to a batch. Messages omit columns that the batch lacks.
    ///
    /// # Errors
    ///
    /// A schema error for a type that cannot be written in a message, and for a batch without time or
    /// position.
    pub fn bind(&self, batch: &RecordBatch) -> Result<BoundBatch> {
        self.bind_columns(batch)
            .context(|| format!("converting rows of dataset {} to messages", self.dataset))
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
    /// The arrival time: the first of these that is not NULL.
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
    /// Returns the rows as in the archive.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.rows
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.times.values.len()
    }

    /// Returns the key of a row within its dataset.
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

    /// Returns a row's event time in nanoseconds since 1970.
    #[inline]
    #[must_use]
    pub fn event_nanos(&self, row: usize) -> i64 {
        self.times.nanos(row)
    }

    /// Returns the time at which a row is due, in nanoseconds since 1970: its event time, or its arrival
    /// time in an order that needs it.
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

    /// Writes the publisher's own id; returns `false` if there is none.
    pub fn push_publisher_id(&self, row: usize, out: &mut Vec<u8>) -> bool {
        self.id.as_ref().is_some_and(|id| id.push(row, out))
    }

    /// Writes a row as a message with all times shifted by so many seconds.
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
            // A name starts with the comma before it.
            out.extend_from_slice(&name[usize::from(is_first)..]);
            is_first = false;
            column.push(row, shift_secs, out);
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests;
