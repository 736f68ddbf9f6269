//! Sources of a chunk's bytes: memory, an unnamed temporary file if the chunk is too big for that, or the
//! archive, from which only the needed ranges are fetched.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use futures_util::TryStreamExt as _;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use crate::read::counters::ReadCounters;
use mpsync_archive::{Archive, Chunk, GenerationId};
use mpsync_core::error::{Context as _, Error, Result};

/// The least that is fetched at once: a page and those after it.
const LEAST_FETCH: u64 = 32 << 10;
/// Fetched parts that are kept: about as many as columns that are read side by side.
const KEPT: usize = 32;
/// Bytes that are read at once if the length of the rest is not known.
const READ_BYTES: usize = 8 << 10;

/// The bytes of one chunk. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum ChunkSource {
    Memory(Bytes),
    File(Arc<File>, u64),
    Parts(Arc<RemoteChunk>),
}

impl ChunkSource {
    /// Reads all bytes and verifies them; a chunk of more than `limit` bytes goes to an unnamed file.
    ///
    /// Writes to that file and so blocks the thread.
    pub(crate) async fn verified(
        archive: &Archive,
        id: &GenerationId,
        chunk: &Chunk,
        limit: u64,
    ) -> Result<Self> {
        let mut bytes = archive.chunk_bytes(id, chunk).await?;
        if chunk.bytes <= limit {
            return bytes.collect().await.map(Self::Memory);
        }
        let context = || "storing a chunk in a temporary file (below TMPDIR)";
        let mut file = tempfile::tempfile().context(context)?;
        while let Some(piece) = bytes.try_next().await? {
            file.write_all(&piece).context(context)?;
        }
        Ok(Self::File(Arc::new(file), chunk.bytes))
    }

    /// Reads all bytes without verifying them.
    pub(crate) async fn unverified(
        archive: &Archive,
        id: &GenerationId,
        chunk: &Chunk,
    ) -> Result<Self> {
        let bytes = archive.chunk_range(id, chunk, 0..chunk.bytes).await?;
        Ok(Self::Memory(bytes))
    }

    /// Reads nothing yet: parts are fetched and counted when they are requested. They are not verified.
    pub(crate) fn parts(
        archive: &Archive,
        id: &GenerationId,
        chunk: &Chunk,
        counts: &Arc<ReadCounters>,
        runtime: &Handle,
    ) -> Self {
        Self::Parts(Arc::new(RemoteChunk {
            archive: archive.clone(),
            id: id.clone(),
            chunk: chunk.clone(),
            counts: Arc::clone(counts),
            runtime: runtime.clone(),
            kept: Mutex::default(),
            failed: Mutex::default(),
        }))
    }
}

impl ChunkSource {
    /// Returns the error if its Parquet cannot be read: the failure of the archive if there was one, else
    /// damage.
    pub(crate) fn unreadable(&self, name: &str, e: impl std::fmt::Display) -> Error {
        let failed = match self {
            Self::Parts(parts) => parts
                .failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
            _ => None,
        };
        failed.unwrap_or_else(|| Error::integrity(format!("cannot read {name} as Parquet: {e}")))
    }
}

/// A chunk that stays in the archive.
#[derive(Debug)]
pub(crate) struct RemoteChunk {
    archive: Archive,
    id: GenerationId,
    chunk: Chunk,
    counts: Arc<ReadCounters>,
    runtime: Handle,
    /// The parts fetched last, with their offsets.
    kept: Mutex<VecDeque<(u64, Bytes)>>,
    /// The cause of the last failed fetch: the Parquet reader passes on only its text.
    failed: Mutex<Option<Error>>,
}

impl RemoteChunk {
    fn get(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |(start, bytes): &(u64, Bytes)| {
            *start <= range.start && range.end <= start + bytes.len() as u64
        };
        if let Some((start, bytes)) = kept.iter().find(|part| within(part)) {
            return Ok(bytes.slice(offset(range.start - start)?..offset(range.end - start)?));
        }
        let end = range.end.max(range.start + LEAST_FETCH);
        let fetched = range.start..end.min(self.chunk.bytes);
        if range.end > fetched.end {
            return Err(ParquetError::EOF(format!(
                "the metadata points beyond the {} bytes of the chunk",
                self.chunk.bytes
            )));
        }
        let got = self
            .archive
            .chunk_range(&self.id, &self.chunk, fetched.clone());
        let bytes = self.runtime.block_on(got).map_err(|e| {
            let text = e.to_string();
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            ParquetError::General(text)
        })?;
        self.counts
            .bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let wanted = bytes.slice(..offset(range.end - range.start)?);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((fetched.start, bytes));
        Ok(wanted)
    }
}

fn offset(bytes: u64) -> Result<usize, ParquetError> {
    usize::try_from(bytes).map_err(|e| ParquetError::General(e.to_string()))
}

impl Length for ChunkSource {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, bytes) => *bytes,
            Self::Parts(parts) => parts.chunk.bytes,
        }
    }
}

impl ChunkReader for ChunkSource {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(ChunkReader::get_read(bytes, start)?),
            other => Box::new(io::BufReader::with_capacity(
                READ_BYTES,
                Onwards {
                    source: other.clone(),
                    at: start,
                },
            )),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Self::Memory(bytes) => ChunkReader::get_bytes(bytes, start, length),
            Self::File(file, _) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            Self::Parts(parts) => parts.get(start..start + length as u64),
        }
    }
}

/// Reads a source from an offset on.
struct Onwards {
    source: ChunkSource,
    at: u64,
}

impl Read for Onwards {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len().saturating_sub(self.at);
        let length = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut bytes = self
            .source
            .get_bytes(self.at, length)
            .map_err(io::Error::other)?;
        bytes.copy_to_slice(&mut into[..length]);
        self.at += length as u64;
        Ok(length)
    }
}
