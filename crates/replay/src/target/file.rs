//! A file or standard output: what a checkpoint says is there stays, what a killed run wrote beyond it is cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::OutboundMessage;
use crate::number::push_text;
use mpsync_core::error::{Context as _, Result};

const BUFFER_BYTES: usize = 1 << 20;

/// A file that is written from where it was left, or standard output.
#[derive(Debug)]
pub(super) struct OutFile {
    out: Out,
    path: PathBuf,
}

#[derive(Debug)]
enum Out {
    File(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl OutFile {
    /// Opens a file, `-` for standard output. What is in it stays until [`OutFile::resume`] says otherwise.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let out = if path == Path::new("-") {
            Out::Stdout(BufWriter::with_capacity(BUFFER_BYTES, io::stdout()))
        } else {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path);
            let file = file.context(|| format!("opening {}", path.display()))?;
            Out::File(BufWriter::with_capacity(BUFFER_BYTES, file))
        };
        Ok(Self {
            out,
            path: path.to_owned(),
        })
    }

    /// Cuts the file to where it was; what a killed run wrote beyond that is written again.
    pub(super) fn resume(&mut self, bytes: u64) -> Result<()> {
        let Out::File(out) = &mut self.out else {
            return Ok(());
        };
        let file = out.get_mut();
        let cut = file.metadata().and_then(|found| {
            if found.len() < bytes {
                return Err(io::Error::other(format!(
                    "it has {} bytes, the checkpoint says {bytes}",
                    found.len()
                )));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))
        });
        cut.map(drop)
            .context(|| format!("continuing {}", self.path.display()))
    }

    /// What an error while writing says.
    pub(super) fn context(&self) -> String {
        format!("writing {}", self.path.display())
    }

    /// Makes what was written durable; how long the file is, `None` for standard output.
    pub(super) fn sync(&mut self) -> Result<Option<u64>> {
        let synced = match &mut self.out {
            Out::Stdout(out) => out.flush().map(|()| None),
            Out::File(out) => out.flush().and_then(|()| {
                out.get_ref().sync_data()?;
                out.stream_position().map(Some)
            }),
        };
        synced.context(|| self.context())
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::File(out) => out.write(bytes),
            Out::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::File(out) => out.flush(),
            Out::Stdout(out) => out.flush(),
        }
    }
}

/// JSON lines, in the form that `mpsync generate --from` publishes.
#[derive(Debug)]
pub struct FileTarget {
    out: OutFile,
    line: Vec<u8>,
}

impl FileTarget {
    /// Opens a file, `-` for standard output. What is in it is kept only where a replay continues from a checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            out: OutFile::open(path)?,
            line: Vec::with_capacity(4096),
        })
    }

    pub(super) fn resume(&mut self, bytes: u64) -> Result<()> {
        self.out.resume(bytes)
    }

    pub(super) fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
        self.line.clear();
        self.line.extend_from_slice(b"{\"subject\":");
        push_text(message.subject, &mut self.line);
        self.line.extend_from_slice(b",\"msg_id\":\"");
        self.line.extend_from_slice(message.msg_id.as_bytes());
        self.line.extend_from_slice(b"\",\"payload\":");
        self.line.extend_from_slice(message.payload);
        self.line.extend_from_slice(b"}\n");
        let written = self.out.write_all(&self.line);
        written.context(|| self.out.context())
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        let flushed = self.out.flush();
        flushed.context(|| self.out.context())
    }

    pub(super) fn sync(&mut self) -> Result<Option<u64>> {
        self.out.sync()
    }
}
