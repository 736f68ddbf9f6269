//! Notifications to the service manager (`Type=notify`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The service manager, if there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    /// Whether the daemon is between readiness and shutdown: only then are reloads reported.
    is_running: Arc<AtomicBool>,
}

impl ServiceManager {
    /// Reports that HTTP answers and the sides are started.
    pub(crate) fn ready(&self) {
        self.is_running.store(true, Ordering::Release);
        notify(&[NotifyState::Ready]);
    }

    /// Reports the start of a reload. systemd requires its time by the monotonic clock.
    pub fn reloading(&self) {
        if !self.is_running.load(Ordering::Acquire) {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(e) => tracing::warn!(error = %e, "cannot read the monotonic clock"),
        }
    }

    /// Reports the end of a reload.
    pub fn reloaded(&self) {
        if self.is_running.load(Ordering::Acquire) {
            notify(&[NotifyState::Ready]);
        }
    }

    /// Reports the shutdown.
    pub(crate) fn stopping(&self) {
        self.is_running.store(false, Ordering::Release);
        notify(&[NotifyState::Stopping]);
    }

    /// Reports that the runtime is alive, at half the interval that the service manager requires, until the shutdown.
    pub(crate) async fn watchdog(&self, shutdown: &CancellationToken) {
        let Some(limit) = sd_notify::watchdog_enabled() else {
            return;
        };
        while shutdown
            .run_until_cancelled(tokio::time::sleep(limit / 2))
            .await
            .is_some()
        {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::warn!(error = %e, "cannot notify the service manager");
    }
}
