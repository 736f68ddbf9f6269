//! Rows that wait until there are enough for a batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema};

use mpsync_core::error::Result;

/// Waiting rows in their order, as references into batches.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    batches: Vec<RecordBatch>,
    /// The number of a batch by the address of its first column, which all copies of the batch share.
    places: HashMap<usize, usize>,
    rows: Vec<(usize, usize)>,
    /// About the bytes of the rows.
    bytes: usize,
    /// About the bytes of a row of each batch.
    row_bytes: Vec<usize>,
}

impl Pending {
    /// Returns the number of waiting rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns about the bytes of the waiting rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a batch has the schema of the waiting rows: a batch has one schema.
    pub(crate) fn fits(&self, batch: &RecordBatch) -> bool {
        self.batches
            .last()
            .is_none_or(|last| last.schema_ref() == batch.schema_ref())
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, batch: &RecordBatch, row: usize) {
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

    /// Removes all rows and returns them as one batch; `None` if none wait.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>> {
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

/// Returns the same rows without dictionaries: merging dictionaries can duplicate a value, which
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
