//! Dispatch to the target of a replay.

use arrow::array::RecordBatch;

use super::core_nats::CoreTarget;
use super::file::FileTarget;
use super::jetstream::JetStreamTarget;
use super::message::OutboundMessage;
use super::rows::RowTarget;
use crate::order::StreamKey;
use mpsync_core::error::{Error, Result};

/// The target of a replay.
#[derive(Debug)]
pub enum Target {
    /// Discards messages, to measure everything before the target.
    Null,
    /// A file or standard output, one JSON object a line.
    File(FileTarget),
    /// JetStream, with an acknowledgement for each message.
    JetStream(Box<JetStreamTarget>),
    /// NATS without acknowledgements: slow subscribers lose messages.
    Core(CoreTarget),
    /// Tables, or a file of rows, with every column of the archive.
    Rows(Box<RowTarget>),
    /// Records messages and their times, for tests.
    #[cfg(test)]
    Record(crate::tests::Record),
}

/// The position up to which the target has everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurablePosition {
    /// The last such message; `None` if there is none yet.
    pub key: Option<StreamKey>,
    /// The length of the target's file then.
    pub file_bytes: Option<u64>,
}

impl Target {
    /// Whether it receives rows, not messages.
    pub(crate) fn takes_rows(&self) -> bool {
        matches!(self, Self::Rows(_))
    }

    /// Whether it stores headers.
    pub(crate) fn has_headers(&self) -> bool {
        match self {
            Self::JetStream(_) | Self::Core(_) => true,
            #[cfg(test)]
            Self::Record(_) => true,
            Self::Null | Self::File(_) | Self::Rows(_) => false,
        }
    }

    /// Sends a message if that does not wait; returns `false` otherwise.
    #[inline]
    pub(crate) fn send_at_once(&mut self, message: OutboundMessage<'_>) -> Result<bool> {
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

    pub(crate) async fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
        match self {
            Self::Null => Ok(()),
            Self::File(file) => file.send(message),
            Self::JetStream(stream) => stream.send(message).await,
            Self::Core(core) => core.send(message).await,
            Self::Rows(_) => Err(Error::usage("a target of rows does not accept messages")),
            #[cfg(test)]
            Self::Record(record) => {
                record.send(message);
                Ok(())
            }
        }
    }

    pub(crate) async fn send_row(
        &mut self,
        stream: usize,
        batch: &RecordBatch,
        row: usize,
    ) -> Result<()> {
        match self {
            Self::Rows(rows) => rows.send(stream, batch, row).await,
            _ => Err(Error::usage("a target of messages does not accept rows")),
        }
    }

    /// Makes durable all that does not wait for a server; `sent` is the last message sent.
    pub(crate) async fn settle(&mut self, sent: Option<StreamKey>) -> Result<DurablePosition> {
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

    /// Waits until the target has all that was sent.
    pub(crate) async fn drain(&mut self) -> Result<()> {
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

    /// Flushes buffers, so that readers of the file see all that was sent.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match self {
            Self::File(file) => file.flush(),
            _ => Ok(()),
        }
    }

    /// Starts a new pass: no message of an earlier one counts as its last.
    pub(crate) fn forget(&mut self) {
        if let Self::JetStream(stream) = self {
            stream.forget();
        }
    }

    /// Returns to the position of a checkpoint.
    pub(crate) fn resume(&mut self, file_bytes: Option<u64>) -> Result<()> {
        match (self, file_bytes) {
            (Self::File(file), Some(bytes)) => file.resume(bytes),
            (Self::Rows(rows), Some(bytes)) => rows.resume(bytes),
            _ => Ok(()),
        }
    }

    /// Returns the number of messages that the target had already.
    pub(crate) fn duplicates(&self) -> u64 {
        match self {
            Self::JetStream(stream) => stream.duplicates(),
            Self::Rows(rows) => rows.duplicates(),
            _ => 0,
        }
    }

    /// Ends the replay, complete or not: removes helper tables; an incomplete file gets no name.
    pub(crate) async fn end(&mut self, is_whole: bool) -> Result<()> {
        match self {
            Self::Rows(rows) => rows.end(is_whole).await,
            _ => Ok(()),
        }
    }
}
