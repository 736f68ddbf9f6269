//! Back-off as a pure function, and the one loop that uses it.

use std::time::Duration;

use rand::RngExt as _;

use crate::error::{Disposition, Error, Result};

/// The pauses between tries, and their number.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first pause.
    pub initial: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Tries in all; `None` for ever.
    pub attempts: Option<u32>,
}

impl Backoff {
    /// For a request that a person waits for: five tries within some seconds.
    pub const INTERACTIVE: Self = Self {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(2),
        attempts: Some(5),
    };
    /// For a daemon, which never gives up.
    pub const DAEMON: Self = Self {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(30),
        attempts: None,
    };

    /// The pause before try `attempt + 1`, given how many have failed (from 1) and a random number in `[0, 1)`.
    ///
    /// Doubles from `initial` to `max`, and lies anywhere in the upper half of that ("equal jitter": see "Exponential
    /// Backoff And Jitter", AWS Architecture Blog, 2015), so that workers which failed together do not return together.
    #[must_use]
    pub fn pause(&self, failed: u32, random: f64) -> Duration {
        let doubled = self.initial.saturating_mul(
            1_u32
                .checked_shl(failed.saturating_sub(1))
                .unwrap_or(u32::MAX),
        );
        doubled.min(self.max).mul_f64(0.5 + random / 2.0)
    }

    /// Whether another try is due after `failed` failures.
    #[must_use]
    pub fn goes_on(&self, failed: u32) -> bool {
        self.attempts.is_none_or(|attempts| failed < attempts)
    }
}

/// The tries of one piece of work, for loops that cannot hand their work to [`retry`].
#[derive(Debug)]
pub struct Tries<'a> {
    what: &'a str,
    backoff: Backoff,
    failed: u32,
}

impl<'a> Tries<'a> {
    /// No try yet; `what` names the work in logs.
    #[must_use]
    pub fn new(what: &'a str, backoff: Backoff) -> Self {
        Self {
            what,
            backoff,
            failed: 0,
        }
    }

    /// After a failure: waits and returns when another try is due, or gives the error back when none is.
    pub async fn failed(&mut self, e: Error) -> Result<()> {
        self.failed += 1;
        let (what, failed) = (self.what, self.failed);
        if e.disposition() != Disposition::Retry || !self.backoff.goes_on(failed) {
            return Err(e);
        }
        let pause = self.backoff.pause(failed, rand::rng().random());
        tracing::warn!(what, failed, pause = ?pause, error = %e, "will try again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// After a success.
    pub fn succeeded(&self) {
        if self.failed > 0 {
            tracing::info!(what = self.what, failed = self.failed, "recovered");
        }
    }
}

/// Repeats `work` while its errors can pass by themselves; the last error is returned as it is.
///
/// # Cancel safety
///
/// Cancel-safe if `work` is: between tries nothing is held.
pub async fn retry<T>(
    what: &str,
    backoff: Backoff,
    mut work: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let mut tries = Tries::new(what, backoff);
    loop {
        match work().await {
            Ok(done) => {
                tries.succeeded();
                return Ok(done);
            }
            Err(e) => tries.failed(e).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_their_upper_half() {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
            attempts: Some(3),
        };
        let pauses: Vec<_> = (1..=6)
            .map(|n| backoff.pause(n, 0.999_999_999).as_secs_f64().round())
            .collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_eq!(backoff.pause(3, 0.0), Duration::from_secs(2));
        assert_eq!(backoff.pause(u32::MAX, 0.0), Duration::from_secs(5));
        assert!(backoff.goes_on(2) && !backoff.goes_on(3));
    }
}
