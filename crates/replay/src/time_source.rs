//! The clock of a replay, which tests can drive.

use std::time::{Duration, Instant};

/// The clock of a replay.
#[derive(Debug, Clone)]
pub(crate) enum TimeSource {
    /// The machine's clock.
    Real(Instant),
    /// The clock of a test: it advances by sleeps and by the test.
    #[cfg(test)]
    Driven(std::sync::Arc<std::sync::Mutex<Duration>>),
}

impl TimeSource {
    /// Starts the machine's clock.
    pub(crate) fn start() -> Self {
        Self::Real(Instant::now())
    }

    /// Returns the time since the start.
    #[inline]
    pub(crate) fn elapsed(&self) -> Duration {
        match self {
            Self::Real(since) => since.elapsed(),
            #[cfg(test)]
            Self::Driven(now) => *now.lock().unwrap(),
        }
    }

    pub(crate) async fn sleep(&self, pause: Duration) {
        match self {
            Self::Real(_) => tokio::time::sleep(pause).await,
            #[cfg(test)]
            Self::Driven(now) => *now.lock().unwrap() += pause,
        }
    }
}
