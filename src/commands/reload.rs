//! Reloads the configuration on SIGHUP.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::context::CommandContext;
use crate::logging::Logs;
use mpsync_config::{Config, LiveConfig, Problems};
use mpsync_core::error::Result;
use mpsync_daemon::ServiceManager;
use mpsync_net::Certificate;

/// Handles SIGHUP until the process ends. The log level and the certificate change here; all else changes in the parts that
/// watch the configuration.
pub(super) fn on_hangup(context: &CommandContext, manager: ServiceManager) -> Result<()> {
    // From here on the signal no longer ends the process, even if the task below starts late.
    let mut hangups = signal(SignalKind::hangup())?;
    let (live, logs) = (context.live.clone(), context.logs.clone());
    let certificate = context.config.http.certificate.clone();
    let names: Vec<String> = context
        .datasets
        .iter()
        .map(|d| d.name.to_string())
        .collect();
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            manager.reloading();
            reload(&live, logs.as_ref(), certificate.as_ref(), &names);
            manager.reloaded();
        }
    });
    Ok(())
}

fn reload(
    live: &Arc<LiveConfig>,
    logs: Option<&Logs>,
    certificate: Option<&Certificate>,
    names: &[String],
) {
    let check = |config: &Config| {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut problems = Problems::default();
        config.check_datasets(&known, &mut problems);
        problems.into_result()
    };
    let done = live.reload(check).and_then(|reloaded| {
        if let Some(logs) = logs {
            logs.set_filter(&live.now().logging.filter)?;
        }
        // Its files may have been replaced under the same names.
        if let Some(certificate) = certificate {
            certificate.read_again()?;
        }
        Ok(reloaded)
    });
    match done {
        Ok(reloaded) => {
            if !reloaded.kept.is_empty() {
                let keys = reloaded.kept.join(", ");
                tracing::warn!(keys, "these changes need a restart");
            }
            let keys = reloaded.changed.join(", ");
            tracing::info!(keys, "configuration reloaded");
        }
        Err(e) => {
            tracing::error!(error = %e, "cannot reload the configuration; the previous one stays in effect");
        }
    }
}
