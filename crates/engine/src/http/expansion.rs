//! The limit of how much a compressed body may expand.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most plain bytes for each compressed byte of a body, beyond [`RATIO_FREE_BYTES`]. Market data compresses to a
/// tenth; only made-up bodies reach a hundredth.
pub(super) const RATIO_MAX: u32 = 200;
/// Plain bytes of a body of any ratio.
pub(super) const RATIO_FREE_BYTES: u32 = 16 << 20;

/// Counts the compressed bytes of a body.
pub(super) struct CountedReader<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R> CountedReader<R> {
    /// Returns the reader and its counter.
    pub(super) fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        (Self { inner, taken }, counter)
    }
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Fails once a body has become too much larger than it was sent: a small body must stay small.
pub(super) struct RatioReader<R> {
    inner: R,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl<R> RatioReader<R> {
    /// Checks the bytes of `inner` against the compressed bytes that are counted in `taken`.
    pub(super) fn new(inner: R, taken: &Arc<AtomicU64>) -> Self {
        Self {
            inner,
            taken: Arc::clone(taken),
            given: 0,
        }
    }
}

impl<R: Read> Read for RatioReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.given += n as u64;
        let allowed = self
            .taken
            .load(Ordering::Relaxed)
            .saturating_mul(u64::from(RATIO_MAX));
        if self.given > u64::from(RATIO_FREE_BYTES).max(allowed) {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("it expands to more than {RATIO_MAX} times its size"),
            ));
        }
        Ok(n)
    }
}
