//! The one rate limit that all uploads of an archive share.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::rate_limit::RateLimit;

/// Bytes that are limited in one piece: small enough that a slow line is not flooded, large enough for a timer.
pub(crate) const PIECE: usize = 64 << 10;

/// A [`RateLimit`] with a clock.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    began: Instant,
    rate: Mutex<RateLimit>,
}

impl RateLimiter {
    pub(crate) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            began: Instant::now(),
            rate: Mutex::new(RateLimit::new(bytes_per_second)),
        }
    }

    /// Reserves a piece; returns how long to wait before it is sent.
    pub(crate) fn book(&self, bytes: usize) -> Duration {
        // The lock is held for a sum, which cannot panic.
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.book(bytes as u64, self.began.elapsed())
    }

    /// Waits until this many bytes may be sent.
    pub(crate) async fn wait(&self, bytes: usize) {
        tokio::time::sleep(self.book(bytes)).await;
    }
}
