//! The times of the next sync and of the next garbage collection. Pure: times and randomness are parameters.
//!
//! Missed runs (the daemon was down, the machine was asleep, the previous run took longer) are replaced by a single one at once,
//! however many were missed: one run processes all that is due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use mpsync_config::SyncSchedule;

/// The fraction of the time between two runs by which one may be delayed, so that daemons that start together spread out.
const JITTER: f64 = 0.05;
/// The maximum delay after a time that an expression matches.
const JITTER_MAX: Duration = Duration::from_secs(30);
/// The minimum pause between two runs.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Returns the time of the first run of a process. `last` is the start of the last complete run of any process, if known.
///
/// The first run is due at once, unless there is a cron expression and no matching time was missed.
pub(crate) fn first(
    schedule: &SyncSchedule,
    last: Option<Timestamp>,
    now: Timestamp,
    random: f64,
) -> Timestamp {
    match (schedule, last) {
        (SyncSchedule::Cron(_), Some(last)) => next(schedule, last, now, random),
        _ => now,
    }
}

/// Returns the time of the next run after one that began at `began`. `now` is its end or later, `random` is in `[0, 1)`.
pub(crate) fn next(
    schedule: &SyncSchedule,
    began: Timestamp,
    now: Timestamp,
    random: f64,
) -> Timestamp {
    let later = |time: Timestamp, by: Duration| time.checked_add(by).unwrap_or(Timestamp::MAX);
    match schedule {
        SyncSchedule::Every(interval) => {
            let interval = (*interval).max(PAUSE_MIN);
            later(now, interval.mul_f64(1.0 + JITTER * random))
        }
        SyncSchedule::Cron(cron) => {
            let Some(matching) = cron.after(began) else {
                return Timestamp::MAX;
            };
            if matching <= now {
                return later(now, PAUSE_MIN);
            }
            let between = cron
                .after(matching)
                .and_then(|after| Duration::try_from(after.duration_since(matching)).ok());
            let spread = between.unwrap_or_default().mul_f64(JITTER).min(JITTER_MAX);
            later(matching, spread.mul_f64(random))
        }
    }
}

/// Returns the time of the next garbage collection. `began` is the start of the last one of any process, if known; a start in the
/// future was recorded by another clock and is ignored.
pub(crate) fn sweep(
    interval: Option<Duration>,
    began: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    let Some(interval) = interval else {
        return Timestamp::MAX;
    };
    match began.filter(|began| *began <= now) {
        None => now,
        Some(began) => began
            .checked_add(interval.max(PAUSE_MIN))
            .unwrap_or(Timestamp::MAX),
    }
}

/// Limits a due time, computed before the clock was set back, to what the schedule permits.
pub(crate) fn not_beyond(schedule: &SyncSchedule, due: Timestamp, now: Timestamp) -> Timestamp {
    match schedule {
        SyncSchedule::Every(_) => due.min(next(schedule, now, now, 1.0)),
        SyncSchedule::Cron(_) => due,
    }
}

/// Returns how long to sleep until a time: in short steps, because a machine that was asleep must notice missed runs.
pub(crate) fn nap(due: Timestamp, now: Timestamp) -> Duration {
    let left = due.duration_since(now).max(SignedDuration::ZERO);
    Duration::try_from(left).unwrap_or_default().min(JITTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_config::CronExpression;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(text: &str) -> SyncSchedule {
        SyncSchedule::Cron(CronExpression::parse(text).unwrap())
    }

    #[test]
    fn interval_is_counted_from_the_end_of_a_run_with_jitter() {
        let hourly = SyncSchedule::Every(Duration::from_hours(1));
        let (began, ended) = (at("2026-01-01T05:00:00Z"), at("2026-01-01T05:10:00Z"));
        assert_eq!(next(&hourly, began, ended, 0.0), at("2026-01-01T06:10:00Z"));
        assert_eq!(next(&hourly, began, ended, 0.5), at("2026-01-01T06:11:30Z"));
        assert_eq!(first(&hourly, Some(ended), ended, 0.5), ended);
        let always = SyncSchedule::Every(Duration::ZERO);
        assert_eq!(next(&always, began, ended, 0.0), at("2026-01-01T05:10:01Z"));
        // The clock was set back by a day after this was computed.
        let due = at("2026-01-02T06:00:00Z");
        assert_eq!(not_beyond(&hourly, due, ended), at("2026-01-01T06:13:00Z"));
        assert_eq!(not_beyond(&hourly, began, ended), began);
    }

    #[test]
    fn cron_times_are_met_with_small_jitter() {
        let schedule = cron("15 * * * *");
        let (began, ended) = (at("2026-01-01T05:15:02Z"), at("2026-01-01T05:20:00Z"));
        assert_eq!(
            next(&schedule, began, ended, 0.0),
            at("2026-01-01T06:15:00Z")
        );
        assert_eq!(
            next(&schedule, began, ended, 0.5),
            at("2026-01-01T06:15:15Z")
        );
        // A twentieth of ten seconds is half a second.
        let often = cron("*/10 * * * * *");
        let (began, ended) = (at("2026-01-01T05:15:00Z"), at("2026-01-01T05:15:01Z"));
        assert_eq!(
            next(&often, began, ended, 1.0),
            at("2026-01-01T05:15:10.5Z")
        );
    }

    #[test]
    fn missed_runs_are_replaced_by_one() {
        let nightly = cron("0 3 * * *");
        let now = at("2026-01-05T14:00:00Z");
        let soon = at("2026-01-05T14:00:01Z");
        // No run yet; then: down for days, during one matching time, during none.
        assert_eq!(first(&nightly, None, now, 0.0), now);
        assert_eq!(
            first(&nightly, Some(at("2026-01-02T03:00:01Z")), now, 0.0),
            soon
        );
        assert_eq!(
            first(&nightly, Some(at("2026-01-05T02:59:59Z")), now, 0.0),
            soon
        );
        assert_eq!(
            first(&nightly, Some(at("2026-01-05T03:00:00Z")), now, 0.0),
            at("2026-01-06T03:00:00Z")
        );
        // A run that took until after the next matching time, and the one that replaces it.
        let hourly = cron("0 * * * *");
        let (began, ended) = (at("2026-01-05T12:00:00Z"), at("2026-01-05T13:59:59Z"));
        assert_eq!(next(&hourly, began, ended, 0.9), now);
        assert_eq!(next(&hourly, now, soon, 0.0), at("2026-01-05T15:00:00Z"));
    }

    #[test]
    fn garbage_collection_is_due_an_interval_after_the_last_start() {
        let (now, day) = (at("2026-01-05T14:00:00Z"), Some(Duration::from_hours(24)));
        assert_eq!(sweep(day, None, now), now);
        let began = at("2026-01-05T03:00:00Z");
        let next = at("2026-01-06T03:00:00Z");
        assert_eq!(sweep(day, Some(began), now), next);
        assert_eq!(sweep(day, Some(began), next), next);
        assert_eq!(sweep(None, None, now), Timestamp::MAX);
        assert_eq!(sweep(Some(Duration::MAX), Some(began), now), Timestamp::MAX);
        // A machine whose clock was years ahead recorded one.
        assert_eq!(sweep(day, Some(at("2031-01-01T00:00:00Z")), now), now);
        let always = Some(Duration::from_nanos(1));
        assert_eq!(sweep(always, Some(now), now), at("2026-01-05T14:00:01Z"));
    }

    #[test]
    fn a_waiting_process_checks_the_clock_often() {
        let now = at("2026-01-05T14:00:00Z");
        assert_eq!(nap(at("2026-01-05T14:00:07Z"), now), Duration::from_secs(7));
        assert_eq!(nap(at("2027-01-05T14:00:00Z"), now), JITTER_MAX);
        assert_eq!(nap(at("2026-01-05T13:00:00Z"), now), Duration::ZERO);
    }
}
