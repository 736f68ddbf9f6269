//! The findings of the doctor. Pure.

use std::fmt;

use mpsync_core::error::{Cause, Error};
use serde::Serialize;

/// How serious a finding is, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The check found nothing.
    Ok,
    /// Worth knowing, for example a limit of the stream, or a check that was not possible.
    Note,
    /// It can stop work or surprise the operator, but loses nothing.
    Warning,
    /// The store does not answer, therefore nothing about it is known.
    Unreachable,
    /// Running on would lose data, or hide rows from a proof.
    Refused,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        })
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// The examined store: `hot`, `cold`, `nats` or `archive`.
    pub store: String,
    /// The name of the check.
    pub check: &'static str,
    /// The observation.
    pub message: String,
    /// The recommended action; none if nothing needs to be done.
    pub action: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.store, self.check, self.message)
    }
}

/// The findings about one store, while it is examined.
#[derive(Debug)]
pub(crate) struct Findings {
    store: String,
    all: Vec<Finding>,
}

impl Findings {
    /// Returns no findings about a store.
    pub(crate) fn of(store: impl Into<String>) -> Self {
        Self {
            store: store.into(),
            all: Vec::new(),
        }
    }

    /// Adds a finding without an action.
    pub(crate) fn add(&mut self, severity: Severity, check: &'static str, message: String) {
        self.all.push(Finding {
            severity,
            store: self.store.clone(),
            check,
            message,
            action: None,
        });
    }

    /// Adds a finding with an action.
    pub(crate) fn advise(
        &mut self,
        severity: Severity,
        check: &'static str,
        message: String,
        action: impl Into<String>,
    ) {
        self.add(severity, check, message);
        if let Some(finding) = self.all.last_mut() {
            finding.action = Some(action.into());
        }
    }

    /// Adds that a check found nothing, unless it has a finding.
    pub(crate) fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        if !self.all.iter().any(|finding| finding.check == check) {
            self.add(Severity::Ok, check, message.into());
        }
    }

    /// Adds that a check was not possible.
    pub(crate) fn not_possible(&mut self, check: &'static str, error: &Error) {
        self.advise(
            Severity::Note,
            check,
            format!("cannot check: {}", error.message()),
            "grant the user of mpsync SELECT on the system table, see config/clickhouse/users.sql",
        );
    }

    /// Adds that the store does not answer.
    pub(crate) fn unreachable(&mut self, error: &Error) {
        self.add(Severity::Unreachable, "connection", error.message());
        if let (Some(finding), Some(hint)) = (self.all.last_mut(), error.hint()) {
            finding.action = Some(hint.to_owned());
        }
    }

    /// Returns the findings.
    pub(crate) fn into_vec(self) -> Vec<Finding> {
        self.all
    }
}

/// All findings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The findings by store, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Returns the findings that are at least this serious.
    pub fn at_least(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(move |finding| finding.severity >= severity)
    }

    /// Returns an error that names all refused findings, if there are any.
    ///
    /// # Errors
    ///
    /// If a finding is refused.
    pub fn refuse(&self) -> Result<(), Error> {
        let refused: Vec<&Finding> = self.at_least(Severity::Refused).collect();
        let Some(first) = refused.first() else {
            return Ok(());
        };
        let texts: Vec<String> = refused.iter().map(ToString::to_string).collect();
        let error = Error::new(Cause::Down(format!(
            "running on could lose data: {}",
            texts.join("; ")
        )));
        Err(match &first.action {
            Some(action) => {
                error.with_hint(format!("{action}; `mpsync doctor` shows all findings"))
            }
            None => error.with_hint("`mpsync doctor` shows all findings"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refused_findings_refuse_and_all_of_them_are_named() {
        let mut findings = Findings::of("hot");
        findings.add(Severity::Warning, "replicas", "read-only".to_owned());
        findings.ok("replicas", "fine");
        findings.ok("version", "26.7");
        let mut diagnosis = Diagnosis {
            findings: findings.into_vec(),
        };
        assert_eq!(diagnosis.findings.len(), 2);
        diagnosis.refuse().unwrap();
        let mut refused = Findings::of("cold");
        refused.advise(Severity::Refused, "ttl", "a".to_owned(), "do this");
        refused.add(Severity::Refused, "settings", "b".to_owned());
        diagnosis.findings.extend(refused.into_vec());
        let error = diagnosis.refuse().unwrap_err();
        assert_eq!(
            error.to_string(),
            "running on could lose data: cold ttl: a; cold settings: b\n  hint: do this; `mpsync doctor` shows all findings"
        );
        assert_eq!(diagnosis.at_least(Severity::Warning).count(), 3);
    }
}
