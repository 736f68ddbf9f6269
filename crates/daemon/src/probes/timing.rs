//! The interval and the time limit of observations.

use std::time::{Duration, Instant};

use mpsync_core::error::{Error, Result};

/// The interval of observations.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// The time limit of one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs work within the time limit. Returns its result with its duration in seconds.
pub(crate) async fn timed<T>(
    name: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, f64)> {
    let started = Instant::now();
    match tokio::time::timeout(RESPONSE_TIMEOUT, work).await {
        Ok(done) => Ok((done?, started.elapsed().as_secs_f64())),
        Err(_) => Err(Error::busy(format!(
            "{name} did not answer within {} s",
            RESPONSE_TIMEOUT.as_secs()
        ))),
    }
}
