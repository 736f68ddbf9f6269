//! The columns of a row group, encoded on a few threads. Blocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mpsync_core::error::Result;

/// More threads than this wait for the few columns that take long.
const MAX_THREADS: usize = 4;

/// The encoders that are at work. Several windows at once share the processors instead of each taking all of them: more
/// threads than processors make nothing faster, and each holds memory of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncoderSlots(Arc<AtomicUsize>);

impl EncoderSlots {
    /// Adds an encoder until its slot is dropped.
    pub(crate) fn acquire(&self) -> EncoderSlot {
        self.0.fetch_add(1, Ordering::Relaxed);
        EncoderSlot(self.0.clone())
    }
}

/// The slot of one encoder.
#[derive(Debug)]
pub(crate) struct EncoderSlot(Arc<AtomicUsize>);

impl EncoderSlot {
    /// Returns the number of threads that are this encoder's share now.
    pub(crate) fn threads(&self) -> usize {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let share = all / self.0.load(Ordering::Relaxed).max(1);
        share.clamp(1, MAX_THREADS)
    }
}

impl Drop for EncoderSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs each piece of work on one of a few threads; the results are in the order of the work.
pub(crate) fn in_parallel<W: Send, T: Send>(
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
