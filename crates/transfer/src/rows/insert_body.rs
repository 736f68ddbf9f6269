//! Rows as the body of an insert: an `ArrowStream`, batch by batch, for chunks whose bytes the server is not to see.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use mpsync_core::error::Result;

/// Writes batches of one schema as pieces of one stream.
#[derive(Default)]
pub(crate) struct RowsBody {
    writer: Option<StreamWriter<Vec<u8>>>,
}

impl RowsBody {
    /// The bytes of the next batch. Dictionaries become the values that they stand for: each batch has its own.
    pub(crate) fn piece(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        let batch = without_dictionaries(batch)?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(StreamWriter::try_new(Vec::new(), batch.schema_ref())?),
        };
        writer.write(&batch)?;
        Ok(std::mem::take(writer.get_mut()).into())
    }

    /// The end of the stream; nothing where there was no batch.
    pub(crate) fn end(self) -> Result<Bytes> {
        let Some(mut writer) = self.writer else {
            return Ok(Bytes::new());
        };
        writer.finish()?;
        Ok(writer.into_inner()?.into())
    }
}

fn without_dictionaries(batch: &RecordBatch) -> Result<RecordBatch> {
    let fields: Vec<FieldRef> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(plain_field)
        .collect();
    let columns = batch.columns().iter().zip(&fields);
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain(field.data_type());
    Arc::new(field.as_ref().clone().with_data_type(plain))
}

fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => plain(value),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray as _, DictionaryArray};
    use arrow::datatypes::Int32Type;
    use arrow::ipc::reader::StreamReader;

    use super::*;

    #[test]
    fn batches_with_dictionaries_of_their_own_are_one_stream_of_values() {
        let batch = |values: &[&str]| {
            let values: DictionaryArray<Int32Type> = values.iter().copied().collect();
            RecordBatch::try_from_iter([("symbol", Arc::new(values) as ArrayRef)]).unwrap()
        };
        let mut body = RowsBody::default();
        let mut sent = Vec::new();
        for values in [&["a", "b", "a"][..], &["c"]] {
            sent.extend(body.piece(&batch(values)).unwrap());
        }
        sent.extend(body.end().unwrap());
        let read = StreamReader::try_new(sent.as_slice(), None).unwrap();
        let read: Vec<String> = read
            .flat_map(|batch| {
                let batch = batch.unwrap();
                let texts = batch.column(0).as_string::<i32>().iter();
                texts
                    .map(|text| text.unwrap().to_owned())
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(read, ["a", "b", "a", "c"]);
        assert!(RowsBody::default().end().unwrap().is_empty());
    }
}
