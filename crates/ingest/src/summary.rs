//! What a running ingest says of itself from time to time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::stats::{DatasetIngestReport, IngestReport, IngestStats};

/// How often the counters are logged.
const EVERY: Duration = Duration::from_secs(10);
/// How many times as often as the fields that no column takes, once their names were said.
const PER_FIELDS: u64 = 30;

/// Logs the counters from time to time, for ever.
pub(super) async fn repeat(stats: Arc<IngestStats>) {
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
                say(old, new);
            }
        }
        if ticks.is_multiple_of(PER_FIELDS) {
            fields.0.clear();
        }
        fields.say(&now);
        before = now;
    }
}

fn say(old: &DatasetIngestReport, new: &DatasetIngestReport) {
    tracing::info!(
        dataset = %new.dataset, messages = new.messages, rows = new.rows,
        rows_per_second = (new.rows - old.rows) / EVERY.as_secs(), lag = new.lag,
        dead_letters = new.dead_letters.values().sum::<u64>(), inserts = new.inserts, doubts = new.doubts,
        rounded = new.rounded, stalled = new.stalled, "ingest"
    );
}

/// The fields that no column takes, as far as they were said: how many names of each dataset.
#[derive(Debug, Default)]
pub(super) struct LoggedUnknownFields(BTreeMap<String, usize>);

impl LoggedUnknownFields {
    /// Says them of each dataset where there is a new one among them.
    pub(super) fn say(&mut self, report: &IngestReport) {
        for d in &report.datasets {
            let said = self.0.entry(d.dataset.clone()).or_default();
            if d.unknown_fields.len() > *said {
                *said = d.unknown_fields.len();
                tracing::warn!(
                    dataset = %d.dataset, fields = ?d.unknown_fields,
                    "fields that no column takes are passed over: give them columns, or list them in ignored_fields"
                );
            }
        }
    }
}
