//! The time that passes while a replay runs.

use std::time::{Duration, Instant};

/// What a replay sees of the time.
#[derive(Debug, Clone)]
pub(super) enum TimeSource {
    /// The machine's.
    Real(Instant),
    /// A test's: it passes when somebody sleeps, and when the test says so.
    #[cfg(test)]
    Driven(std::sync::Arc<std::sync::Mutex<Duration>>),
}

impl TimeSource {
    /// The machine's, from now on.
    pub(super) fn start() -> Self {
        Self::Real(Instant::now())
    }

    /// How long it has run.
    #[inline]
    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Self::Real(since) => since.elapsed(),
            #[cfg(test)]
            Self::Driven(now) => *now.lock().unwrap(),
        }
    }

    pub(super) async fn sleep(&self, pause: Duration) {
        match self {
            Self::Real(_) => tokio::time::sleep(pause).await,
            #[cfg(test)]
            Self::Driven(now) => *now.lock().unwrap() += pause,
        }
    }
}
