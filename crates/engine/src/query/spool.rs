//! The data of an insert, complete before the engine receives any of it.
//!
//! The engine stores a block as soon as it is full, and the block stays in the table if the rest of the body never
//! arrives. So the rows wait here until the body has ended properly: the announced length, the last chunk, the end of
//! the compressed frame. A small body waits in memory, a larger one in an unnamed file below the engine's folder, which
//! disappears with its last handle, even if the process is killed.

use std::io::{self, Read, Seek, Write};
use std::path::Path;

use tempfile::{SpooledData, SpooledTempFile, spooled_tempfile_in};

use crate::exception::{Exception, code};

/// The most bytes of a body in memory: twice the batch that ingest sends by default.
const HELD_BYTES_MAX: usize = 32 << 20;
/// Bytes that are read at once: few large pieces cost the engine less than many small ones.
const READ_BYTES: usize = 256 << 10;

/// A complete body.
#[derive(Debug)]
pub(crate) struct Spool {
    data: SpooledData,
}

impl Spool {
    /// Reads `first` and `rest`, uncompressed, to the end. Blocks; uses at most [`HELD_BYTES_MAX`] of memory, which is
    /// freed when the body goes to `folder`.
    ///
    /// # Errors
    ///
    /// Fails if the body breaks off, as worded by `broken`, and with `NOT_ENOUGH_SPACE` if the disk of `folder` is full.
    pub(crate) fn collect(
        first: &[u8],
        rest: &mut dyn Read,
        folder: &Path,
        broken: impl Fn(&io::Error) -> Exception,
    ) -> Result<Self, Exception> {
        let mut file = spooled_tempfile_in(HELD_BYTES_MAX, folder);
        store(first, rest, &mut file, broken)?;
        file.rewind().map_err(|e| not_kept(&e))?;
        Ok(Self::of(file))
    }

    fn of(file: SpooledTempFile) -> Self {
        Self {
            data: file.into_inner(),
        }
    }

    /// Returns all of it, if it is in memory.
    #[cfg(test)]
    fn in_memory(&self) -> Option<&[u8]> {
        match &self.data {
            SpooledData::InMemory(held) => Some(held.get_ref()),
            SpooledData::OnDisk(_) => None,
        }
    }

    /// Passes it on piece by piece.
    pub(crate) fn each(
        self,
        mut take: impl FnMut(&[u8]) -> Result<(), Exception>,
    ) -> Result<(), Exception> {
        match self.data {
            SpooledData::InMemory(held) => held.get_ref().chunks(READ_BYTES).try_for_each(take),
            SpooledData::OnDisk(mut file) => {
                let mut buffer = vec![0; READ_BYTES];
                loop {
                    let read = fill(&mut file, &mut buffer);
                    match read.map_err(|e| not_kept(&e))? {
                        0 => return Ok(()),
                        n => take(&buffer[..n])?,
                    }
                }
            }
        }
    }
}

fn store(
    first: &[u8],
    rest: &mut dyn Read,
    into: &mut dyn Write,
    broken: impl Fn(&io::Error) -> Exception,
) -> Result<(), Exception> {
    into.write_all(first).map_err(|e| not_kept(&e))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match fill(rest, &mut buffer).map_err(|e| broken(&e))? {
            0 => return Ok(()),
            n => into.write_all(&buffer[..n]).map_err(|e| not_kept(&e))?,
        }
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn not_kept(error: &io::Error) -> Exception {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exception::new(
            code::NOT_ENOUGH_SPACE,
            "NOT_ENOUGH_SPACE",
            format!(
                "No room for the insert's data in the engine's folder; nothing was inserted: {error}"
            ),
        ),
        _ => Exception::new(
            code::CANNOT_WRITE_TO_FILE_DESCRIPTOR,
            "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
            format!(
                "The insert's data could not be stored in the engine's folder; nothing was inserted: {error}"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(error: &io::Error) -> Exception {
        Exception::bad_arguments(error)
    }

    fn collected(spool: Spool) -> Vec<u8> {
        let mut all = Vec::new();
        let ended = spool.each(|piece| {
            all.extend_from_slice(piece);
            Ok(())
        });
        ended.expect("it is read back");
        all
    }

    #[test]
    fn small_body_stays_in_memory_and_large_one_has_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let small =
            Spool::collect(b"head ", &mut &b"and tail"[..], folder.path(), broken).expect("whole");
        assert_eq!(small.in_memory(), Some(&b"head and tail"[..]));
        assert_eq!(collected(small), b"head and tail");

        let many = HELD_BYTES_MAX as u64 + 1;
        let large = Spool::collect(
            b"head",
            &mut io::repeat(7).take(many),
            folder.path(),
            broken,
        )
        .expect("whole");
        assert_eq!(large.in_memory(), None);
        let names = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(names, 0);
        let all = collected(large);
        assert_eq!(all.len() as u64, many + 4);
        assert!(all.starts_with(b"head") && all[4..].iter().all(|b| *b == 7));
    }

    #[test]
    fn aborted_body_and_full_disk_are_different_errors() {
        struct Breaks;
        impl Read for Breaks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::ConnectionAborted))
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let error =
            Spool::collect(b"head", &mut Breaks, folder.path(), broken).expect_err("broken off");
        assert_eq!(error.code, code::BAD_ARGUMENTS);

        let mut full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a full device");
        let error = store(b"head", &mut io::empty(), &mut full, broken).expect_err("full");
        assert_eq!(error.code, code::NOT_ENOUGH_SPACE);
        assert!(error.text.contains("nothing was inserted"));
    }
}
