//! Judges the last readings: `ok`, `degraded` or `down`.

use std::time::{Duration, Instant};

use crate::doctor::diagnosis::{Finding, Severity};

use super::daemon_state::{DaemonState, Failure, Reading};
use super::dead_letter_share::UnusualDeadLetters;
use super::health_report::{Check, Condition, Health, Ready};

/// How long a dependency may be unavailable before the daemon is down: a restart of a server takes less.
pub const GRACE: Duration = Duration::from_secs(30);

/// The minimum of free bytes on each disk.
const FREE_BYTES_MIN: u64 = 1 << 30;

impl DaemonState {
    /// Returns the health of the daemon.
    pub(crate) fn health(&self, now: Instant) -> Health {
        let mut status = Condition::Ok;
        let mut checks = Vec::new();
        for (name, reading) in self.readings() {
            let (condition, check) = judge(name, &reading, now);
            status = status.max(condition);
            checks.push(check);
        }
        for (name, failure) in self.remarks() {
            status = status.max(Condition::Degraded);
            checks.push(Check {
                name: name.to_owned(),
                ok: false,
                latency_seconds: None,
                last_success_at: None,
                detail: Some(failure.error),
                hint: failure.hint,
                free_bytes: None,
            });
        }
        Health {
            status,
            mode: self.mode(),
            checks,
        }
    }

    /// Returns the failures that need operator action although data flows.
    fn remarks(&self) -> Vec<(&'static str, Failure)> {
        let mut found = Vec::new();
        let gaps: u64 = self.ingest_report().map_or(0, |report| {
            report.datasets.iter().map(|d| d.gap_sequences).sum()
        });
        if gaps > 0 {
            found.push((
                "gaps",
                Failure::plain(format!(
                    "the stream's limits deleted {gaps} messages before they could be delivered"
                )),
            ));
        }
        if let Some(failure) = dead_letter_failure(&self.unusual_dead_letters()) {
            found.push(("dead-letters", failure));
        }
        // Stores that do not answer are checks of their own.
        let diagnosis = self.diagnosis();
        let diagnosed = diagnosis.at_least(Severity::Warning);
        let diagnosed: Vec<&Finding> = diagnosed
            .filter(|finding| finding.severity != Severity::Unreachable)
            .collect();
        if !diagnosed.is_empty() {
            let texts: Vec<String> = diagnosed.iter().map(ToString::to_string).collect();
            let failure = Failure {
                error: texts.join("; "),
                hint: Some("run `mpsync doctor` to see the recommended action for each".to_owned()),
            };
            found.push(("doctor", failure));
        }
        if let Some(sync_control) = self.sync_control() {
            let state = sync_control.state();
            let halted = state.halted();
            if halted > 0 {
                found.push(("tasks", Failure::plain(format!("{halted} windows halted"))));
            }
            if let Some(last) = &state.last
                && let Some(error) = &last.error
            {
                let failure = Failure {
                    error: format!("the last sync failed: {error}"),
                    hint: last.hint.clone(),
                };
                found.push(("sync", failure));
            }
        }
        found
    }

    /// Returns whether the daemon is ready.
    pub(crate) fn ready(&self) -> Ready {
        let mut reason = None;
        if let Some(report) = self.ingest_report() {
            reason = report
                .datasets
                .iter()
                .find(|d| d.sessions == 0)
                .map(|d| format!("ingest of {} has not begun", d.dataset));
        }
        if reason.is_none() && self.mode().is_cold() {
            let readings = self.readings();
            reason = ["cold", "archive"]
                .into_iter()
                .find(|name| {
                    readings
                        .get(*name)
                        .is_none_or(|r| r.last_success_at.is_none())
                })
                .map(|name| format!("{name} has not answered yet"));
        }
        Ready {
            ready: reason.is_none(),
            reason,
        }
    }
}

fn dead_letter_failure(unusual: &[UnusualDeadLetters]) -> Option<Failure> {
    if unusual.is_empty() {
        return None;
    }
    let datasets: Vec<String> = unusual.iter().map(ToString::to_string).collect();
    Some(Failure {
        error: format!(
            "unusually many messages of the last 15 minutes could not be converted to rows: {}",
            datasets.join("; ")
        ),
        hint: Some(
            "run `mpsync dead-letters list` to see the messages; after the cause is corrected, \
             `mpsync dead-letters replay` inserts them at their positions"
                .to_owned(),
        ),
    })
}

fn judge(name: String, reading: &Reading, now: Instant) -> (Condition, Check) {
    let full = reading.free_bytes.filter(|free| *free < FREE_BYTES_MIN);
    let (condition, failure) = match (&reading.failing, full) {
        (Some((since, failure)), _) if now.duration_since(*since) < GRACE => {
            (Condition::Degraded, Some(failure.clone()))
        }
        (Some((_, failure)), _) => (Condition::Down, Some(failure.clone())),
        (None, Some(free)) => {
            let failure = Failure {
                error: format!("only {free} bytes are free"),
                hint: Some("free disk space before it is full".to_owned()),
            };
            (Condition::Down, Some(failure))
        }
        (None, None) => (Condition::Ok, None),
    };
    let (detail, hint) =
        failure.map_or((None, None), |failure| (Some(failure.error), failure.hint));
    let check = Check {
        name,
        ok: condition == Condition::Ok,
        latency_seconds: reading.latency_seconds,
        last_success_at: reading.last_success_at,
        detail,
        hint,
        free_bytes: reading.free_bytes,
    };
    (condition, check)
}

#[cfg(test)]
mod tests {
    use mpsync_core::error::Error;

    use super::super::mode::Mode;
    use super::*;

    #[test]
    fn warnings_of_the_doctor_degrade() {
        let state = DaemonState::new(Mode::Hot, None, None);
        let finding = |severity| Finding {
            severity,
            store: "hot".to_owned(),
            check: "ttl",
            message: "a TTL".to_owned(),
            action: None,
        };
        let diagnosed = |severity| {
            let findings = vec![finding(severity)];
            state.diagnosed(crate::doctor::diagnosis::Diagnosis { findings });
            state.health(Instant::now())
        };
        for severity in [Severity::Ok, Severity::Note, Severity::Unreachable] {
            assert_eq!(diagnosed(severity).status, Condition::Ok, "{severity}");
        }
        for severity in [Severity::Warning, Severity::Refused] {
            let health = diagnosed(severity);
            assert_eq!(health.status, Condition::Degraded, "{severity}");
            assert_eq!(health.checks[0].detail.as_deref(), Some("hot ttl: a TTL"));
        }
    }

    #[test]
    fn dead_letters_are_grouped_by_dataset_and_reason() {
        assert!(dead_letter_failure(&[]).is_none());
        let unusual = |dataset: &str| UnusualDeadLetters {
            dataset: dataset.to_owned(),
            messages: 20,
            by_reason: vec![("not_json".to_owned(), 11), ("bad_time".to_owned(), 1)],
        };
        let failure = dead_letter_failure(&[unusual("trades"), unusual("orderbooks")]).unwrap();
        assert!(
            failure.error.ends_with(
                "to rows: trades: 12 of 20 messages (11 × not_json, 1 × bad_time); \
                 orderbooks: 12 of 20 messages (11 × not_json, 1 × bad_time)"
            ),
            "{}",
            failure.error
        );
    }

    #[test]
    fn recent_failures_degrade_and_old_ones_and_full_disks_are_down() {
        let state = DaemonState::new(Mode::Cold, None, Some("every 1h".into()));
        let now = Instant::now();
        state.succeeded("cold", Some(0.01));
        state.free("archive", 2 << 30);
        assert_eq!(state.health(now).status, Condition::Ok);
        state.failed("cold", &Error::busy("no answer").with_hint("start it"));
        let health = state.health(now);
        assert_eq!(health.status, Condition::Degraded);
        let cold = &health.checks[0];
        assert_eq!(cold.detail.as_deref(), Some("no answer"));
        assert_eq!(cold.hint.as_deref(), Some("start it"));
        assert_eq!(state.health(now + GRACE * 2).status, Condition::Down);
        state.succeeded("cold", None);
        state.free("archive", 5);
        assert_eq!(state.health(now).status, Condition::Down);
        assert!(!state.ready().ready);
        state.succeeded("archive", None);
        assert!(state.ready().ready);
    }
}
