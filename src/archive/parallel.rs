//! The columns of a row group, encoded on a few threads. Blocks.

use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// Does each piece of work on one of a few threads; the results are in the order of the work.
pub(super) fn in_parallel<W: Send, T: Send>(
    work: Vec<W>,
    threads: usize,
    run: impl Fn(W) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let threads = threads.min(work.len());
    if threads <= 1 {
        return work.into_iter().map(run).collect();
    }
    let queue = Mutex::new(work.into_iter().enumerate());
    let worker = || {
        let mut mine = Vec::new();
        // The lock is held for the taking only, which cannot panic.
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((index, piece)) = next() {
            mine.push((index, run(piece)));
        }
        mine
    };
    let mut done: Vec<(usize, Result<T>)> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut done = worker();
        for helper in helpers {
            match helper.join() {
                Ok(theirs) => done.extend(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
