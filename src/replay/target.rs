//! Where messages go.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::jetstream::{CoreTarget, JetStreamTarget};
use super::merge::StreamKey;
use super::number::push_text;
use crate::error::{Context as _, Result};

/// One message on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub key: StreamKey,
    pub subject: &'a str,
    pub msg_id: &'a str,
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
}

/// Up to where the target has everything for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    /// The last such message, `None` where there is none yet.
    pub key: Option<StreamKey>,
    /// How long the target's file is then.
    pub file_bytes: Option<u64>,
}

impl Target {
    pub(super) async fn send(&mut self, message: Outgoing<'_>) -> Result<()> {
        match self {
            Self::Null => Ok(()),
            Self::File(file) => file.send(message),
            Self::JetStream(stream) => stream.send(message).await,
            Self::Core(core) => core.send(message).await,
        }
    }

    /// Makes durable what can be without waiting for others; `sent` is the last message that was sent.
    pub(super) async fn settle(&mut self, sent: Option<StreamKey>) -> Result<Settled> {
        Ok(match self {
            Self::Null => Settled {
                key: sent,
                file_bytes: None,
            },
            Self::File(file) => Settled {
                key: sent,
                file_bytes: file.sync()?,
            },
            Self::JetStream(stream) => Settled {
                key: stream.acknowledged()?,
                file_bytes: None,
            },
            Self::Core(core) => {
                core.flush().await?;
                Settled {
                    key: sent,
                    file_bytes: None,
                }
            }
        })
    }

    /// Hands over all that was sent: when it returns, the target has it.
    pub(super) async fn drain(&mut self) -> Result<()> {
        match self {
            Self::Null => Ok(()),
            Self::File(file) => file.sync().map(drop),
            Self::JetStream(stream) => stream.drain().await,
            Self::Core(core) => core.flush().await,
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
            _ => Ok(()),
        }
    }

    /// Messages that the target said it had already.
    pub(super) fn duplicates(&self) -> u64 {
        match self {
            Self::JetStream(stream) => stream.duplicates(),
            _ => 0,
        }
    }
}

/// A file or standard output, in the form that `mpsync generate --from` publishes.
#[derive(Debug)]
pub struct FileTarget {
    out: Out,
    line: Vec<u8>,
    path: PathBuf,
}

#[derive(Debug)]
enum Out {
    File(BufWriter<File>),
    Stdout(BufWriter<std::io::Stdout>),
}

const BUFFER_BYTES: usize = 1 << 20;

impl FileTarget {
    /// Opens a file, `-` for standard output. What is in it is kept only where a replay continues from a checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        let out = if path == Path::new("-") {
            Out::Stdout(BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout()))
        } else {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path);
            let file = file.doing(|| format!("opening {}", path.display()))?;
            Out::File(BufWriter::with_capacity(BUFFER_BYTES, file))
        };
        Ok(Self {
            out,
            line: Vec::with_capacity(4096),
            path: path.to_owned(),
        })
    }

    /// Cuts the file to where it was; what a killed run wrote beyond that is written again.
    fn resume(&mut self, bytes: u64) -> Result<()> {
        let Out::File(out) = &mut self.out else {
            return Ok(());
        };
        let file = out.get_mut();
        let cut = file.metadata().and_then(|found| {
            if found.len() < bytes {
                return Err(std::io::Error::other(format!(
                    "it has {} bytes, the checkpoint says {bytes}",
                    found.len()
                )));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))
        });
        cut.map(drop)
            .doing(|| format!("continuing {}", self.path.display()))
    }

    fn send(&mut self, message: Outgoing<'_>) -> Result<()> {
        self.line.clear();
        self.line.extend_from_slice(b"{\"subject\":");
        push_text(message.subject, &mut self.line);
        self.line.extend_from_slice(b",\"msg_id\":\"");
        self.line.extend_from_slice(message.msg_id.as_bytes());
        self.line.extend_from_slice(b"\",\"payload\":");
        self.line.extend_from_slice(message.payload);
        self.line.extend_from_slice(b"}\n");
        let written = match &mut self.out {
            Out::File(out) => out.write_all(&self.line),
            Out::Stdout(out) => out.write_all(&self.line),
        };
        written.doing(|| format!("writing {}", self.path.display()))
    }

    fn flush(&mut self) -> Result<()> {
        let flushed = match &mut self.out {
            Out::Stdout(out) => out.flush(),
            Out::File(out) => out.flush(),
        };
        flushed.doing(|| format!("writing {}", self.path.display()))
    }

    /// Makes what was written durable; how long the file is.
    fn sync(&mut self) -> Result<Option<u64>> {
        let synced = match &mut self.out {
            Out::Stdout(out) => out.flush().map(|()| None),
            Out::File(out) => out.flush().and_then(|()| {
                out.get_ref().sync_data()?;
                out.stream_position().map(Some)
            }),
        };
        synced.doing(|| format!("writing {}", self.path.display()))
    }
}
