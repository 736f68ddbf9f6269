//! A limit on the rate of bytes. Pure: the time that has passed is passed in.

use std::num::NonZeroU64;
use std::time::Duration;

/// How much idle time may be caught up, so that the delay of a timer is not lost.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A hard limit: in any time T no more than `rate × (T + 100 ms)` bytes begin, and one piece on top.
#[derive(Debug)]
pub(crate) struct RateLimit {
    bytes_per_second: NonZeroU64,
    /// When the next piece may begin, in the time that is passed in.
    free_at: Duration,
}

impl RateLimit {
    pub(crate) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            bytes_per_second,
            free_at: Duration::ZERO,
        }
    }

    /// Reserves a piece; returns how long to wait before it is sent. `now` never goes back.
    pub(crate) fn book(&mut self, bytes: u64, now: Duration) -> Duration {
        let begin = self.free_at.max(now.saturating_sub(CATCH_UP));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free_at = begin.saturating_add(takes);
        begin.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(rate: u64) -> RateLimit {
        RateLimit::new(NonZeroU64::new(rate).unwrap())
    }

    #[test]
    fn pieces_follow_one_another_at_the_rate_and_idle_time_is_not_saved_up() {
        let mut pace = pace(1000);
        let second = Duration::from_secs(1);
        assert_eq!(pace.book(500, second), Duration::ZERO);
        // 100 ms of the second before were free.
        assert_eq!(pace.book(500, second), Duration::from_millis(400));
        assert_eq!(pace.book(500, second), Duration::from_millis(900));
        let hour = Duration::from_hours(1);
        assert_eq!(pace.book(500, hour), Duration::ZERO);
        assert_eq!(pace.book(500, hour), Duration::from_millis(400));
    }

    proptest! {
        #[test]
        fn in_no_time_more_is_sent_than_the_rate_allows(
            rate in 1_u64..10_000_000,
            pieces in prop::collection::vec((1_u64..100_000, 0_u64..200), 1..200),
        ) {
            let mut pace = pace(rate);
            let mut now = Duration::ZERO;
            let mut sent: Vec<(Duration, u64)> = Vec::new();
            for (bytes, pause) in pieces {
                now += Duration::from_millis(pause);
                sent.push((now + pace.book(bytes, now), bytes));
            }
            for (first, (begun, _)) in sent.iter().enumerate() {
                let mut total = 0;
                for (at, bytes) in &sent[first..] {
                    let allowed = (at.saturating_sub(*begun) + CATCH_UP).as_nanos() * u128::from(rate) / 1_000_000_000;
                    // The piece that begins now is not out yet; rounding loses less than a byte a piece.
                    prop_assert!(total <= allowed + sent.len() as u128, "{total} sent, {allowed} allowed");
                    total += u128::from(*bytes);
                }
            }
        }
    }
}
