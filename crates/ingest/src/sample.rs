//! Checks a sample of messages: which would become rows, which fields have no column, which columns no field fills. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::decode::{Decoder, MessageMeta, Reason};
use mpsync_clickhouse::{TableSchema, check_columns};
use mpsync_core::dataset::{ColumnSource, Dataset, Epoch, Position};
use mpsync_core::error::{Error, Result};
use mpsync_nats::covers;

/// A fourth of the characters after which an example is cut.
const EXAMPLE_CHARS: usize = 80;
/// Names that a report counts separately; the rest is counted together.
const NAMES: usize = 1000;

/// How often something occurred, with an example.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Occurrences {
    /// The number of messages.
    pub messages: u64,
    /// Its value in the first of them.
    pub example: String,
}

/// The result of a sample for one dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DatasetSample {
    /// The dataset.
    pub dataset: String,
    /// The number of messages in the sample.
    pub messages: u64,
    /// Messages that would become rows.
    pub rows: u64,
    /// Messages that would become dead letters, by reason; the example is the full reason.
    pub dead_letters: BTreeMap<String, Occurrences>,
    /// Fields without a column that the dataset does not ignore.
    pub unknown_fields: BTreeMap<String, Occurrences>,
    /// Columns for which no message of the sample has a field: NULL in every row.
    pub unfilled_columns: Vec<String>,
    /// Numbers that would be rounded.
    pub rounded: u64,
}

/// The result of a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SampleReport {
    /// The datasets that occurred in the sample.
    pub datasets: Vec<DatasetSample>,
    /// Subjects of no dataset, with an example of a message.
    pub foreign_subjects: BTreeMap<String, Occurrences>,
}

impl SampleReport {
    /// Returns whether every message would become a row and every field has a column or is ignored by the dataset.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.foreign_subjects.is_empty()
            && self
                .datasets
                .iter()
                .all(|d| d.dead_letters.is_empty() && d.unknown_fields.is_empty())
    }
}

/// Checks messages against datasets and their tables.
#[derive(Debug)]
pub struct SampleCheck {
    checked: Vec<DatasetCheck>,
    foreign: BTreeMap<String, Occurrences>,
    seq: u64,
    stored_at_nanos: i64,
}

#[derive(Debug)]
struct DatasetCheck {
    dataset: Dataset,
    decoder: Decoder,
    /// Fields that have a column or are ignored by the dataset.
    known: BTreeSet<String>,
    /// Columns for which a message had a field.
    filled: BTreeSet<String>,
    report: DatasetSample,
}

impl SampleCheck {
    /// Returns a check against datasets with their tables. `stored_at_nanos` is used as the time of storage of every
    /// message, against which event times are checked.
    pub fn new(
        tables: impl IntoIterator<Item = (Dataset, TableSchema)>,
        stored_at_nanos: i64,
    ) -> Result<Self> {
        let checked = tables.into_iter().map(|(dataset, table)| {
            check_columns(&dataset, &table)?;
            let fields = dataset
                .columns
                .iter()
                .filter_map(|(_, source)| match source {
                    ColumnSource::Fields(fields) => Some(fields),
                    _ => None,
                });
            let known = fields.flatten().chain(&dataset.ignored_fields);
            Ok(DatasetCheck {
                decoder: Decoder::new(&dataset, &table)?,
                known: known.cloned().collect(),
                filled: BTreeSet::new(),
                report: DatasetSample {
                    dataset: dataset.name.to_string(),
                    ..DatasetSample::default()
                },
                dataset,
            })
        });
        Ok(Self {
            checked: checked.collect::<Result<_>>()?,
            foreign: BTreeMap::new(),
            seq: 0,
            stored_at_nanos,
        })
    }

    /// Checks one message.
    pub fn add(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        self.seq += 1;
        let takes =
            |c: &&mut DatasetCheck| c.dataset.subjects.iter().any(|own| covers(own, subject));
        let meta = MessageMeta {
            subject,
            position: Position {
                epoch: Epoch(1),
                seq: self.seq,
            },
            stored_at_nanos: self.stored_at_nanos,
        };
        match self.checked.iter_mut().find(takes) {
            Some(checked) => checked.add(&meta, payload),
            None => {
                count(
                    &mut self.foreign,
                    subject,
                    &String::from_utf8_lossy(payload),
                );
                Ok(())
            }
        }
    }

    /// Returns the result for the messages so far.
    #[must_use]
    pub fn report(&self) -> SampleReport {
        SampleReport {
            datasets: self
                .checked
                .iter()
                .filter(|c| c.report.messages > 0)
                .map(DatasetCheck::report)
                .collect(),
            foreign_subjects: self.foreign.clone(),
        }
    }
}

impl DatasetCheck {
    fn add(&mut self, meta: &MessageMeta<'_>, payload: &[u8]) -> Result<()> {
        self.report.messages += 1;
        let mut decoded = self.decoder.append(meta, payload);
        if matches!(&decoded, Err(e) if e.reason == Reason::BatchFull) {
            self.decoder.finish()?;
            decoded = self.decoder.append(meta, payload);
        }
        match decoded {
            Ok(_) => self.report.rows += 1,
            Err(e) => count(
                &mut self.report.dead_letters,
                e.reason.label(),
                &e.to_string(),
            ),
        }
        // A payload that is not an object was rejected above.
        if let Ok(fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(payload) {
            for (name, value) in &fields {
                if !self.known.contains(name) {
                    count(&mut self.report.unknown_fields, name, value.get());
                }
            }
            self.fill(meta.subject, &fields);
        }
        Ok(())
    }

    fn fill(&mut self, subject: &str, fields: &BTreeMap<String, &RawValue>) {
        for (column, source) in &self.dataset.columns {
            let ColumnSource::Fields(names) = source else {
                continue;
            };
            let is_there = |name: &String| match name.strip_prefix("$subject.") {
                Some(token) => token
                    .parse()
                    .is_ok_and(|n| subject.split('.').nth(n).is_some()),
                None => fields.get(name).is_some_and(|value| value.get() != "null"),
            };
            if !self.filled.contains(column) && names.iter().any(is_there) {
                self.filled.insert(column.clone());
            }
        }
    }

    fn report(&self) -> DatasetSample {
        let mut report = self.report.clone();
        let counters = self.decoder.counters();
        report.rounded = counters.rounded;
        // Extra elements of levels, beyond price and quantity: only the decoder sees them.
        for (name, &messages) in counters
            .unknown_fields
            .iter()
            .filter(|(n, _)| n.ends_with("[]"))
        {
            let example = "more than price and quantity".to_owned();
            let seen = Occurrences { messages, example };
            report.unknown_fields.entry(name.clone()).or_insert(seen);
        }
        let unfilled = self.dataset.columns.iter().filter(|(column, source)| {
            matches!(source, ColumnSource::Fields(_)) && !self.filled.contains(column)
        });
        report.unfilled_columns = unfilled.map(|(column, _)| column.clone()).collect();
        report
    }
}

fn count(seen: &mut BTreeMap<String, Occurrences>, name: &str, example: &str) {
    let name = match seen.len() < NAMES || seen.contains_key(name) {
        true => name,
        false => "(others)",
    };
    let entry = seen.entry(name.to_owned()).or_insert_with(|| Occurrences {
        messages: 0,
        example: shortened(example),
    });
    entry.messages += 1;
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    // A reason is worth reading to its end.
    let limit = EXAMPLE_CHARS * 4;
    let mut short: String = chars.by_ref().take(limit).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

impl SampleReport {
    /// Returns a schema error with counts unless everything fits.
    pub fn verdict(&self) -> Result<()> {
        if self.fits() {
            return Ok(());
        }
        let sum = |of: fn(&DatasetSample) -> u64| self.datasets.iter().map(of).sum::<u64>();
        let dead_letters = sum(|d| d.dead_letters.values().map(|s| s.messages).sum());
        let unknown = sum(|d| d.unknown_fields.len() as u64);
        let foreign: u64 = self.foreign_subjects.values().map(|s| s.messages).sum();
        Err(Error::schema(format!(
            "the sample does not fit: {dead_letters} messages would become dead letters, {unknown} fields have no column, \
             {foreign} messages are of no dataset"
        ))
        .with_hint("name fields in the dataset's `columns` (`from: [...]`) or `ignored_fields`, or alter the table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_core::dataset::builtin;

    fn check() -> SampleCheck {
        let tables = builtin()
            .iter()
            .map(|d| (d.clone(), TableSchema::of_ddl(d).unwrap()));
        SampleCheck::new(tables, 1_760_000_001_000_000_000).unwrap()
    }

    const TRADE: &str = r#"{"data_type":"trade","ts_ms":1760000000000,"exchange":"okx","market_type":"spot","symbol":"X",
        "data_source":"marketprism","trade_id":"1","price":"1.5","quantity":"2","side":"buy"}"#;

    #[test]
    fn fitting_sample_reports_columns_that_stay_null() {
        let mut check = check();
        check.add("trade.okx.spot.X", TRADE.as_bytes()).unwrap();
        let report = check.report();
        assert!(report.fits() && report.verdict().is_ok());
        let trades = &report.datasets[0];
        assert_eq!((trades.messages, trades.rows), (1, 1));
        assert_eq!(
            trades.unfilled_columns,
            ["is_maker", "trade_time", "collected_at"]
        );
    }

    #[test]
    fn misfits_of_a_sample_are_counted_with_an_example() {
        let mut check = check();
        let extra = TRADE.replace("\"side\"", "\"venue\":\"A\",\"side\"");
        let wrong = TRADE.replace("\"1.5\"", "\"many\"");
        for payload in [extra.as_str(), &extra, &wrong, "no json"] {
            check.add("trade.okx.spot.X", payload.as_bytes()).unwrap();
        }
        check.add("candle.okx.spot.X", b"{}").unwrap();
        let report = check.report();
        let trades = &report.datasets[0];
        let venue = &trades.unknown_fields["venue"];
        assert_eq!((venue.messages, venue.example.as_str()), (2, "\"A\""));
        assert_eq!(trades.dead_letters["bad_number"].messages, 1);
        assert!(trades.dead_letters["bad_number"].example.contains("price"));
        assert_eq!(trades.dead_letters["not_json"].messages, 1);
        assert_eq!(report.foreign_subjects["candle.okx.spot.X"].messages, 1);
        let e = report.verdict().unwrap_err();
        assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Failed);
        assert!(
            e.to_string()
                .contains("2 messages would become dead letters, 1 fields"),
            "{e}"
        );
    }
}
