//! Reading chunks: no byte counts as read before the whole chunk is what its manifest says.

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

use super::encoder::hex;
use super::encryption::{check_form, reader_options};
use super::layout::{GenerationId, MANIFEST, parse_manifest};
use super::manifest::{Chunk, Manifest};
use super::store::Archive;
use mpsync_core::error::{Error, Result};

/// Rows of a decoded batch.
const BATCH_ROWS: usize = 65_536;

impl Archive {
    /// The bytes of a chunk as a stream that hashes as it goes.
    ///
    /// The last piece is held back until size and SHA-256 agree with the manifest; otherwise an integrity error comes in
    /// its place. A Parquet file cannot be read without its end, so a receiver of the stream never takes a damaged file for
    /// a whole one.
    pub async fn chunk_bytes(&self, id: &GenerationId, chunk: &Chunk) -> Result<ChunkBytes> {
        let path = id.file(&chunk.file);
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

    /// A chunk that is not there is lost, or a repair has put another in its place since the manifest was read.
    pub(super) async fn missing_or_superseded(&self, id: &GenerationId, chunk: &Chunk) -> Error {
        let names_it = |m: &Manifest| m.chunks.iter().any(|c| c.file == chunk.file);
        match self.manifest(id).await {
            Ok(Some(manifest)) if !names_it(&manifest) => Error::busy(format!(
                "a repair has put another chunk in the place of {} of {id} while it was read",
                chunk.file
            ))
            .with_hint("run the same command again"),
            _ => missing(id, chunk),
        }
    }

    /// How a chunk's bytes are opened as Parquet: with its key, where it is encrypted.
    ///
    /// An error of [`mpsync_core::error::Cause::Key`] that names chunk and key where the configuration does not have that key.
    pub fn reader_options(&self, id: &GenerationId, chunk: &Chunk) -> Result<ArrowReaderOptions> {
        reader_options(&self.options().encryption, id, chunk)
    }

    /// The same of the chunk at a path, as the manifest beside it says; as a file that is not encrypted where none names it.
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

    /// The rows of a chunk, decoded from the very bytes that were found to be what the manifest says.
    ///
    /// The chunk's bytes are held in memory while its batches are read.
    pub async fn read_chunk(&self, id: &GenerationId, chunk: &Chunk) -> Result<ChunkBatches> {
        // Without its key there is nothing to be read.
        let options = self.reader_options(id, chunk)?;
        let bytes = self.chunk_bytes(id, chunk).await?.collect().await?;
        let context = format!("decoding {}", id.file(&chunk.file));
        check_form(&bytes, chunk).map_err(|e| e.with_hint(RESTORE).context(context.clone()))?;
        let (sender, receiver) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            if let Err(e) = decode(bytes, options, &sender) {
                // Nobody is there to hear it when the receiver was dropped.
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
        "the manifest of {id} names the chunk {}, and there is none",
        chunk.file
    ))
    .with_hint(RESTORE)
}

/// What to do about a damaged chunk.
pub(super) const RESTORE: &str = "`mpsync verify --repair` makes it again from cold or hot, where one still holds the rows; or put the file back \
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
    Error::integrity(format!("it is no readable Parquet: {e}")).with_hint(RESTORE)
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
    /// All bytes, verified.
    pub async fn collect(mut self) -> Result<Bytes> {
        let capacity = usize::try_from(self.chunk.bytes).unwrap_or(0).min(1 << 30);
        let mut all = BytesMut::with_capacity(capacity);
        while let Some(bytes) = self.try_next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// All bytes, whatever they are, with their SHA-256. Stops where there are more than there should be.
    pub(super) async fn collect_any(mut self) -> Result<(Bytes, String)> {
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

    /// Whether what came is what the manifest says.
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

/// Reading ends as soon as there are more bytes than there should be.
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
                    self.seen += bytes.len() as u64;
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

/// The batches of a chunk, see [`Archive::read_chunk`]. Ends in an error where there are not as many rows as the manifest
/// says.
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
            // The decoder's thread is gone; whether it came to its end, the count tells.
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
