//! When the next sync is due, and the next sweep. Pure: times and chance are handed in.
//!
//! A run that was missed (nobody ran, the machine slept, the run before it took longer) is made up for once, at once, however
//! many were missed: one run takes all that is due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::SyncSchedule;

/// Of the time between two runs, the part by which one may come later: daemons that were started together spread out.
const JITTER: f64 = 0.05;
/// A moment that was named is never missed by more.
const JITTER_MAX: Duration = Duration::from_secs(30);
/// Between two runs at least.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// When a process runs for the first time. `last` is when the last run that took everything began, whoever made it, where
/// that is known.
///
/// At once, unless an expression names the moments and none of them was missed.
pub(super) fn first(
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

/// When the next run is due after one that began at `began`, seen at `now`, which is its end or later. `random` is in `[0, 1)`.
pub(super) fn next(
    schedule: &SyncSchedule,
    began: Timestamp,
    now: Timestamp,
    random: f64,
) -> Timestamp {
    let later = |moment: Timestamp, by: Duration| moment.checked_add(by).unwrap_or(Timestamp::MAX);
    match schedule {
        SyncSchedule::Every(interval) => {
            let interval = (*interval).max(PAUSE_MIN);
            later(now, interval.mul_f64(1.0 + JITTER * random))
        }
        SyncSchedule::Cron(cron) => {
            let Some(named) = cron.after(began) else {
                return Timestamp::MAX;
            };
            if named <= now {
                return later(now, PAUSE_MIN);
            }
            let between = cron
                .after(named)
                .and_then(|after| Duration::try_from(after.duration_since(named)).ok());
            let spread = between.unwrap_or_default().mul_f64(JITTER).min(JITTER_MAX);
            later(named, spread.mul_f64(random))
        }
    }
}

/// When the next sweep is due, where there are to be any. `began` is when the last one began, whoever made it, where that is
/// known; one that lies ahead was noted by another clock, and counts for nothing.
pub(super) fn sweep(
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

/// A moment that was found due by a clock which has since been set back does not lie further off than the schedule allows.
pub(super) fn not_beyond(schedule: &SyncSchedule, due: Timestamp, now: Timestamp) -> Timestamp {
    match schedule {
        SyncSchedule::Every(_) => due.min(next(schedule, now, now, 1.0)),
        SyncSchedule::Cron(_) => due,
    }
}

/// How long to sleep until a moment: in short steps, since what a sleeping machine missed must be seen when it wakes.
pub(super) fn nap(due: Timestamp, now: Timestamp) -> Duration {
    let left = due.duration_since(now).max(SignedDuration::ZERO);
    Duration::try_from(left).unwrap_or_default().min(JITTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CronExpression;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(text: &str) -> SyncSchedule {
        SyncSchedule::Cron(CronExpression::parse(text).unwrap())
    }

    #[test]
    fn an_interval_is_counted_from_the_end_of_a_run_with_a_little_chance() {
        let hourly = SyncSchedule::Every(Duration::from_hours(1));
        let (began, ended) = (at("2026-01-01T05:00:00Z"), at("2026-01-01T05:10:00Z"));
        assert_eq!(next(&hourly, began, ended, 0.0), at("2026-01-01T06:10:00Z"));
        assert_eq!(next(&hourly, began, ended, 0.5), at("2026-01-01T06:11:30Z"));
        assert_eq!(first(&hourly, Some(ended), ended, 0.5), ended);
        let always = SyncSchedule::Every(Duration::ZERO);
        assert_eq!(next(&always, began, ended, 0.0), at("2026-01-01T05:10:01Z"));
        // The clock went back by a day after this was found.
        let due = at("2026-01-02T06:00:00Z");
        assert_eq!(not_beyond(&hourly, due, ended), at("2026-01-01T06:13:00Z"));
        assert_eq!(not_beyond(&hourly, began, ended), began);
    }

    #[test]
    fn a_moment_that_an_expression_names_is_met_and_chance_is_small() {
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
        // Of every ten seconds a twentieth is half a second.
        let often = cron("*/10 * * * * *");
        let (began, ended) = (at("2026-01-01T05:15:00Z"), at("2026-01-01T05:15:01Z"));
        assert_eq!(
            next(&often, began, ended, 1.0),
            at("2026-01-01T05:15:10.5Z")
        );
    }

    #[test]
    fn what_was_missed_is_made_up_for_once_and_what_was_not_is_waited_for() {
        let nightly = cron("0 3 * * *");
        let now = at("2026-01-05T14:00:00Z");
        let soon = at("2026-01-05T14:00:01Z");
        // Nobody ever ran; then: down for days, over one moment, over none.
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
        // A run that took from three o'clock until after the next moment, and the one that makes up for it.
        let hourly = cron("0 * * * *");
        let (began, ended) = (at("2026-01-05T12:00:00Z"), at("2026-01-05T13:59:59Z"));
        assert_eq!(next(&hourly, began, ended, 0.9), now);
        assert_eq!(next(&hourly, now, soon, 0.0), at("2026-01-05T15:00:00Z"));
    }

    #[test]
    fn a_sweep_is_due_so_long_after_the_begin_of_the_last_one() {
        let (now, day) = (at("2026-01-05T14:00:00Z"), Some(Duration::from_hours(24)));
        assert_eq!(sweep(day, None, now), now);
        let began = at("2026-01-05T03:00:00Z");
        let next = at("2026-01-06T03:00:00Z");
        assert_eq!(sweep(day, Some(began), now), next);
        assert_eq!(sweep(day, Some(began), next), next);
        assert_eq!(sweep(None, None, now), Timestamp::MAX);
        assert_eq!(sweep(Some(Duration::MAX), Some(began), now), Timestamp::MAX);
        // A machine whose clock was years ahead noted one.
        assert_eq!(sweep(day, Some(at("2031-01-01T00:00:00Z")), now), now);
        let always = Some(Duration::from_nanos(1));
        assert_eq!(sweep(always, Some(now), now), at("2026-01-05T14:00:01Z"));
    }

    #[test]
    fn a_process_that_waits_looks_at_the_clock_often() {
        let now = at("2026-01-05T14:00:00Z");
        assert_eq!(nap(at("2026-01-05T14:00:07Z"), now), Duration::from_secs(7));
        assert_eq!(nap(at("2027-01-05T14:00:00Z"), now), JITTER_MAX);
        assert_eq!(nap(at("2026-01-05T13:00:00Z"), now), Duration::ZERO);
    }
}
