//! Targets that receive rows as in the archive, with every column: tables and files.

use std::path::Path;

use ::arrow::array::RecordBatch;

use super::arrow::ArrowFile;
use super::clickhouse::TableSink;
use super::csv::CsvWriter;
use super::out_file::OutFile;
use super::parquet::ParquetFile;
use super::pending::Pending;
use mpsync_core::error::Result;

/// Rows of a batch.
const BATCH_ROWS: usize = 16_384;
/// About how many bytes a batch of wide rows has.
const BATCH_BYTES: usize = 8 << 20;

/// A target of rows.
#[derive(Debug)]
pub struct RowTarget {
    sink: Sink,
    /// Waiting rows of each dataset.
    pending: Vec<Pending>,
}

#[derive(Debug)]
enum Sink {
    /// A table for each dataset.
    Tables(Vec<TableSink>),
    Csv(CsvWriter),
    Arrow(Box<ArrowFile>),
    Parquet(Box<ParquetFile>),
}

/// The format of a file of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// A line of names, then a line for each row.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file, in the order of the replay.
    Parquet,
}

impl RowTarget {
    /// Returns a target of tables, one for each dataset in their order.
    #[must_use]
    pub fn tables(tables: Vec<TableSink>) -> Self {
        let pending = tables.iter().map(|_| Pending::default()).collect();
        Self {
            sink: Sink::Tables(tables),
            pending,
        }
    }

    /// Opens a file of one dataset's rows, `-` for standard output.
    pub fn file(path: &Path, format: FileFormat) -> Result<Self> {
        let sink = match format {
            FileFormat::Csv => Sink::Csv(CsvWriter::new(OutFile::open(path)?)),
            FileFormat::Arrow => Sink::Arrow(Box::new(ArrowFile::new(OutFile::open(path)?))),
            FileFormat::Parquet => Sink::Parquet(Box::new(ParquetFile::new(path)?)),
        };
        Ok(Self {
            sink,
            pending: vec![Pending::default()],
        })
    }

    /// Whether an interrupted replay can resume.
    #[must_use]
    pub fn can_resume(&self) -> bool {
        matches!(self.sink, Sink::Tables(_) | Sink::Csv(_))
    }

    /// Accepts a row of the dataset of this rank.
    pub(crate) async fn send(
        &mut self,
        stream: usize,
        batch: &RecordBatch,
        row: usize,
    ) -> Result<()> {
        let waiting = &self.pending[stream];
        let is_full = waiting.len() >= BATCH_ROWS || waiting.bytes() >= BATCH_BYTES;
        if is_full || !waiting.fits(batch) {
            self.write(stream).await?;
        }
        self.pending[stream].push(batch, row);
        Ok(())
    }

    async fn write(&mut self, stream: usize) -> Result<()> {
        let Some(batch) = self.pending[stream].take()? else {
            return Ok(());
        };
        match &mut self.sink {
            Sink::Tables(tables) => tables[stream].accept(batch).await,
            Sink::Csv(csv) => csv.write(&batch),
            Sink::Arrow(file) => file.write(&batch),
            Sink::Parquet(file) => file.write(&batch),
        }
    }

    /// Writes all accepted rows; returns the length of the file.
    pub(crate) async fn flush(&mut self) -> Result<Option<u64>> {
        for stream in 0..self.pending.len() {
            self.write(stream).await?;
        }
        match &mut self.sink {
            Sink::Tables(tables) => {
                for table in tables {
                    table.flush().await?;
                }
                Ok(None)
            }
            Sink::Csv(csv) => csv.sync(),
            Sink::Arrow(_) | Sink::Parquet(_) => Ok(None),
        }
    }

    pub(crate) fn resume(&mut self, bytes: u64) -> Result<()> {
        match &mut self.sink {
            Sink::Csv(csv) => csv.resume(bytes),
            Sink::Arrow(file) => file.restart(),
            Sink::Tables(_) | Sink::Parquet(_) => Ok(()),
        }
    }

    /// Returns the number of rows that the tables had already.
    pub(crate) fn duplicates(&self) -> u64 {
        match &self.sink {
            Sink::Tables(tables) => tables.iter().map(TableSink::held).sum(),
            _ => 0,
        }
    }

    /// Ends the target. A Parquet file gets its name only if it contains all rows.
    pub(crate) async fn end(&mut self, is_whole: bool) -> Result<()> {
        match &mut self.sink {
            Sink::Tables(tables) => {
                for table in tables {
                    table.close().await?;
                }
                Ok(())
            }
            Sink::Arrow(file) => file.end(),
            Sink::Parquet(file) if is_whole => file.end(),
            Sink::Csv(_) | Sink::Parquet(_) => Ok(()),
        }
    }
}
