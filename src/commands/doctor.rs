//! `mpsync doctor`: examines the servers, the stream and the archive.

use mpsync_core::error::{Cause, Error, Result};
use mpsync_daemon::{Diagnosis, Finding, Severity, examine};

use super::CommandContext;
use crate::cli::{DoctorArgs, Mode, Output};
use crate::output::outln;

/// Prints all findings.
///
/// # Errors
///
/// If a finding is refused, or a store does not answer.
pub(super) async fn run(context: &CommandContext, args: &DoctorArgs) -> Result<()> {
    let mode = match args.mode {
        Mode::Hot => mpsync_daemon::Mode::Hot,
        Mode::Cold => mpsync_daemon::Mode::Cold,
        Mode::Both => mpsync_daemon::Mode::Both,
    };
    let diagnosis = examine(&context.config, &context.datasets, mode).await;
    match context.output {
        Output::Json => outln!("{}", serde_json::json!(diagnosis)),
        Output::Text => print(&diagnosis),
    }
    verdict(&diagnosis)
}

fn print(diagnosis: &Diagnosis) {
    let width = |text: fn(&Finding) -> &str| {
        let widths = diagnosis.findings.iter().map(|finding| text(finding).len());
        widths.max().unwrap_or(0)
    };
    let (store, check) = (width(|f| &f.store), width(|f| f.check));
    for finding in &diagnosis.findings {
        outln!(
            "{:<11}  {:<store$}  {:<check$}  {}",
            finding.severity,
            finding.store,
            finding.check,
            finding.message
        );
        if let Some(action) = &finding.action {
            outln!("{:<11}  {:<store$}  {:<check$}  → {action}", "", "", "");
        }
    }
}

fn verdict(diagnosis: &Diagnosis) -> Result<()> {
    let serious = diagnosis.at_least(Severity::Unreachable).count();
    if serious == 0 {
        return Ok(());
    }
    Err(Error::new(Cause::Down(format!(
        "{serious} of {} checks failed",
        diagnosis.findings.len()
    ))))
}
