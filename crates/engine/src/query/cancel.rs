//! Running queries: registered by their client's id, and cancelled when their client disconnects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lifecycle::Engine;
use crate::query::execute::Job;

/// The pause between two attempts to cancel a query that may just be starting.
const CANCEL_PAUSE: Duration = Duration::from_millis(200);

/// The registration of a client's query id while its query runs.
pub(crate) struct Registered {
    engine: Engine,
    tag: String,
}

impl Registered {
    pub(crate) fn new(engine: &Engine, tag: &str, query_id: &str) -> Self {
        engine.inner.running.begin(tag, query_id);
        Self {
            engine: engine.clone(),
            tag: tag.to_owned(),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.engine.inner.running.end(&self.tag);
    }
}

/// Cancels a query when it is dropped, unless it was disarmed: dropped while the query runs, its client has
/// disconnected.
pub(crate) struct CancelOnDrop {
    engine: Engine,
    tag: String,
    armed: AtomicBool,
    gone: Arc<AtomicBool>,
}

impl CancelOnDrop {
    pub(crate) fn new(engine: Engine, job: &Job) -> Self {
        Self {
            engine,
            tag: job.tag.clone(),
            armed: AtomicBool::new(true),
            gone: Arc::clone(&job.gone),
        }
    }

    /// Records that the query has ended.
    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.armed.load(Ordering::Relaxed) {
            return;
        }
        // A query that has not started checks this; one that has is in the process list, or will be within
        // the pause.
        self.gone.store(true, Ordering::Release);
        let (engine, pattern) = (self.engine.clone(), format!("%/* mpsync:{} */%", self.tag));
        // Without a runtime the process is ending, and the query with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || {
                engine.inner.kill(&pattern);
                std::thread::sleep(CANCEL_PAUSE);
                engine.inner.kill(&pattern);
            });
        }
    }
}
