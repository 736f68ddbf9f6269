//! What the service manager is told, where there is one (`Type=notify`).

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// HTTP answers and the sides are started.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the runtime lives, at twice the pace that the service manager asks for, until the daemon is to end.
pub(super) async fn watchdog(shutdown: &CancellationToken) {
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

fn tell(what: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(what) {
        tracing::warn!(error = %e, "the service manager could not be told");
    }
}
