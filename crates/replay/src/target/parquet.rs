//! Rows as a Parquet file, which gets its name once it is whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::SchemaRef;
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::WriterProperties;

use super::out_file::OutFile;
use super::schema::same_schema;
use mpsync_core::error::{Context as _, Error, Result};

/// About how many encoded bytes a row group has.
const GROUP_BYTES: usize = 16 << 20;

/// A Parquet file, written under a temporary name beside its path and renamed when it is whole.
#[derive(Debug)]
pub(super) struct ParquetFile {
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
    pub(super) fn new(path: &Path) -> Result<Self> {
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

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let writer = match &mut self.writer {
            Some((schema, writer)) => {
                same_schema(schema, batch)?;
                writer
            }
            empty => {
                let Some(out) = self.out.take() else {
                    return Err(Error::malformed("the Parquet file is closed"));
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

    pub(super) fn end(&mut self) -> Result<()> {
        let context = || format!("writing {}", self.path.display());
        let Some((_, writer)) = self.writer.take() else {
            tracing::warn!(file = %self.path.display(), "no rows, so no file was written");
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
