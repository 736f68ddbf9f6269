//! One dataset's slices on the side that takes them.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::dataset_stream::DatasetReader;
use super::order::RowKey;
use super::plan::ChunkPlan;
use super::sorted::Slice;
use mpsync_core::error::Result;

/// A dataset with the slice that is in use.
#[derive(Debug)]
pub(super) struct StreamCursor {
    slices: mpsc::Receiver<Result<Slice>>,
    thread: Option<JoinHandle<()>>,
    pub slice: Slice,
    /// The first row of the slice that was not taken yet.
    pub at: usize,
}

impl StreamCursor {
    pub(super) fn start(reader: DatasetReader, chunks: Vec<ChunkPlan>) -> Self {
        let (slices, thread) = reader.start(chunks);
        Self {
            slices,
            thread: Some(thread),
            slice: Slice::default(),
            at: 0,
        }
    }

    pub(super) fn head(&self) -> Option<RowKey> {
        self.slice.rows.get(self.at).map(|row| row.key)
    }

    /// Makes sure that there is a row, unless the dataset is at its end.
    pub(super) async fn fill(&mut self) -> Result<()> {
        while self.at >= self.slice.rows.len() {
            // What was used goes before what comes next.
            self.slice = Slice::default();
            self.at = 0;
            match self.slices.recv().await {
                Some(slice) => self.slice = slice?,
                None => return self.ended().await,
            }
        }
        Ok(())
    }

    /// A thread that broke off is no end of the dataset.
    async fn ended(&mut self) -> Result<()> {
        match self.thread.take() {
            Some(thread) => Ok(thread.await.map_err(std::io::Error::other)?),
            None => Ok(()),
        }
    }
}
