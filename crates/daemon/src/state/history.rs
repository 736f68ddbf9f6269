//! The recent ingest rates of each dataset. Pure: times are parameters.

use std::collections::VecDeque;

use mpsync_ingest::DatasetIngestReport;

/// The number of points of each dataset.
const POINTS: usize = 120;

/// The rates of one dataset since the previous sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) unix_ms: i64,
    pub(crate) messages_per_second: f64,
    pub(crate) rows_per_second: f64,
    pub(crate) lag: u64,
}

/// The last points of all datasets, in the order of the reports of ingest.
#[derive(Debug, Default)]
pub(crate) struct History {
    before: Option<(i64, Vec<(u64, u64)>)>,
    points: Vec<VecDeque<Point>>,
}

impl History {
    /// Samples the counters.
    pub(crate) fn sample(&mut self, unix_ms: i64, reports: &[DatasetIngestReport]) {
        self.points.resize_with(reports.len(), VecDeque::new);
        if let Some((then, before)) = &self.before
            && unix_ms > *then
        {
            #[expect(clippy::cast_precision_loss, reason = "rates are approximate")]
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

    /// Returns the points of the dataset with this index, oldest first.
    pub(crate) fn points(&self, index: usize) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.get(index).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_time_between_samples_and_old_points_are_dropped() {
        let report = |messages, rows, lag| DatasetIngestReport {
            messages,
            rows,
            lag,
            ..DatasetIngestReport::default()
        };
        let mut history = History::default();
        history.sample(0, &[report(0, 0, 9)]);
        assert_eq!(history.points(0).count(), 0);
        history.sample(5000, &[report(1000, 500, 4)]);
        // A clock that has not advanced gives no rate.
        history.sample(5000, &[report(1000, 500, 4)]);
        let points: Vec<_> = history.points(0).copied().collect();
        assert_eq!(points.len(), 1);
        assert!((points[0].messages_per_second - 200.0).abs() < 1e-9);
        assert!((points[0].rows_per_second - 100.0).abs() < 1e-9);
        assert_eq!(points[0].lag, 4);
        for n in 2..200 {
            history.sample(n * 5000, &[report(1000, 500, 0)]);
        }
        assert_eq!(history.points(0).count(), POINTS);
        assert_eq!(
            history.points(0).next_back().map(|p| p.unix_ms),
            Some(995_000)
        );
        assert_eq!(history.points(1).count(), 0);
    }
}
