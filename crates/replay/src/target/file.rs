//! Messages as JSON lines in a file or on standard output.

use std::io::Write as _;
use std::path::Path;

use super::message::OutboundMessage;
use super::out_file::OutFile;
use crate::number::push_text;
use mpsync_core::error::{Context as _, Result};

/// JSON lines, in the form that `mpsync generate --from` publishes.
#[derive(Debug)]
pub struct FileTarget {
    out: OutFile,
    line: Vec<u8>,
}

impl FileTarget {
    /// Opens a file, `-` for standard output. Its contents stay only if a replay resumes at a checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            out: OutFile::open(path)?,
            line: Vec::with_capacity(4096),
        })
    }

    pub(crate) fn resume(&mut self, bytes: u64) -> Result<()> {
        self.out.resume(bytes)
    }

    pub(crate) fn send(&mut self, message: OutboundMessage<'_>) -> Result<()> {
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

    pub(crate) fn flush(&mut self) -> Result<()> {
        let flushed = self.out.flush();
        flushed.context(|| self.out.context())
    }

    pub(crate) fn sync(&mut self) -> Result<Option<u64>> {
        self.out.sync()
    }
}
