//! Builds metric families of Prometheus from the counters of other parts. Pure.

use std::time::Duration;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use mpsync_ingest::Durations;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// A value that only grows.
    Counter,
    /// A current value.
    Gauge,
}

/// The values of a metric's labels, in the order of their names, and the number.
pub(crate) type Sample<T = f64> = (Vec<String>, T);

/// The metrics of one response.
#[derive(Debug, Default)]
pub(crate) struct MetricFamilies(Vec<MetricFamily>);

impl MetricFamilies {
    /// Adds a metric, unless it has no samples.
    pub(crate) fn add(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let metric = |(values, number): Sample| {
            let mut metric = labelled(labels, values);
            match kind {
                MetricKind::Counter => {
                    let mut counter = Counter::default();
                    counter.set_value(number);
                    metric.set_counter(counter);
                }
                MetricKind::Gauge => {
                    let mut gauge = Gauge::default();
                    gauge.set_value(number);
                    metric.set_gauge(gauge);
                }
            }
            metric
        };
        let metrics = samples.into_iter().map(metric).collect();
        let kind = match kind {
            MetricKind::Counter => MetricType::COUNTER,
            MetricKind::Gauge => MetricType::GAUGE,
        };
        self.family(kind, name, help, metrics);
    }

    /// Adds a histogram of durations, in seconds.
    pub(crate) fn durations(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = Sample<Durations>>,
    ) {
        let metric = |(values, durations): Sample<Durations>| {
            let mut metric = labelled(labels, values);
            metric.set_histogram(histogram(&durations));
            metric
        };
        let metrics = samples.into_iter().map(metric).collect();
        self.family(MetricType::HISTOGRAM, name, help, metrics);
    }

    /// Adds complete families.
    pub(crate) fn extend(&mut self, families: Vec<MetricFamily>) {
        self.0.extend(families);
    }

    /// Returns all families.
    pub(crate) fn all(&self) -> &[MetricFamily] {
        &self.0
    }

    fn family(&mut self, kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

/// Converts a count to the number type of Prometheus.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, and to 16 digits beyond"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

fn labelled(names: &[&str], values: Vec<String>) -> Metric {
    let pairs = names.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    Metric::from_label(pairs)
}

fn histogram(durations: &Durations) -> Histogram {
    let mut below = 0;
    let buckets = Durations::BOUNDS
        .iter()
        .zip(durations.counts)
        .map(|(bound, count)| {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(Duration::as_secs_f64(bound));
            bucket.set_cumulative_count(below);
            bucket
        })
        .collect();
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(durations.sum.as_secs_f64());
    histogram
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn families_are_encoded_in_the_text_format() {
        let mut families = MetricFamilies::default();
        let samples = [(
            vec!["trades".to_owned(), "a\"b".to_owned()],
            number(1 << 53),
        )];
        families.add(
            MetricKind::Counter,
            "rows_total",
            "Rows",
            &["dataset", "x"],
            samples,
        );
        families.add(MetricKind::Gauge, "up", "Whether", &[], [(Vec::new(), 0.5)]);
        families.add(MetricKind::Gauge, "nothing", "Nothing", &["tier"], []);
        let mut durations = Durations {
            sum: Duration::from_millis(1500),
            ..Durations::default()
        };
        durations.counts[0] = 2;
        durations.counts[Durations::BOUNDS.len()] = 1;
        families.durations("took_seconds", "Took", &[], [(Vec::new(), durations)]);
        let text = TextEncoder::new().encode_to_string(families.all()).unwrap();
        for line in [
            "# TYPE rows_total counter",
            "rows_total{dataset=\"trades\",x=\"a\\\"b\"} 9007199254740992",
            "# TYPE up gauge",
            "up 0.5",
            "# TYPE took_seconds histogram",
            "took_seconds_bucket{le=\"0.005\"} 2",
            "took_seconds_bucket{le=\"30\"} 2",
            "took_seconds_bucket{le=\"+Inf\"} 3",
            "took_seconds_sum 1.5",
            "took_seconds_count 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
        assert!(!text.contains("nothing"), "{text}");
    }
}
