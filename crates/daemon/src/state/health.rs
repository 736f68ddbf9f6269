//! From what was last seen to one word: `ok`, `degraded` or `down`.

use std::time::{Duration, Instant};

use super::documents::{Check, Condition, Health, Ready};
use super::state::{DaemonState, Failure, Reading};

/// How long a dependency may be out of reach before data counts as not flowing: a restart of a server takes less.
pub const GRACE: Duration = Duration::from_secs(30);

/// Bytes that must be free at each place that fills.
const FREE_BYTES_MIN: u64 = 1 << 30;

impl DaemonState {
    pub(super) fn health(&self, now: Instant) -> Health {
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
            mode: self.0.mode,
            checks,
        }
    }

    /// Where a person must look though data flows.
    fn remarks(&self) -> Vec<(&'static str, Failure)> {
        let mut found = Vec::new();
        let gaps: u64 = self.0.ingest.as_ref().map_or(0, |stats| {
            stats
                .snapshot()
                .datasets
                .iter()
                .map(|d| d.gap_sequences)
                .sum()
        });
        if gaps > 0 {
            found.push((
                "gaps",
                Failure::plain(format!(
                    "the stream's limits took {gaps} messages before they could be delivered"
                )),
            ));
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

    pub(super) fn ready(&self) -> Ready {
        let mut waits = None;
        if let Some(stats) = &self.0.ingest {
            let report = stats.snapshot();
            waits = report
                .datasets
                .iter()
                .find(|d| d.sessions == 0)
                .map(|d| format!("ingest of {} has not begun", d.dataset));
        }
        if waits.is_none() && self.0.mode.is_cold() {
            let readings = self.readings();
            waits = ["cold", "archive"]
                .into_iter()
                .find(|name| {
                    readings
                        .get(*name)
                        .is_none_or(|r| r.last_success_at.is_none())
                })
                .map(|name| format!("{name} has not answered yet"));
        }
        Ready {
            ready: waits.is_none(),
            reason: waits,
        }
    }
}

fn judge(name: String, reading: &Reading, now: Instant) -> (Condition, Check) {
    let full = reading.free_bytes.filter(|free| *free < FREE_BYTES_MIN);
    let (condition, failure) = match (&reading.failing, full) {
        (Some((since, why)), _) if now.duration_since(*since) < GRACE => {
            (Condition::Degraded, Some(why.clone()))
        }
        (Some((_, why)), _) => (Condition::Down, Some(why.clone())),
        (None, Some(free)) => {
            let failure = Failure {
                error: format!("only {free} bytes are free"),
                hint: Some("make room before it is full".to_owned()),
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
    use super::super::data_sources::testing::data_sources;
    use super::super::documents::Mode;
    use super::*;

    #[test]
    fn a_young_failure_degrades_an_old_one_and_a_full_disk_are_down() {
        let state = DaemonState::new(Mode::Cold, None, Some("every 1h".into()), data_sources());
        let now = Instant::now();
        state.succeeded("cold", Some(0.01));
        state.free("archive", 2 << 30);
        assert_eq!(state.health(now).status, Condition::Ok);
        state.failed("cold", "no answer\n  hint: start it");
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
