//! A column's values as plain text, for formats with their own quoting.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use jiff::Timestamp;

use super::column::Column;
use mpsync_core::error::Result;

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A column whose values can be written as plain text.
#[derive(Debug)]
pub(crate) struct PlainColumn {
    column: Column,
    texts: Option<ArrayRef>,
}

impl PlainColumn {
    pub(crate) fn new(array: &ArrayRef) -> Result<Self> {
        let column = Column::new(array)?;
        let texts = match &column {
            Column::Dictionary(keys, _) => Some(std::sync::Arc::clone(keys.values())),
            _ => None,
        };
        Ok(Self { column, texts })
    }

    pub(crate) fn column(&self) -> &Column {
        &self.column
    }

    /// Returns a value that is text.
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        match (&self.column, &self.texts) {
            (Column::Text(texts), _) => Some(texts.value(row)),
            (Column::Dictionary(keys, _), Some(texts)) => {
                let (key, texts) = (keys.key(row)?, texts.as_string::<i32>());
                texts.is_valid(key).then(|| texts.value(key))
            }
            _ => None,
        }
    }

    /// Writes a value; returns whether it is text, `None` for NULL.
    pub(crate) fn push(&self, row: usize, out: &mut Vec<u8>) -> Option<bool> {
        if self.column.is_null(row) {
            return None;
        }
        if let Some(text) = self.text(row) {
            out.extend_from_slice(text.as_bytes());
            return Some(true);
        }
        match &self.column {
            Column::Text(_) | Column::Dictionary(..) => None,
            Column::Time { values, per_sec } => {
                let nanos = i128::from(values.value(row)) * i128::from(NANOS_PER_SEC / per_sec);
                let time = Timestamp::from_nanosecond(nanos).ok()?;
                out.extend_from_slice(time.to_string().as_bytes());
                Some(false)
            }
            Column::List(..) | Column::Tuple(..) => {
                self.column.push(row, 0, out);
                Some(false)
            }
            _ => {
                // Numbers and dates, some of which are quoted in JSON.
                self.column.push(row, 0, out);
                if out.first() == Some(&b'"') {
                    out.remove(0);
                    out.pop();
                }
                Some(false)
            }
        }
    }
}
