//! Rows as an Arrow IPC stream in a file or on standard output.

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::SchemaRef;
use ::arrow::ipc::writer::StreamWriter;

use super::out_file::OutFile;
use super::schema::same_schema;
use mpsync_core::error::{Error, Result};

/// An Arrow IPC stream; its schema is that of its first batch.
pub(super) struct ArrowFile {
    out: Option<OutFile>,
    writer: Option<(SchemaRef, StreamWriter<OutFile>)>,
}

impl std::fmt::Debug for ArrowFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrowFile")
            .field("out", &self.out)
            .field("schema", &self.writer.as_ref().map(|(schema, _)| schema))
            .finish_non_exhaustive()
    }
}

impl ArrowFile {
    pub(super) fn new(out: OutFile) -> Self {
        Self {
            out: Some(out),
            writer: None,
        }
    }

    /// Empties the file: a stream cannot be continued in the middle.
    pub(super) fn restart(&mut self) -> Result<()> {
        match &mut self.out {
            Some(out) => out.resume(0),
            None => Ok(()),
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let (schema, writer) = match &mut self.writer {
            Some(writer) => writer,
            empty => {
                let Some(out) = self.out.take() else {
                    return Err(Error::malformed("the Arrow stream is closed"));
                };
                let writer = StreamWriter::try_new(out, batch.schema_ref())?;
                empty.insert((batch.schema(), writer))
            }
        };
        same_schema(schema, batch)?;
        writer.write(batch)?;
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<()> {
        if let Some((_, mut writer)) = self.writer.take() {
            writer.finish()?;
            writer.into_inner()?.sync()?;
        }
        Ok(())
    }
}
