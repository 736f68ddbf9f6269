//! Writing the chunks of one generation.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::encoder::Encoder;
use super::layout::GenerationId;
use super::manifest::Chunk;
use super::store::Archive;
use crate::clickhouse::HashedColumn;
use crate::error::{Error, Result};

/// Batches that may wait for the encoder: one is encoded while the next is fetched.
const WAITING_BATCHES: usize = 2;

/// What the rows of a generation look like.
#[derive(Debug, Clone)]
pub struct ChunkSchema {
    /// The schema of the batches, which hold what is stored and nothing else.
    ///
    /// Strings may be Binary, or a dictionary of Binary; they are stored as text as long as they are UTF-8.
    pub arrow: SchemaRef,
    /// The same columns with their ClickHouse types.
    pub columns: Vec<HashedColumn>,
    /// The column of the event time.
    pub time_column: String,
    /// The order in which the rows come, as ClickHouse writes it. Nothing is sorted here.
    pub sorting_key: String,
}

enum Command {
    Batch(RecordBatch),
    Finish,
}

/// Writes the chunks of one generation, in one attempt. Encoding, hashing and uploading run on a thread of their own.
///
/// After an error, and when it is dropped unfinished, what was written is removed; what cannot be removed is named by no
/// manifest.
#[derive(Debug)]
pub struct ChunkWriter(State);

#[derive(Debug)]
enum State {
    Open {
        commands: mpsc::Sender<Command>,
        encoder: JoinHandle<Result<Option<Vec<Chunk>>>>,
    },
    Finished,
}

impl ChunkWriter {
    /// A writer for an attempt at a generation. Must be called within a tokio runtime.
    ///
    /// The attempt's number becomes part of the names: no two attempts share a file.
    pub fn new(
        archive: &Archive,
        id: GenerationId,
        attempt: u64,
        schema: ChunkSchema,
    ) -> Result<Self> {
        let runtime = Handle::try_current().map_err(std::io::Error::other)?;
        let encoder = Encoder::new(archive, id, attempt, schema, runtime)?;
        let (commands, receiver) = mpsc::channel(WAITING_BATCHES);
        let encoder = tokio::task::spawn_blocking(move || encode(encoder, receiver));
        Ok(Self(State::Open { commands, encoder }))
    }

    /// Takes rows; waits while the encoder is behind. The chunks that are full are already on their way.
    ///
    /// Cancel-safe: a batch is taken whole or not at all. After an error the writer is finished.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let State::Open { commands, .. } = &self.0 else {
            return Err(finished());
        };
        if commands.send(Command::Batch(batch)).await.is_ok() {
            return Ok(());
        }
        // The encoder ends before it is told to only with an error.
        self.end().await.map(drop)
    }

    /// Ends the last chunk. On return all chunks are whole and durable, and read back where `verify_after_write` asks
    /// for it. No rows give no chunks.
    pub async fn finish(mut self) -> Result<Vec<Chunk>> {
        if let State::Open { commands, .. } = &self.0 {
            // An encoder that has ended tells why below.
            let _ = commands.send(Command::Finish).await;
        }
        self.end().await
    }

    /// Gives the generation up and removes what was written.
    pub async fn abort(mut self) {
        if let State::Open { commands, encoder } = std::mem::replace(&mut self.0, State::Finished) {
            drop(commands);
            if let Err(e) = encoder.await {
                tracing::warn!(error = %e, "the encoder did not end well");
            }
        }
    }

    async fn end(&mut self) -> Result<Vec<Chunk>> {
        let State::Open { commands, encoder } = std::mem::replace(&mut self.0, State::Finished)
        else {
            return Err(finished());
        };
        drop(commands);
        let chunks = encoder.await.map_err(std::io::Error::other)??;
        chunks.ok_or_else(finished)
    }
}

fn finished() -> Error {
    Error::usage("the chunk writer is finished")
}

/// The encoder's thread. `None` when the writer was dropped or aborted.
fn encode(
    mut encoder: Encoder,
    mut commands: mpsc::Receiver<Command>,
) -> Result<Option<Vec<Chunk>>> {
    loop {
        match commands.blocking_recv() {
            Some(Command::Batch(batch)) => {
                if let Err(e) = encoder.write(&batch) {
                    encoder.abort();
                    return Err(e);
                }
            }
            Some(Command::Finish) => return encoder.finish().map(Some),
            None => {
                encoder.abort();
                return Ok(None);
            }
        }
    }
}
