//! Work that blocks, off the runtime's threads.

use mpsync_core::error::Result;

/// Runs blocking work on a thread of its own; a panic in it becomes an error.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(std::io::Error::other(e).into()),
    }
}
