//! What the service manager is told, where there is one (`Type=notify`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The service manager, or nobody. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    /// Between readiness and the beginning of the end: only then is a reload anything to it.
    runs: Arc<AtomicBool>,
}

impl ServiceManager {
    /// HTTP answers and the sides are started.
    pub(super) fn ready(&self) {
        self.runs.store(true, Ordering::Release);
        tell(&[NotifyState::Ready]);
    }

    /// The configuration is about to be read again. systemd wants to know when that was, by the clock that it shares with us.
    pub fn reloading(&self) {
        if !self.runs.load(Ordering::Acquire) {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(e) => tracing::warn!(error = %e, "the monotonic clock could not be read"),
        }
    }

    /// It was read, or holds as before.
    pub fn reloaded(&self) {
        if self.runs.load(Ordering::Acquire) {
            tell(&[NotifyState::Ready]);
        }
    }

    /// It is about to end.
    pub(super) fn stopping(&self) {
        self.runs.store(false, Ordering::Release);
        tell(&[NotifyState::Stopping]);
    }

    /// Says that the runtime lives, at twice the pace that the service manager asks for, until the daemon is to end.
    pub(super) async fn watchdog(&self, shutdown: &CancellationToken) {
        let Some(limit) = sd_notify::watchdog_enabled() else {
            return;
        };
        while shutdown
            .run_until_cancelled(tokio::time::sleep(limit / 2))
            .await
            .is_some()
        {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(what) {
        tracing::warn!(error = %e, "the service manager could not be told");
    }
}
