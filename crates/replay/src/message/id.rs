//! The publisher's own id, restored from a dataset's template. Pure.

use arrow::array::RecordBatch;

use super::column::Column;
use super::plain::PlainColumn;
use mpsync_core::error::Result;

/// The form of a dataset's message ids.
#[derive(Debug, Clone)]
pub(crate) struct IdForm(Vec<IdPiece>);

#[derive(Debug, Clone)]
enum IdPiece {
    Literal(String),
    /// The first of these that is not NULL.
    Columns(Vec<String>),
}

impl IdForm {
    /// Parses text with `{column}` or `{column|column}` in it, whose columns were validated with the
    /// dataset.
    pub(crate) fn new(template: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some((literal, (names, after))) = rest
            .split_once('{')
            .and_then(|(literal, after)| Some((literal, after.split_once('}')?)))
        {
            pieces.push(IdPiece::Literal(literal.to_owned()));
            pieces.push(IdPiece::Columns(
                names.split('|').map(str::to_owned).collect(),
            ));
            rest = after;
        }
        pieces.push(IdPiece::Literal(rest.to_owned()));
        Self(pieces)
    }

    /// Returns the columns in the ids.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        let pieces = self.0.iter().map(|piece| match piece {
            IdPiece::Literal(_) => &[][..],
            IdPiece::Columns(names) => names,
        });
        pieces.flatten().map(String::as_str)
    }

    /// Binds the form to a batch; returns `None` if the batch lacks a column.
    pub(crate) fn bind(&self, batch: &RecordBatch) -> Result<Option<BoundId>> {
        let mut bound = Vec::with_capacity(self.0.len());
        for piece in &self.0 {
            bound.push(match piece {
                IdPiece::Literal(text) => BoundIdPiece::Literal(text.clone()),
                IdPiece::Columns(names) => {
                    let arrays = names.iter().map(|name| batch.column_by_name(name));
                    let Some(arrays) = arrays.collect::<Option<Vec<_>>>() else {
                        return Ok(None);
                    };
                    let columns = arrays.into_iter().map(PlainColumn::new);
                    BoundIdPiece::Columns(columns.collect::<Result<_>>()?)
                }
            });
        }
        Ok(Some(BoundId(bound)))
    }
}

#[derive(Debug)]
pub(crate) struct BoundId(Vec<BoundIdPiece>);

#[derive(Debug)]
enum BoundIdPiece {
    Literal(String),
    Columns(Vec<PlainColumn>),
}

impl BoundId {
    /// Writes the id of a row. Returns `false` and writes nothing if a part is NULL or the id is not valid
    /// in a header.
    pub(crate) fn push(&self, row: usize, out: &mut Vec<u8>) -> bool {
        out.clear();
        for piece in &self.0 {
            match piece {
                BoundIdPiece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                BoundIdPiece::Columns(columns) => {
                    let mut columns = columns.iter();
                    if !columns.any(|column| column.push_for_id(row, out)) {
                        out.clear();
                        return false;
                    }
                }
            }
        }
        if out.iter().any(u8::is_ascii_control) {
            out.clear();
        }
        !out.is_empty()
    }
}

impl PlainColumn {
    /// Writes a value as publishers do, times in milliseconds; returns `false` for NULL.
    fn push_for_id(&self, row: usize, out: &mut Vec<u8>) -> bool {
        match (self.column(), self.text(row)) {
            (column, _) if column.is_null(row) => return false,
            (_, Some(text)) => out.extend_from_slice(text.as_bytes()),
            (Column::Dictionary(..), None) => return false,
            (column, None) => {
                let start = out.len();
                column.push(row, 0, out);
                // Decimals and fine times are texts in JSON.
                if out.get(start) == Some(&b'"') {
                    out.remove(start);
                    out.pop();
                }
            }
        }
        true
    }
}
