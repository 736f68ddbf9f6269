//! Runs the doctor at start and every hour.

use std::time::Duration;

use crate::context::DaemonContext;
use crate::doctor::diagnosis::Severity;
use crate::doctor::examine::examine;

/// The interval of examinations.
const EXAMINATION_INTERVAL: Duration = Duration::from_hours(1);

/// Examines the stores forever.
pub(crate) async fn repeat(context: &DaemonContext) {
    loop {
        let config = context.live.borrow().clone();
        let diagnosis = examine(&config, &context.datasets, context.mode).await;
        for finding in diagnosis.at_least(Severity::Warning) {
            tracing::warn!(
                store = finding.store,
                check = finding.check,
                severity = %finding.severity,
                action = finding.action,
                "{}",
                finding.message
            );
        }
        context.state.diagnosed(diagnosis);
        tokio::time::sleep(EXAMINATION_INTERVAL).await;
    }
}
