//! Estimates the rate and the time left from snapshots. Pure.

use mpsync_core::progress::Snapshot;

/// The smallest share of the work from which a time is estimated.
const SHARE_MIN: f64 = 0.01;
/// The seconds before which no time is estimated.
const SECONDS_MIN: f64 = 1.0;

/// Observes the progress from its first movement: planning does not count.
#[derive(Debug, Default)]
pub(super) struct Estimator {
    begun: Option<Moment>,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    seconds: f64,
    share: f64,
    rows: u64,
}

/// The estimate at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Estimate {
    /// The share of the work that is done, from 0 to 1; `None` before it is planned.
    pub(super) share: Option<f64>,
    /// Rows that are done.
    pub(super) rows: u64,
    /// Rows per second since the first movement.
    pub(super) rate: Option<f64>,
    /// The seconds that the rest will take.
    pub(super) seconds_left: Option<f64>,
}

impl Estimator {
    /// Returns the estimate for a snapshot that is newer than all before it.
    #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
    pub(super) fn update(&mut self, now: &Snapshot) -> Estimate {
        let rows = match now.planned_rows {
            0 => now.rows,
            _ => now.settled_rows,
        };
        let Some(share) = share(now) else {
            return Estimate {
                rows,
                ..Estimate::default()
            };
        };
        let moment = Moment {
            seconds: now.seconds,
            share,
            rows,
        };
        let begun = *self.begun.get_or_insert(moment);
        let (elapsed, gained) = (now.seconds - begun.seconds, share - begun.share);
        let is_early = elapsed < SECONDS_MIN;
        Estimate {
            share: Some(share),
            rows,
            rate: (!is_early).then(|| rows.saturating_sub(begun.rows) as f64 / elapsed),
            seconds_left: (!is_early && gained >= SHARE_MIN)
                .then(|| elapsed * (1.0 - share) / gained),
        }
    }
}

/// Returns the share that is done: of the planned rows if they are known, of the pieces of work otherwise.
#[expect(clippy::cast_precision_loss, reason = "a share to look at")]
fn share(now: &Snapshot) -> Option<f64> {
    let share = if now.planned_rows > 0 {
        now.settled_rows as f64 / now.planned_rows as f64
    } else if now.total > 0 {
        let active: Vec<_> = now.active.iter().filter(|work| work.expected > 0).collect();
        if now.total == 1 && now.done == 0 && active.is_empty() {
            // One piece of unknown size.
            return None;
        }
        let parts: f64 = active
            .iter()
            .map(|work| (work.rows as f64 / work.expected as f64).min(1.0))
            .sum();
        (now.done as f64 + parts) / now.total as f64
    } else {
        return None;
    };
    let is_done = now.total > 0 && now.done >= now.total;
    Some(if is_done { 1.0 } else { share.min(0.99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(seconds: f64, settled: u64, planned: u64) -> Snapshot {
        Snapshot {
            total: 70,
            done: 0,
            rows: settled,
            bytes: 0,
            planned_rows: planned,
            settled_rows: settled,
            seconds,
            active: Vec::new(),
        }
    }

    #[test]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rows are few and positive"
    )]
    fn the_time_left_is_right_within_a_factor_of_two_after_a_tenth() {
        let mut estimator = Estimator::default();
        // Planning takes 20 s, then 100 rows a second that vary by half.
        let (mut rows, mut seconds) = (0.0, 20.0);
        let mut checked = 0;
        while rows < 10_000.0 {
            let left = estimator.update(&snapshot(seconds, rows as u64, 10_000));
            if rows >= 1000.0 {
                let real = (10_000.0 - rows) / 100.0;
                let estimate = left.seconds_left.unwrap();
                assert!(estimate < real * 2.0 + 1.0, "{estimate} for {real}");
                assert!(estimate > real / 2.0 - 1.0, "{estimate} for {real}");
                checked += 1;
            }
            rows += 100.0 + 50.0 * f64::sin(seconds);
            seconds += 1.0;
        }
        assert!(checked > 50);
    }

    #[test]
    fn nothing_is_estimated_before_there_is_progress() {
        let mut estimator = Estimator::default();
        assert_eq!(estimator.update(&snapshot(1.0, 0, 100)).seconds_left, None);
        let later = estimator.update(&snapshot(9.0, 0, 100));
        assert_eq!((later.share, later.seconds_left), (Some(0.0), None));
        let mut none = snapshot(1.0, 0, 0);
        none.total = 0;
        assert_eq!(Estimator::default().update(&none).share, None);
    }

    #[test]
    fn only_the_end_is_a_hundred_percent() {
        let mut estimator = Estimator::default();
        let mut now = snapshot(1.0, 100, 100);
        assert_eq!(estimator.update(&now).share, Some(0.99));
        now.done = 70;
        assert_eq!(estimator.update(&now).share, Some(1.0));
    }
}
