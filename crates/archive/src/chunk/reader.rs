//! Reading chunks: rows are returned only after the whole chunk was compared with its manifest.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use arrow::array::RecordBatch;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::encryption::reader_options;
use super::footer_guard::{check_dictionaries, check_footer, check_form, guarded};
use crate::chunk::hex::hex;
use crate::format::layout::{GenerationId, MANIFEST, parse_manifest};
use crate::format::manifest::{Chunk, Manifest};
use crate::store::archive::Archive;
use mpsync_core::error::{Error, Result};

/// Rows of a decoded batch.
const BATCH_ROWS: usize = 65_536;

impl Archive {
    /// Returns the bytes of a chunk as a stream that computes their hash.
    ///
    /// The last piece is held back until size and SHA-256 agree with the manifest; otherwise an integrity error comes in
    /// its place. A Parquet file cannot be read without its end, so a receiver of the stream never mistakes a damaged file for a whole one.
    pub async fn chunk_bytes(&self, id: &GenerationId, chunk: &Chunk) -> Result<ChunkBytes> {
        let path = id.file(&chunk.file);
        if chunk.bytes > self.chunk_limit() {
            return Err(Error::integrity(format!(
                "{path} has {} bytes as the manifest says, and a chunk has at most {}",
                chunk.bytes,
                self.chunk_limit()
            ))
            .with_hint(RESTORE));
        }
        let got = match self.store().get(&path).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(self.missing_or_superseded(id, chunk).await);
            }
            Err(e) => return Err(self.to_error(e).context(format!("reading {path}"))),
        };
        let archive = self.clone();
        let name = path.clone();
        let bytes = got
            .into_stream()
            .map_err(move |e| archive.to_error(e).context(format!("reading {name}")));
        Ok(ChunkBytes {
            bytes: bytes.boxed(),
            hash: Sha256::new(),
            seen: 0,
            held: None,
            ended: false,
            id: id.clone(),
            chunk: chunk.clone(),
        })
    }

    /// Returns the error of a missing chunk: it is lost, or a repair has replaced it since the manifest was read.
    pub(crate) async fn missing_or_superseded(&self, id: &GenerationId, chunk: &Chunk) -> Error {
        let names_it = |m: &Manifest| m.chunks.iter().any(|c| c.file == chunk.file);
        match self.manifest(id).await {
            Ok(Some(manifest)) if !names_it(&manifest) => Error::busy(format!(
                "a repair has replaced {} of {id} while it was read",
                chunk.file
            ))
            .with_hint("run the same command again"),
            _ => missing(id, chunk),
        }
    }

    /// Returns how a chunk's bytes are opened as Parquet: with its key, if it is encrypted.
    ///
    /// An error of [`mpsync_core::error::Cause::Key`] that names chunk and key if the configuration does not have that key.
    pub fn reader_options(&self, id: &GenerationId, chunk: &Chunk) -> Result<ArrowReaderOptions> {
        reader_options(&self.options().encryption, id, chunk)
    }

    /// Returns the same for the chunk at a path, as the manifest beside it says; not encrypted if no manifest names it.
    pub async fn reader_options_at(&self, path: &Path) -> Result<ArrowReaderOptions> {
        let file = path.filename().unwrap_or_default();
        let folder = path.as_ref().strip_suffix(file).unwrap_or_default();
        let Some(id) = parse_manifest(&Path::from(folder).join(MANIFEST)) else {
            return Ok(ArrowReaderOptions::new());
        };
        let manifest = self.manifest(&id).await?;
        let chunks = manifest.iter().flat_map(|manifest| &manifest.chunks);
        match chunks.into_iter().find(|chunk| chunk.file == file) {
            Some(chunk) => self.reader_options(&id, chunk),
            None => Ok(ArrowReaderOptions::new()),
        }
    }

    /// Reads the rows of a chunk, decoded from the very bytes that were compared with the manifest.
    ///
    /// The chunk's bytes are held in memory while its batches are read.
    pub async fn read_chunk(&self, id: &GenerationId, chunk: &Chunk) -> Result<ChunkBatches> {
        // Without its key nothing can be read.
        let options = self.reader_options(id, chunk)?;
        let bytes = self.chunk_bytes(id, chunk).await?.collect().await?;
        let context = format!("decoding {}", id.file(&chunk.file));
        check_form(&bytes, chunk)
            .and_then(|()| check_footer(&bytes))
            .map_err(|e| e.with_hint(RESTORE).context(context.clone()))?;
        let (is_encrypted, rows) = (chunk.key_id.is_some(), chunk.rows);
        let (sender, receiver) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let decoded = guarded(|| {
                if !is_encrypted {
                    check_dictionaries(&bytes, rows)?;
                }
                decode(bytes, options, &sender)
            });
            if let Err(e) = decoded {
                // Fails only if the receiver was dropped.
                let _ = sender.blocking_send(Err(e.context(context)));
            }
        });
        Ok(ChunkBatches {
            batches: receiver,
            name: id.file(&chunk.file).to_string(),
            expected: chunk.rows,
            seen: 0,
            ended: false,
        })
    }
}

fn missing(id: &GenerationId, chunk: &Chunk) -> Error {
    Error::integrity(format!(
        "the manifest of {id} names the chunk {}, which is missing",
        chunk.file
    ))
    .with_hint(RESTORE)
}

/// The remedy for a damaged chunk.
pub(crate) const RESTORE: &str = "`mpsync verify --repair` makes it again from cold or hot, if one still holds the rows; or put the file back \
                                  from a copy of the archive; until then nothing of this window is loaded or cleaned";

fn decode(
    bytes: Bytes,
    options: ArrowReaderOptions,
    batches: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
        .map_err(|e| undecodable(&e))?;
    for batch in reader {
        let batch = batch.map_err(|e| undecodable(&e))?;
        if batches.blocking_send(Ok(batch)).is_err() {
            break;
        }
    }
    Ok(())
}

fn undecodable(e: &dyn std::fmt::Display) -> Error {
    Error::integrity(format!("it is not readable as Parquet: {e}")).with_hint(RESTORE)
}

/// The bytes of a chunk, see [`Archive::chunk_bytes`].
pub struct ChunkBytes {
    bytes: BoxStream<'static, Result<Bytes>>,
    hash: Sha256,
    seen: u64,
    held: Option<Bytes>,
    ended: bool,
    id: GenerationId,
    chunk: Chunk,
}

impl ChunkBytes {
    /// Reads all bytes, verified.
    pub async fn collect(mut self) -> Result<Bytes> {
        let capacity = usize::try_from(self.chunk.bytes).unwrap_or(0).min(1 << 30);
        let mut all = BytesMut::with_capacity(capacity);
        while let Some(bytes) = self.try_next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// Reads all bytes, unverified, with their SHA-256. Stops if there are more than there should be.
    pub(crate) async fn collect_any(mut self) -> Result<(Bytes, String)> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.bytes.try_next().await? {
            all.extend_from_slice(&bytes);
            if all.len() as u64 > self.chunk.bytes {
                break;
            }
        }
        let sha256 = hex(&Sha256::digest(&all));
        Ok((all.freeze(), sha256))
    }

    /// Reads to the end, for the check alone.
    pub async fn drain(mut self) -> Result<()> {
        while self.try_next().await?.is_some() {}
        Ok(())
    }

    /// Compares the bytes with the manifest.
    fn verdict(&mut self) -> Result<()> {
        let found = hex(&self.hash.finalize_reset());
        let path = self.id.file(&self.chunk.file);
        let what = if self.seen != self.chunk.bytes {
            format!(
                "{path} has {} bytes, the manifest says {}",
                more(self.seen, self.chunk.bytes),
                self.chunk.bytes
            )
        } else if found != self.chunk.sha256 {
            format!(
                "{path} has the SHA-256 {found}, the manifest says {}",
                self.chunk.sha256
            )
        } else {
            return Ok(());
        };
        Err(Error::integrity(what).with_hint(RESTORE))
    }
}

/// Displays a number of bytes: reading ends as soon as there are more than there should be.
fn more(seen: u64, expected: u64) -> String {
    if seen > expected {
        format!("{seen} or more")
    } else {
        seen.to_string()
    }
}

impl Stream for ChunkBytes {
    type Item = Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let next = std::task::ready!(self.bytes.as_mut().poll_next(context));
            let item = match next {
                Some(Ok(bytes)) => {
                    self.hash.update(&bytes);
                    self.seen = self.seen.saturating_add(bytes.len() as u64);
                    if self.seen <= self.chunk.bytes {
                        match self.held.replace(bytes) {
                            Some(before) => Some(Ok(before)),
                            None => continue,
                        }
                    } else {
                        self.ended = true;
                        self.verdict().err().map(Err)
                    }
                }
                Some(Err(e)) => {
                    self.ended = true;
                    Some(Err(e))
                }
                None => {
                    self.ended = true;
                    match self.verdict() {
                        Ok(()) => self.held.take().map(Ok),
                        Err(e) => Some(Err(e)),
                    }
                }
            };
            return Poll::Ready(item);
        }
    }
}

impl std::fmt::Debug for ChunkBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkBytes")
            .field("id", &self.id)
            .field("chunk", &self.chunk.file)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// The batches of a chunk, see [`Archive::read_chunk`]. Ends in an error if the number of rows differs from the manifest.
#[derive(Debug)]
pub struct ChunkBatches {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    name: String,
    expected: u64,
    seen: u64,
    ended: bool,
}

impl Stream for ChunkBatches {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = match std::task::ready!(self.batches.poll_recv(context)) {
            Some(Ok(batch)) => {
                self.seen += batch.num_rows() as u64;
                Some(Ok(batch))
            }
            Some(Err(e)) => {
                self.ended = true;
                Some(Err(e))
            }
            // The decoder's thread has ended; the count says whether it was complete.
            None => {
                self.ended = true;
                (self.seen != self.expected).then(|| {
                    Err(Error::integrity(format!(
                        "{} has {} rows, the manifest says {}",
                        self.name, self.seen, self.expected
                    ))
                    .with_hint(RESTORE))
                })
            }
        };
        Poll::Ready(item)
    }
}
