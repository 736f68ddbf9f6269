//! Rows that wait in their order until they are enough for one batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema};

use crate::error::Result;

/// Rows in their order, by the batches in which they lie.
#[derive(Debug, Default)]
pub(super) struct Pending {
    batches: Vec<RecordBatch>,
    /// The place of a batch by the address of its first column, which every copy of the batch shares.
    places: HashMap<usize, usize>,
    rows: Vec<(usize, usize)>,
    /// About what the rows occupy.
    bytes: usize,
    /// The same of a row of each batch.
    row_bytes: Vec<usize>,
}

impl Pending {
    /// How many rows wait.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// About how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a batch has the schema of those that wait: rows of two schemas make no batch.
    pub(super) fn fits(&self, batch: &RecordBatch) -> bool {
        self.batches
            .last()
            .is_none_or(|last| last.schema_ref() == batch.schema_ref())
    }

    /// Adds a row.
    pub(super) fn push(&mut self, batch: &RecordBatch, row: usize) {
        let address = Arc::as_ptr(batch.column(0)).cast::<()>() as usize;
        let (batches, row_bytes) = (&mut self.batches, &mut self.row_bytes);
        let place = *self.places.entry(address).or_insert_with(|| {
            batches.push(batch.clone());
            row_bytes.push(batch.get_array_memory_size() / batch.num_rows().max(1));
            batches.len() - 1
        });
        self.bytes += self.row_bytes[place];
        self.rows.push((place, row));
    }

    /// Takes all rows as one batch; `None` where none wait.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let taken = interleave_record_batch(&batches, &self.rows)?;
        self.batches.clear();
        self.places.clear();
        self.rows.clear();
        self.row_bytes.clear();
        self.bytes = 0;
        without_dictionaries(&taken).map(Some)
    }
}

/// The same rows with every text spelled out: putting dictionaries together can give one with a value twice in it, which
/// ClickHouse refuses.
fn without_dictionaries(batch: &RecordBatch) -> Result<RecordBatch> {
    let fields = batch.schema_ref().fields().iter();
    let fields: Vec<FieldRef> = fields.map(spelled_out).collect();
    let columns = batch.columns().iter().zip(&fields);
    let columns = columns
        .map(|(column, field)| cast(column, field.data_type()))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn spelled_out(field: &FieldRef) -> FieldRef {
    let plain = match field.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::List(item) => DataType::List(spelled_out(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(spelled_out).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(plain))
}
