//! A dataset from its YAML.

use serde::Deserialize;

use super::definition::{
    BookSide, ColumnSource, Dataset, EPOCH_COLUMN, ExcessDigits, LevelPart, SEQ_COLUMN,
    TierPartition,
};
use super::name::DatasetName;
use crate::error::{Error, Result};

impl Dataset {
    /// Reads a dataset from its YAML and the text of its DDL file; `origin` names the file in errors.
    pub fn from_yaml(origin: &str, yaml: &str, ddl: String) -> Result<Self> {
        let raw: RawDataset =
            serde_saphyr::from_str(yaml).map_err(|e| Error::config(format!("{origin}: {e}")))?;
        raw.into_dataset(origin, ddl)
    }
}

/// A dataset as its YAML has it, before it is checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDataset {
    name: String,
    #[serde(default)]
    subjects: Vec<String>,
    table: String,
    #[serde(default = "timestamp")]
    time_column: String,
    #[serde(default)]
    partition: TierPartition,
    #[serde(default)]
    columns: Vec<RawColumn>,
    #[serde(default)]
    ignored_fields: Vec<String>,
    #[serde(default)]
    excess_digits: ExcessDigits,
    #[serde(default)]
    message_id: Option<String>,
}

fn timestamp() -> String {
    "timestamp".into()
}

/// One column: exactly one of the sources.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    column: String,
    #[serde(default)]
    from: Vec<String>,
    #[serde(default)]
    count_of: Option<String>,
    #[serde(default)]
    best_of: Option<RawBest>,
    #[serde(default)]
    message: Option<MessagePart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBest {
    column: String,
    side: BookSide,
    part: LevelPart,
}

/// A property of a message that JetStream knows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MessagePart {
    StoredAt,
    Epoch,
    Sequence,
}

impl RawDataset {
    fn into_dataset(self, origin: &str, ddl: String) -> Result<Dataset> {
        let name = DatasetName::try_from(self.name).map_err(|e| e.context(origin.to_owned()))?;
        let fail = |what: String| Error::config(format!("{origin}: dataset {name}: {what}"));
        let mut columns = Vec::with_capacity(self.columns.len());
        for raw in self.columns {
            let column = raw.column.clone();
            let source = raw
                .into_source()
                .map_err(|what| fail(format!("column {column}: {what}")))?;
            if columns.iter().any(|(name, _)| *name == column) {
                return Err(fail(format!("column {column} is defined twice")));
            }
            columns.push((column, source));
        }
        let has = |wanted: &str| columns.iter().any(|(name, _)| name == wanted);
        // Without subjects and columns nothing is ingested into it: another program fills the table, and mpsync transfers it.
        let foreign = self.subjects.is_empty() && columns.is_empty();
        for wanted in [self.time_column.as_str(), EPOCH_COLUMN, SEQ_COLUMN] {
            if !foreign && !has(wanted) {
                return Err(fail(format!(
                    "it has no column `{wanted}`, which every row needs"
                )));
            }
        }
        for (column, source) in &columns {
            if let ColumnSource::Count(of) | ColumnSource::Best { of, .. } = source
                && !has(of)
            {
                return Err(fail(format!(
                    "column {column} is derived from `{of}`, which is not a column"
                )));
            }
        }
        let template = self.message_id.as_deref().unwrap_or_default();
        for name in template.split('{').skip(1) {
            let Some((names, _)) = name.split_once('}') else {
                return Err(fail("message_id has a { without its }".into()));
            };
            if let Some(name) = names.split('|').find(|name| !has(name)) {
                return Err(fail(format!(
                    "message_id names {{{name}}}, which is not a column"
                )));
            }
        }
        if self.subjects.is_empty() && !foreign {
            return Err(fail(
                "it has columns and no subjects; a table that another program fills has neither"
                    .into(),
            ));
        }
        Ok(Dataset {
            name,
            subjects: self.subjects,
            table: self.table,
            time_column: self.time_column,
            partition: self.partition,
            ddl,
            columns,
            ignored_fields: self.ignored_fields,
            excess_digits: self.excess_digits,
            message_id: self.message_id,
        })
    }
}

impl RawColumn {
    fn into_source(self) -> Result<ColumnSource, &'static str> {
        match (
            self.from.is_empty(),
            self.count_of,
            self.best_of,
            self.message,
        ) {
            (false, None, None, None) => Ok(ColumnSource::Fields(self.from)),
            (true, Some(of), None, None) => Ok(ColumnSource::Count(of)),
            (true, None, Some(best), None) => Ok(ColumnSource::Best {
                of: best.column,
                side: best.side,
                part: best.part,
            }),
            (true, None, None, Some(part)) => Ok(match part {
                MessagePart::StoredAt => ColumnSource::StoredAt,
                MessagePart::Epoch => ColumnSource::Epoch,
                MessagePart::Sequence => ColumnSource::Sequence,
            }),
            _ => Err("say exactly one of `from`, `count_of`, `best_of`, `message`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_dataset_says_file_dataset_and_column() {
        let yaml = "name: candles\nsubjects: ['candle.>']\ntable: candles\ncolumns:\n  - {column: timestamp, from: [ts_ms], message: epoch}\n";
        let e = Dataset::from_yaml("candles.yaml", yaml, String::new())
            .unwrap_err()
            .to_string();
        assert_eq!(
            e,
            "candles.yaml: dataset candles: column timestamp: say exactly one of `from`, `count_of`, `best_of`, `message`"
        );
    }

    #[test]
    fn a_message_id_of_an_unknown_column_is_refused() {
        let yaml = "name: x\nsubjects: ['x.>']\ntable: x\nmessage_id: 'x:{id}'\ncolumns:\n  - {column: timestamp, from: [ts_ms]}\n  - {column: stream_epoch, message: epoch}\n  - {column: stream_seq, message: sequence}\n";
        let e = Dataset::from_yaml("x.yaml", yaml, String::new()).unwrap_err();
        assert!(e.to_string().contains("message_id names {id}"), "{e}");
    }

    #[test]
    fn an_unknown_key_says_where() {
        let e = Dataset::from_yaml("x.yaml", "name: x\nsubject: y\n", String::new())
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("x.yaml") && e.contains("subject") && e.contains('2'),
            "{e}"
        );
    }
}
