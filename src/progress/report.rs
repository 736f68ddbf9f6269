//! Progress as a line of JSON, for other programs (`docs/progress.md`). Pure.

use mpsync_core::progress::Snapshot;
use serde_json::{Value, json};

use super::estimate::Estimate;

/// Returns the line of a snapshot.
pub(super) fn line(now: &Snapshot, estimate: &Estimate) -> Value {
    let active: Vec<_> = now.active.iter().filter(|work| !work.waits).collect();
    let percent = estimate.share.map(|share| (share * 1000.0).floor() / 10.0);
    let rounded = |value: Option<f64>| value.map(|value| (value * 10.0).round() / 10.0);
    let waiting = now
        .total
        .saturating_sub(now.done)
        .saturating_sub(active.len() as u64);
    json!({"progress": {
        "percent": percent,
        "done": now.done,
        "total": now.total,
        "waiting": waiting,
        "rows": estimate.rows,
        "planned_rows": now.planned_rows,
        "bytes": now.bytes,
        "rows_per_second": rounded(estimate.rate),
        "seconds": rounded(Some(now.seconds)),
        "seconds_left": rounded(estimate.seconds_left),
        "active": active,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_core::progress::Progress;

    #[test]
    fn a_line_has_the_documented_fields() {
        let progress = Progress::default();
        progress.expect(3);
        progress.expect_rows(200, 1);
        let (work, _waiting) = (progress.begin("trades".into()), progress.begin("x".into()));
        work.plan(100);
        work.step("exporting", 100);
        work.add(50, 1000);
        let estimate = Estimate {
            share: Some(0.256),
            rows: 50,
            rate: Some(12.345),
            seconds_left: None,
        };
        let mut line = line(&progress.snapshot(), &estimate);
        let fields = &mut line["progress"];
        fields["seconds"] = json!(1.0);
        fields["active"][0]["seconds"] = json!(1.0);
        assert_eq!(
            line,
            json!({"progress": {
                "percent": 25.6, "done": 0, "total": 3, "waiting": 2, "rows": 50, "planned_rows": 200, "bytes": 1000,
                "rows_per_second": 12.3, "seconds": 1.0, "seconds_left": null,
                "active": [{"what": "trades", "step": "exporting", "rows": 50, "bytes": 1000, "expected": 100, "seconds": 1.0}],
            }})
        );
        let documented = include_str!("../../docs/progress.md");
        for field in line["progress"].as_object().unwrap().keys() {
            assert!(documented.contains(&format!("\"{field}\"")), "{field}");
        }
    }
}
