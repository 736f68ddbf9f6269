//! How fast each dataset was ingested lately. Pure: times are handed in.

use std::collections::VecDeque;

use mpsync_ingest::DatasetIngestReport;

/// How many points are kept of each dataset.
const POINTS: usize = 120;

/// What one dataset did since it was looked at before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) unix_ms: i64,
    pub(super) messages_per_second: f64,
    pub(super) rows_per_second: f64,
    pub(super) lag: u64,
}

/// The last points of all datasets, in the order in which ingest reports them.
#[derive(Debug, Default)]
pub(super) struct History {
    before: Option<(i64, Vec<(u64, u64)>)>,
    points: Vec<VecDeque<Point>>,
}

impl History {
    /// Takes a look at the counters.
    pub(super) fn sample(&mut self, unix_ms: i64, reports: &[DatasetIngestReport]) {
        self.points.resize_with(reports.len(), VecDeque::new);
        if let Some((then, before)) = &self.before
            && unix_ms > *then
        {
            #[expect(clippy::cast_precision_loss, reason = "rates are for people")]
            let rate = |now: u64, before: u64| {
                now.saturating_sub(before) as f64 * 1000.0 / (unix_ms - then) as f64
            };
            for ((points, report), (messages, rows)) in
                self.points.iter_mut().zip(reports).zip(before)
            {
                points.push_back(Point {
                    unix_ms,
                    messages_per_second: rate(report.messages, *messages),
                    rows_per_second: rate(report.rows, *rows),
                    lag: report.lag,
                });
                if points.len() > POINTS {
                    points.pop_front();
                }
            }
        }
        let counted = reports.iter().map(|r| (r.messages, r.rows)).collect();
        self.before = Some((unix_ms, counted));
    }

    /// The points of the dataset of this number, oldest first.
    pub(super) fn of(&self, number: usize) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.get(number).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between_two_looks_and_old_points_go() {
        let report = |messages, rows, lag| DatasetIngestReport {
            messages,
            rows,
            lag,
            ..DatasetIngestReport::default()
        };
        let mut history = History::default();
        history.sample(0, &[report(0, 0, 9)]);
        assert_eq!(history.of(0).count(), 0);
        history.sample(5000, &[report(1000, 500, 4)]);
        // A clock that stood still gives no rate.
        history.sample(5000, &[report(1000, 500, 4)]);
        let points: Vec<_> = history.of(0).copied().collect();
        assert_eq!(points.len(), 1);
        assert!((points[0].messages_per_second - 200.0).abs() < 1e-9);
        assert!((points[0].rows_per_second - 100.0).abs() < 1e-9);
        assert_eq!(points[0].lag, 4);
        for n in 2..200 {
            history.sample(n * 5000, &[report(1000, 500, 0)]);
        }
        assert_eq!(history.of(0).count(), POINTS);
        assert_eq!(history.of(0).next_back().map(|p| p.unix_ms), Some(995_000));
        assert_eq!(history.of(1).count(), 0);
    }
}
