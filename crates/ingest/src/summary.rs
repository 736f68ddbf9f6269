//! The periodic log lines of a running ingest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::stats::{DatasetIngestReport, IngestReport, IngestStats};

/// How often the counters are logged.
const EVERY: Duration = Duration::from_secs(10);
/// After how many of those the names of unknown fields are logged again.
const PER_FIELDS: u64 = 30;

/// Logs the counters every [`EVERY`], for ever.
pub(crate) async fn repeat(stats: Arc<IngestStats>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.tick().await;
    let mut before = stats.snapshot();
    let mut fields = LoggedUnknownFields::default();
    let mut ticks = 0_u64;
    loop {
        tick.tick().await;
        ticks += 1;
        let now = stats.snapshot();
        for (old, new) in before.datasets.iter().zip(&now.datasets) {
            if old.messages != new.messages || new.lag > 0 {
                log(old, new);
            }
        }
        if ticks.is_multiple_of(PER_FIELDS) {
            fields.0.clear();
        }
        fields.log(&now);
        before = now;
    }
}

fn log(old: &DatasetIngestReport, new: &DatasetIngestReport) {
    tracing::info!(
        dataset = %new.dataset, messages = new.messages, rows = new.rows,
        rows_per_second = (new.rows - old.rows) / EVERY.as_secs(), lag = new.lag,
        dead_letters = new.dead_letters.values().sum::<u64>(), inserts = new.inserts, doubts = new.doubts,
        rounded = new.rounded, stalled = new.stalled, "ingest"
    );
}

/// How many names of unknown fields were logged, by dataset.
#[derive(Debug, Default)]
pub(crate) struct LoggedUnknownFields(BTreeMap<String, usize>);

impl LoggedUnknownFields {
    /// Logs the unknown fields of each dataset that has a new one.
    pub(crate) fn log(&mut self, report: &IngestReport) {
        for d in &report.datasets {
            let logged = self.0.entry(d.dataset.clone()).or_default();
            if d.unknown_fields.len() > *logged {
                *logged = d.unknown_fields.len();
                tracing::warn!(
                    dataset = %d.dataset, fields = ?d.unknown_fields,
                    "fields without a column are skipped: give them columns, or list them in ignored_fields"
                );
            }
        }
    }
}
