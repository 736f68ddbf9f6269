//! The data of an insert, complete before the engine receives any of it.
//!
//! The engine stores a block as soon as it is full, and the block stays in the table if the rest of the body never
//! arrives. So the rows wait here until the body has ended properly: the announced length, the last chunk, the end of
//! the compressed frame. A small body waits in memory, a larger one in an unnamed file below the engine's folder, which
//! disappears with its last handle, even if the process is killed.

use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::{SpooledData, spooled_tempfile_in};

use crate::exception::{Exception, code};

/// The most bytes of a body in memory: twice the batch that ingest sends by default.
const HELD_BYTES_MAX: usize = 32 << 20;
/// Bytes that are read at once: few large pieces cost the engine less than many small ones.
const READ_BYTES: usize = 256 << 10;

/// The most bytes of all bodies in memory; further ones wait in files from their first byte.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// The most bytes of all bodies in files.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// The bytes that waiting bodies occupy together.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpoolBudget(Arc<SpoolUse>);

#[derive(Debug, Default)]
struct SpoolUse {
    memory: AtomicU64,
    files: AtomicU64,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
struct Share {
    budget: SpoolBudget,
    memory: u64,
    files: u64,
}

impl SpoolBudget {
    /// Reserves the memory of one body; none if too much is in use.
    fn share(&self) -> Share {
        let held = HELD_BYTES_MAX as u64;
        let used = self.0.memory.fetch_add(held, Ordering::Relaxed);
        let memory = if used + held <= MEMORY_BYTES_MAX {
            held
        } else {
            self.0.memory.fetch_sub(held, Ordering::Relaxed);
            0
        };
        Share {
            budget: self.clone(),
            memory,
            files: 0,
        }
    }
}

impl Share {
    /// Counts bytes in a file; fails if all files together become too large.
    fn add(&mut self, bytes: u64) -> Result<(), Exception> {
        let used = self.budget.0.files.fetch_add(bytes, Ordering::Relaxed);
        self.files += bytes;
        if used + bytes <= FILE_BYTES_MAX {
            return Ok(());
        }
        Err(Exception::new(
            code::NOT_ENOUGH_SPACE,
            "NOT_ENOUGH_SPACE",
            "The data of all running inserts together exceeds 16 GiB; nothing of this one was inserted",
        ))
    }

    fn free_memory(&mut self) {
        let held = std::mem::take(&mut self.memory);
        self.budget.0.memory.fetch_sub(held, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.free_memory();
        self.budget.0.files.fetch_sub(self.files, Ordering::Relaxed);
    }
}

/// A complete body.
#[derive(Debug)]
pub(crate) struct Spool {
    data: SpooledData,
    _share: Share,
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
        budget: &SpoolBudget,
        broken: impl Fn(&io::Error) -> Exception,
    ) -> Result<Self, Exception> {
        let mut share = budget.share();
        let held = usize::try_from(share.memory).unwrap_or(HELD_BYTES_MAX);
        let mut file = spooled_tempfile_in(held, folder);
        let mut bytes = 0;
        let mut count = |n: usize| {
            bytes += n as u64;
            // The part that moves from memory to the file is not worth counting.
            match bytes.saturating_sub(held as u64) {
                0 => Ok(()),
                over => share.add(over.min(n as u64)),
            }
        };
        store(first, rest, &mut file, &mut count, broken)?;
        file.rewind().map_err(|e| not_kept(&e))?;
        let data = file.into_inner();
        if matches!(data, SpooledData::OnDisk(_)) {
            share.free_memory();
        }
        Ok(Self {
            data,
            _share: share,
        })
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
    count: &mut dyn FnMut(usize) -> Result<(), Exception>,
    broken: impl Fn(&io::Error) -> Exception,
) -> Result<(), Exception> {
    count(first.len())?;
    into.write_all(first).map_err(|e| not_kept(&e))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match fill(rest, &mut buffer).map_err(|e| broken(&e))? {
            0 => return Ok(()),
            n => {
                count(n)?;
                into.write_all(&buffer[..n]).map_err(|e| not_kept(&e))?;
            }
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
        let small = Spool::collect(
            b"head ",
            &mut &b"and tail"[..],
            folder.path(),
            &SpoolBudget::default(),
            broken,
        )
        .expect("whole");
        assert_eq!(small.in_memory(), Some(&b"head and tail"[..]));
        assert_eq!(collected(small), b"head and tail");

        let many = HELD_BYTES_MAX as u64 + 1;
        let large = Spool::collect(
            b"head",
            &mut io::repeat(7).take(many),
            folder.path(),
            &SpoolBudget::default(),
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
        let error = Spool::collect(
            b"head",
            &mut Breaks,
            folder.path(),
            &SpoolBudget::default(),
            broken,
        )
        .expect_err("broken off");
        assert_eq!(error.code, code::BAD_ARGUMENTS);

        let mut full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a full device");
        let error = store(
            b"head",
            &mut io::empty(),
            &mut full,
            &mut |_| Ok(()),
            broken,
        )
        .expect_err("full");
        assert_eq!(error.code, code::NOT_ENOUGH_SPACE);
        assert!(error.text.contains("nothing was inserted"));
    }

    #[test]
    fn bodies_share_one_budget_and_give_it_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let budget = SpoolBudget::default();
        let body = || {
            Spool::collect(b"x", &mut io::empty(), folder.path(), &budget, broken).expect("whole")
        };
        let held: Vec<Spool> = (0..16).map(|_| body()).collect();
        assert!(held.iter().all(|spool| spool.in_memory().is_some()));
        // The next waits in a file, and is counted there.
        let next = body();
        assert_eq!(next.in_memory(), None);
        assert_eq!(budget.0.files.load(Ordering::Relaxed), 1);
        assert_eq!(collected(next), b"x");
        let full = Share {
            budget: budget.clone(),
            memory: 0,
            files: 0,
        };
        let mut full = full;
        assert!(full.add(FILE_BYTES_MAX).is_ok());
        let refused = Spool::collect(b"x", &mut io::empty(), folder.path(), &budget, broken);
        assert_eq!(refused.expect_err("full").code, code::NOT_ENOUGH_SPACE);
        drop((held, full));
        assert_eq!(budget.0.memory.load(Ordering::Relaxed), 0);
        assert_eq!(budget.0.files.load(Ordering::Relaxed), 0);
    }
}
