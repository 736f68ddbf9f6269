//! The rows of a selection, one batch at a time.

use std::collections::VecDeque;
use std::fmt;

use arrow::array::RecordBatch;
use futures_util::{Stream, TryStreamExt as _};

use super::selection::Selection;
use crate::chunk::reader::ChunkBatches;
use crate::format::layout::GenerationId;
use crate::format::manifest::Chunk;
use crate::store::archive::Archive;
use mpsync_core::dataset::Window;
use mpsync_core::error::Result;

/// The rows of a [`Selection`], in batches.
///
/// Windows come in order of time, the generations of a window in order, and the rows of a generation in the order in which they
/// lie. A later generation holds rows that arrived late, so that rows of one window may go back in time at the
/// beginning of its next generation. Batches of different chunks may differ in schema: an evolved dataset has more columns in later windows,
/// and a column of text is `Binary` from the first value on that is not UTF-8.
///
/// Memory is bounded by one chunk (256 MiB by default) and three batches of 65,536 rows.
pub struct Rows {
    archive: Archive,
    selection: Selection,
    /// Windows whose generations are not read yet; `None` before they are listed.
    windows: Option<VecDeque<Window>>,
    /// Chunks that are not read yet, of one window.
    chunks: VecDeque<PendingChunk>,
    open: Option<OpenChunk>,
}

struct PendingChunk {
    id: GenerationId,
    chunk: Chunk,
    time_column: String,
}

struct OpenChunk {
    batches: ChunkBatches,
    time_column: String,
}

impl Rows {
    pub(super) fn new(archive: Archive, selection: Selection) -> Self {
        Self {
            archive,
            selection,
            windows: None,
            chunks: VecDeque::new(),
            open: None,
        }
    }

    /// Returns the next rows; `None` after the last.
    ///
    /// Every byte of a chunk is read and its SHA-256 compared with the manifest before its first row is returned.
    ///
    /// # Errors
    ///
    /// An integrity error if the archive is not what its manifests say, a key error if a chunk is encrypted with a key that
    /// the reader does not have, and errors of the store. The rows that were returned before are whole chunks and the
    /// beginning of one.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no rows are lost: the next call continues.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(open) = &mut self.open {
                match open.batches.try_next().await? {
                    Some(batch) => {
                        if let Some(batch) = self.selection.apply(batch, &open.time_column)? {
                            return Ok(Some(batch));
                        }
                    }
                    None => self.open = None,
                }
            } else if let Some(next) = self.chunks.front() {
                let batches = self.archive.read_chunk(&next.id, &next.chunk).await?;
                if let Some(next) = self.chunks.pop_front() {
                    self.open = Some(OpenChunk {
                        batches,
                        time_column: next.time_column,
                    });
                }
            } else if !self.next_window().await? {
                return Ok(None);
            }
        }
    }

    /// Queues the chunks of the next window; `false` after the last.
    async fn next_window(&mut self) -> Result<bool> {
        let dataset = &self.selection.dataset;
        let windows = match &mut self.windows {
            Some(windows) => windows,
            none => {
                let listed = self.archive.windows(dataset, self.selection.range).await?;
                none.insert(listed.into())
            }
        };
        let Some(window) = windows.front() else {
            return Ok(false);
        };
        let manifests = self.archive.generations(dataset, *window).await?;
        windows.pop_front();
        for manifest in manifests {
            let id = manifest.id();
            for chunk in manifest.chunks {
                if self.selection.touches(&chunk) {
                    self.chunks.push_back(PendingChunk {
                        id: id.clone(),
                        chunk,
                        time_column: manifest.schema.time_column.clone(),
                    });
                }
            }
        }
        Ok(true)
    }

    /// Returns the rows as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<RecordBatch>> + Send {
        futures_util::stream::try_unfold(self, |mut rows| async move {
            Ok(rows.next_batch().await?.map(|batch| (batch, rows)))
        })
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("selection", &self.selection)
            .finish_non_exhaustive()
    }
}
