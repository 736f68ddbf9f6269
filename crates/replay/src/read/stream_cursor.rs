//! The receiving end of a dataset's slices.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::order::RowKey;
use crate::plan::ChunkPlan;
use crate::read::dataset_stream::DatasetReader;
use crate::read::sorted::Slice;
use mpsync_core::error::Result;

/// A dataset's stream with the slice in use.
#[derive(Debug)]
pub(crate) struct StreamCursor {
    slices: mpsc::Receiver<Result<Slice>>,
    thread: Option<JoinHandle<()>>,
    pub slice: Slice,
    /// The first row of the slice that was not sent yet.
    pub at: usize,
}

impl StreamCursor {
    pub(crate) fn start(reader: DatasetReader, chunks: Vec<ChunkPlan>) -> Self {
        let (slices, thread) = reader.start(chunks);
        Self {
            slices,
            thread: Some(thread),
            slice: Slice::default(),
            at: 0,
        }
    }

    pub(crate) fn head(&self) -> Option<RowKey> {
        self.slice.rows.get(self.at).map(|row| row.key)
    }

    /// Waits for a row, unless the dataset is at its end.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        while self.at >= self.slice.rows.len() {
            // Frees the used slice before it waits for the next.
            self.slice = Slice::default();
            self.at = 0;
            match self.slices.recv().await {
                Some(slice) => self.slice = slice?,
                None => return self.ended().await,
            }
        }
        Ok(())
    }

    /// Fails if the reading thread panicked: that is not the end of the dataset.
    async fn ended(&mut self) -> Result<()> {
        match self.thread.take() {
            Some(thread) => Ok(thread.await.map_err(std::io::Error::other)?),
            None => Ok(()),
        }
    }
}
