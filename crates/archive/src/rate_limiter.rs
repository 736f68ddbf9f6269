//! The one pace that all uploads of an archive share.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::rate_limit::RateLimit;

/// Bytes that are paced in one piece: small enough that a slow line is not flooded, large enough for a timer.
pub(super) const PIECE: usize = 64 << 10;

/// A [`Pace`] with a clock.
#[derive(Debug)]
pub(super) struct RateLimiter {
    began: Instant,
    rate: Mutex<RateLimit>,
}

impl RateLimiter {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            began: Instant::now(),
            rate: Mutex::new(RateLimit::new(bytes_per_second)),
        }
    }

    /// Books a piece; says how long to wait before it is sent.
    pub(super) fn book(&self, bytes: usize) -> Duration {
        // The lock is held for a sum, which cannot panic.
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.book(bytes as u64, self.began.elapsed())
    }

    /// Waits until so many bytes may go out.
    pub(super) async fn wait(&self, bytes: usize) {
        tokio::time::sleep(self.book(bytes)).await;
    }
}
