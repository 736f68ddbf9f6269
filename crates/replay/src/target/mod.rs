//! Where messages and rows go.

mod clickhouse;
mod csv;
mod file;
mod gate_sweep;
mod insert_gate;
mod jetstream;
mod pending;
mod rows;

use arrow::array::RecordBatch;

pub use clickhouse::{TableSink, TableTarget};
pub use file::FileTarget;
pub use gate_sweep::sweep_insert_gates;
pub use jetstream::{CoreTarget, JetStreamTarget};
pub use rows::{FileFormat, RowTarget};

use super::order::StreamKey;
use mpsync_core::error::{Error, Result};

/// One message on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutboundMessage<'a> {
    pub key: StreamKey,
    pub subject: &'a str,
    pub msg_id: &'a str,
    /// The name and value of the header with the other id.
    pub other_id: Option<(&'static str, &'a str)>,
    pub payload: &'a [u8],
}

/// Where messages go.
#[derive(Debug)]
pub enum Target {
    /// Nowhere: what is measured is everything before.
    Null,
    /// A file or standard output, one JSON object a line.
    File(FileTarget),
    /// JetStream, each message acknowledged.
    JetStream(Box<JetStreamTarget>),
    /// NATS without acknowledgements: a stream that listens loses what it cannot take.
    Core(CoreTarget),
    /// Tables, or a file of rows, with every column of the archive.
    Rows(Box<RowTarget>),
    /// What was sent and when, for tests.
    #[cfg(test)]
    Record(super::tests::Record),
}

/// Up to where the target has everything for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DurablePosition {
    /// The last such message, `None` where there is none yet.
    pub key: Option<StreamKey>,
    /// How long the target's file is then.
    pub file_bytes: Option<u64>,
}

impl Target {
    /// Whether it takes rows, not messages.
    pub(super) fn takes_rows(&self) -> bool {
        matches!(self, Self::Rows(_))
    }

    /// Whether messages have headers there.
    pub(super) fn has_headers(&self) -> bool {
        match self {
            Self::JetStream(_) | Self::Core(_) => true,
            #[cfg(test)]
            Self::Record(_) => true,
            Self::Null | Self::File(_) | Self::Rows(_) => false,
        }
    }

    /// Sends a message where that needs no waiting; `false` where it does.
    #[inline]
    pub(super) fn send_at_once(&mut self, message: OutboundMessage<'_>) -> Result<bool> {
        match self {
            Self::Null => Ok(true),
            Self::File(file) => file.send(message).map(|()| true),
            #[cfg(test)]
            Self::Record(record) => {
                record.send(message);
                Ok(true)
            }
            Self::JetStream(_) | Self::Core(_) | Self::Rows(_) => Ok(false),
        }
    }

    pub(super) async fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
        match self {
            Self::Null => Ok(()),
            Self::File(file) => file.send(message),
            Self::JetStream(stream) => stream.send(message).await,
            Self::Core(core) => core.send(message).await,
            Self::Rows(_) => Err(Error::usage("a target of rows takes no messages")),
            #[cfg(test)]
            Self::Record(record) => {
                record.send(message);
                Ok(())
            }
        }
    }

    pub(super) async fn send_row(
        &mut self,
        stream: usize,
        batch: &RecordBatch,
        row: usize,
    ) -> Result<()> {
        match self {
            Self::Rows(rows) => rows.send(stream, batch, row).await,
            _ => Err(Error::usage("a target of messages takes no rows")),
        }
    }

    /// Makes durable what can be without waiting for others; `sent` is the last message that was sent.
    pub(super) async fn settle(&mut self, sent: Option<StreamKey>) -> Result<DurablePosition> {
        let file_bytes = match self {
            Self::Null => None,
            #[cfg(test)]
            Self::Record(_) => None,
            Self::File(file) => file.sync()?,
            Self::JetStream(stream) => {
                return Ok(DurablePosition {
                    key: stream.acknowledged()?,
                    file_bytes: None,
                });
            }
            Self::Core(core) => core.flush().await.map(|()| None)?,
            Self::Rows(rows) => rows.flush().await?,
        };
        Ok(DurablePosition {
            key: sent,
            file_bytes,
        })
    }

    /// Hands over all that was sent: when it returns, the target has it.
    pub(super) async fn drain(&mut self) -> Result<()> {
        match self {
            Self::Null => Ok(()),
            #[cfg(test)]
            Self::Record(_) => Ok(()),
            Self::File(file) => file.sync().map(drop),
            Self::JetStream(stream) => stream.drain().await,
            Self::Core(core) => core.flush().await,
            Self::Rows(rows) => rows.flush().await.map(drop),
        }
    }

    /// Shows what was sent to whoever reads along.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self {
            Self::File(file) => file.flush(),
            _ => Ok(()),
        }
    }

    /// Begins a new pass: no message of an earlier one counts as its last.
    pub(super) fn forget(&mut self) {
        if let Self::JetStream(stream) = self {
            stream.forget();
        }
    }

    /// Goes back to where a checkpoint was written.
    pub(super) fn resume(&mut self, file_bytes: Option<u64>) -> Result<()> {
        match (self, file_bytes) {
            (Self::File(file), Some(bytes)) => file.resume(bytes),
            (Self::Rows(rows), Some(bytes)) => rows.resume(bytes),
            _ => Ok(()),
        }
    }

    /// Messages that the target said it had already.
    pub(super) fn duplicates(&self) -> u64 {
        match self {
            Self::JetStream(stream) => stream.duplicates(),
            Self::Rows(rows) => rows.duplicates(),
            _ => 0,
        }
    }

    /// Ends it, well or not: what it made for itself is removed, and what is not whole gets no name.
    pub(super) async fn end(&mut self, is_whole: bool) -> Result<()> {
        match self {
            Self::Rows(rows) => rows.end(is_whole).await,
            _ => Ok(()),
        }
    }
}
