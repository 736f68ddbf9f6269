//! Targets that take rows as they lie in the archive, with every column: tables and files of tables.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::clickhouse::TableSink;
use super::csv::CsvWriter;
use super::file::OutFile;
use super::pending::Pending;
use mpsync_core::error::{Context as _, Error, Result};

/// Rows that become one batch.
const BATCH_ROWS: usize = 16_384;
/// Bytes of such a batch, about, where rows are wide.
const BATCH_BYTES: usize = 8 << 20;
/// Encoded bytes of a Parquet file's row group, about.
const GROUP_BYTES: usize = 16 << 20;

/// A target of rows.
#[derive(Debug)]
pub struct RowTarget {
    sink: Sink,
    /// Rows that wait, a place for each dataset.
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

/// What a file of rows looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// A line of names, then a line a row.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file, sorted as the rows come.
    Parquet,
}

impl RowTarget {
    /// Tables, one for each dataset in their order.
    #[must_use]
    pub fn tables(tables: Vec<TableSink>) -> Self {
        let pending = tables.iter().map(|_| Pending::default()).collect();
        Self {
            sink: Sink::Tables(tables),
            pending,
        }
    }

    /// A file of one dataset's rows, `-` for standard output.
    pub fn file(path: &Path, format: FileFormat) -> Result<Self> {
        let sink = match format {
            FileFormat::Csv => Sink::Csv(CsvWriter::new(OutFile::open(path)?)),
            FileFormat::Arrow => Sink::Arrow(Box::new(ArrowFile {
                out: Some(OutFile::open(path)?),
                writer: None,
            })),
            FileFormat::Parquet => Sink::Parquet(Box::new(ParquetFile::new(path)?)),
        };
        Ok(Self {
            sink,
            pending: vec![Pending::default()],
        })
    }

    /// Whether a replay that was ended can go on where it was.
    #[must_use]
    pub fn can_resume(&self) -> bool {
        matches!(self.sink, Sink::Tables(_) | Sink::Csv(_))
    }

    /// Takes a row of the dataset at this place.
    pub(super) async fn send(
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

    /// Hands over all that was sent; how long the file is then.
    pub(super) async fn flush(&mut self) -> Result<Option<u64>> {
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

    pub(super) fn resume(&mut self, bytes: u64) -> Result<()> {
        match &mut self.sink {
            Sink::Csv(csv) => csv.resume(bytes),
            Sink::Arrow(file) => match &mut file.out {
                Some(out) => out.resume(0),
                None => Ok(()),
            },
            Sink::Tables(_) | Sink::Parquet(_) => Ok(()),
        }
    }

    /// Rows that the tables had already.
    pub(super) fn duplicates(&self) -> u64 {
        match &self.sink {
            Sink::Tables(tables) => tables.iter().map(TableSink::held).sum(),
            _ => 0,
        }
    }

    /// Ends the target. A file gets its end, and a Parquet file its name, only where all rows are in it.
    pub(super) async fn end(&mut self, is_whole: bool) -> Result<()> {
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

fn same_schema(expected: &arrow::datatypes::Schema, batch: &RecordBatch) -> Result<()> {
    if expected == batch.schema_ref().as_ref() {
        return Ok(());
    }
    Err(Error::schema(
        "the archive's rows have other columns or types from here on, and a file has one schema",
    )
    .with_hint("end the replay before that with --to, and begin a second file there; --into csv takes the same columns of other types"))
}

struct ArrowFile {
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
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let (schema, writer) = match &mut self.writer {
            Some(writer) => writer,
            empty => {
                let Some(out) = self.out.take() else {
                    return Err(Error::malformed("the Arrow stream was ended"));
                };
                let writer = StreamWriter::try_new(out, batch.schema_ref())?;
                empty.insert((batch.schema(), writer))
            }
        };
        same_schema(schema, batch)?;
        writer.write(batch)?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some((_, mut writer)) = self.writer.take() {
            writer.finish()?;
            writer.into_inner()?.sync()?;
        }
        Ok(())
    }
}

/// A cut-out: written beside its place under another name, which it gets when it is whole.
#[derive(Debug)]
struct ParquetFile {
    writer: Option<(SchemaRef, ArrowWriter<ParquetOut>)>,
    out: Option<ParquetOut>,
    path: PathBuf,
}

#[derive(Debug)]
enum ParquetOut {
    Named(std::io::BufWriter<tempfile::NamedTempFile>),
    Stdout(OutFile),
}

impl std::io::Write for ParquetOut {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Named(out) => out.write(bytes),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Named(out) => out.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }
}

impl ParquetFile {
    fn new(path: &Path) -> Result<Self> {
        let out = if path == Path::new("-") {
            ParquetOut::Stdout(OutFile::open(path)?)
        } else {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            let file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
            let file = file.context(|| format!("opening {}", path.display()))?;
            ParquetOut::Named(std::io::BufWriter::new(file))
        };
        Ok(Self {
            writer: None,
            out: Some(out),
            path: path.to_owned(),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let writer = match &mut self.writer {
            Some((schema, writer)) => {
                same_schema(schema, batch)?;
                writer
            }
            empty => {
                let Some(out) = self.out.take() else {
                    return Err(Error::malformed("the Parquet file was ended"));
                };
                let properties = WriterProperties::builder()
                    .set_created_by(concat!("mpsync ", env!("CARGO_PKG_VERSION")).into())
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
                    .build();
                let writer = ArrowWriter::try_new(out, batch.schema(), Some(properties))?;
                let (_, writer) = empty.insert((batch.schema(), writer));
                writer
            }
        };
        writer.write(batch)?;
        if writer.in_progress_size() > GROUP_BYTES {
            writer.flush()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let context = || format!("writing {}", self.path.display());
        let Some((_, writer)) = self.writer.take() else {
            tracing::warn!(file = %self.path.display(), "there was no row, so no file was made");
            return Ok(());
        };
        match writer.into_inner()? {
            ParquetOut::Stdout(mut out) => out.flush().context(context),
            ParquetOut::Named(out) => {
                let file = out
                    .into_inner()
                    .map_err(std::io::IntoInnerError::into_error);
                let file = file.context(context)?;
                file.as_file().sync_all().context(context)?;
                file.persist(&self.path)
                    .map(drop)
                    .map_err(|e| Error::from(e.error))
                    .context(context)
            }
        }
    }
}
