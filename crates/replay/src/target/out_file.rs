//! Output to a file or standard output. A resumed file is truncated to the length in the checkpoint.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use mpsync_core::error::{Context as _, Result};

const BUFFER_BYTES: usize = 1 << 20;

/// A file that can be resumed, or standard output.
#[derive(Debug)]
pub(crate) struct OutFile {
    out: Out,
    path: PathBuf,
}

#[derive(Debug)]
enum Out {
    File(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl OutFile {
    /// Opens a file, `-` for standard output. Its contents stay until [`OutFile::resume`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
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

    /// Truncates the file to the length in the checkpoint; the rest is written again.
    pub(crate) fn resume(&mut self, bytes: u64) -> Result<()> {
        let Out::File(out) = &mut self.out else {
            return Ok(());
        };
        let file = out.get_mut();
        let cut = file.metadata().and_then(|found| {
            if found.len() < bytes {
                return Err(io::Error::other(format!(
                    "the file has {} bytes, but {bytes} at the checkpoint",
                    found.len()
                )));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))
        });
        cut.map(drop)
            .context(|| format!("resuming {}", self.path.display()))
    }

    /// Returns the context of write errors.
    pub(crate) fn context(&self) -> String {
        format!("writing {}", self.path.display())
    }

    /// Makes the file durable; returns its length, `None` for standard output.
    pub(crate) fn sync(&mut self) -> Result<Option<u64>> {
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
