//! Subjects of replayed messages. Pure.

use arrow::array::{AsArray as _, DictionaryArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};

use mpsync_core::dataset::{ColumnSource, Dataset};
use mpsync_core::error::{Error, Result};

/// The form of a dataset's subjects.
#[derive(Debug, Clone)]
pub(crate) struct SubjectForm {
    dataset: String,
    pieces: Vec<SubjectPiece>,
    data_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SubjectPiece {
    Literal(String),
    Column(String),
}

impl SubjectForm {
    /// Returns the form of the dataset's own subjects, or of a template: text with `{subject}`,
    /// `{dataset}` and `{column}` in it.
    pub(crate) fn new(dataset: &Dataset, template: Option<&str>) -> Result<Self> {
        let pattern = dataset.subjects.first().map_or("", String::as_str);
        let first = pattern.split('.').next().unwrap_or_default();
        let pieces = match template {
            None => own_pieces(dataset, pattern)?,
            Some(template) => template_pieces(dataset, pattern, template)?,
        };
        Ok(Self {
            dataset: dataset.name.to_string(),
            pieces,
            data_type: (!matches!(first, "" | "*" | ">")).then(|| first.to_owned()),
        })
    }

    /// Returns the first token of the dataset's own subjects, if it is literal.
    pub(crate) fn data_type(&self) -> Option<&str> {
        self.data_type.as_deref()
    }

    /// Returns a pattern that matches all these subjects: the tokens before the first column, and `>`.
    pub(crate) fn pattern(&self) -> String {
        let mut fixed = String::new();
        for piece in &self.pieces {
            match piece {
                SubjectPiece::Literal(text) => fixed.push_str(text),
                SubjectPiece::Column(_) => {
                    let whole = fixed.rfind('.').map_or("", |dot| &fixed[..=dot]);
                    return format!("{whole}>");
                }
            }
        }
        fixed
    }

    /// Returns the columns in the subjects.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            SubjectPiece::Literal(_) => None,
            SubjectPiece::Column(name) => Some(name.as_str()),
        })
    }

    pub(crate) fn bind(&self, batch: &RecordBatch) -> Result<BoundSubject> {
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let bind = |piece: &SubjectPiece| {
            let name = match piece {
                SubjectPiece::Literal(text) => return Ok(BoundSubjectPiece::Literal(text.clone())),
                SubjectPiece::Column(name) => name,
            };
            let array = batch.column_by_name(name).ok_or_else(|| {
                Error::schema(format!(
                    "the archive's rows of {} have no column `{name}`, which the subject needs",
                    self.dataset
                ))
            })?;
            let keys = cast(array, &text)?.as_dictionary::<Int32Type>().clone();
            let tokens = keys
                .values()
                .as_string::<i32>()
                .iter()
                .map(|v| token(v.unwrap_or_default()))
                .collect();
            Ok(BoundSubjectPiece::Column(keys, tokens))
        };
        Ok(BoundSubject(
            self.pieces.iter().map(bind).collect::<Result<_>>()?,
        ))
    }
}

/// Returns the literal tokens of the dataset's subjects, and the columns that come from the other tokens.
fn own_pieces(dataset: &Dataset, pattern: &str) -> Result<Vec<SubjectPiece>> {
    let column_of = |place: usize| {
        let alias = format!("$subject.{place}");
        dataset
            .columns
            .iter()
            .find_map(|(column, source)| match source {
                ColumnSource::Fields(aliases) if aliases.contains(&alias) => Some(column.clone()),
                _ => None,
            })
    };
    let mut pieces = Vec::new();
    for (place, token) in pattern.split('.').enumerate() {
        let columns: Vec<String> = match token {
            "*" => column_of(place).into_iter().collect(),
            ">" => (place..).map_while(column_of).collect(),
            literal => {
                push_dot(&mut pieces);
                pieces.push(SubjectPiece::Literal(literal.to_owned()));
                continue;
            }
        };
        if columns.is_empty() {
            return Err(Error::schema(format!(
                "cannot restore the subject {pattern} of dataset {}: no column comes from $subject.{place}",
                dataset.name
            ))
            .with_hint("give a template with --subject, such as 'replay.{dataset}.{symbol}'"));
        }
        for column in columns {
            push_dot(&mut pieces);
            pieces.push(SubjectPiece::Column(column));
        }
    }
    Ok(pieces)
}

fn push_dot(pieces: &mut Vec<SubjectPiece>) {
    if !pieces.is_empty() {
        pieces.push(SubjectPiece::Literal(".".into()));
    }
}

fn template_pieces(dataset: &Dataset, pattern: &str, template: &str) -> Result<Vec<SubjectPiece>> {
    let wrong = |what: String| {
        Error::usage(format!("the subject `{}` {what}", template.escape_debug())).with_hint(
            "use text with {subject}, {dataset} or {column} in it, such as 'replay.{subject}'",
        )
    };
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let close = rest[open..]
            .find('}')
            .ok_or_else(|| wrong("has a { without its }".into()))?
            + open;
        if open > 0 {
            pieces.push(SubjectPiece::Literal(rest[..open].to_owned()));
        }
        match &rest[open + 1..close] {
            "subject" => pieces.extend(own_pieces(dataset, pattern)?),
            "dataset" => pieces.push(SubjectPiece::Literal(dataset.name.to_string())),
            column if dataset.columns.iter().any(|(name, _)| name == column) => {
                pieces.push(SubjectPiece::Column(column.to_owned()));
            }
            other => {
                return Err(wrong(format!(
                    "contains {{{other}}}, but {} has no such column",
                    dataset.name
                )));
            }
        }
        rest = &rest[close + 1..];
    }
    if !rest.is_empty() {
        pieces.push(SubjectPiece::Literal(rest.to_owned()));
    }
    let text: String = pieces
        .iter()
        .map(|p| {
            if let SubjectPiece::Literal(text) = p {
                text.as_str()
            } else {
                "x"
            }
        })
        .collect();
    let is_token = |t: &str| {
        !t.is_empty()
            && t != "*"
            && t != ">"
            && !t.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if text.split('.').all(is_token) {
        Ok(pieces)
    } else {
        Err(wrong("does not make a valid subject".into()))
    }
}

/// Returns a value as a token of a subject: characters with a meaning to NATS become `_`. The payload
/// keeps them.
fn token(value: &str) -> String {
    match value {
        "" | "*" | ">" => "_".to_owned(),
        value => {
            let fits = |c: char| !(c.is_whitespace() || c.is_control() || c == '.');
            value
                .chars()
                .map(|c| if fits(c) { c } else { '_' })
                .collect()
        }
    }
}

#[derive(Debug)]
pub(crate) struct BoundSubject(Vec<BoundSubjectPiece>);

#[derive(Debug)]
enum BoundSubjectPiece {
    Literal(String),
    Column(DictionaryArray<Int32Type>, Vec<String>),
}

impl BoundSubject {
    #[inline]
    pub(crate) fn push(&self, row: usize, out: &mut Vec<u8>) {
        for piece in &self.0 {
            let text = match piece {
                BoundSubjectPiece::Literal(text) => text,
                BoundSubjectPiece::Column(keys, tokens) => keys
                    .key(row)
                    .and_then(|key| tokens.get(key))
                    .map_or("_", |token| token),
            };
            out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_core::dataset::builtin;

    fn form(template: Option<&str>) -> Result<SubjectForm> {
        let trades = builtin()
            .iter()
            .find(|d| d.name.as_str() == "trades")
            .unwrap();
        SubjectForm::new(trades, template)
    }

    #[test]
    fn pattern_of_a_stream_follows_from_the_template() {
        assert_eq!(form(None).unwrap().pattern(), "trade.>");
        assert_eq!(
            form(Some("replay.{subject}")).unwrap().pattern(),
            "replay.trade.>"
        );
        assert_eq!(
            form(Some("x.y-{symbol}.{dataset}")).unwrap().pattern(),
            "x.>"
        );
        assert_eq!(form(Some("x.{dataset}")).unwrap().pattern(), "x.trades");
    }

    #[test]
    fn invalid_templates_are_refused_with_an_example() {
        for bad in [
            "replay.{nothing}",
            "a..b",
            "a b",
            "{symbol",
            "",
            "*.{symbol}",
        ] {
            let e = form(Some(bad)).unwrap_err();
            assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Usage, "{bad}");
            assert!(e.to_string().contains("'replay.{subject}'"), "{e}");
        }
    }

    #[test]
    fn characters_with_a_meaning_to_nats_are_replaced() {
        assert_eq!(token("BTC.USD T"), "BTC_USD_T");
        assert_eq!(token(""), "_");
        assert_eq!(token(">"), "_");
    }
}
