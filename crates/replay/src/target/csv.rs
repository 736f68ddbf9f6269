//! Rows as CSV: a line of names, then a line for each row.
//!
//! Numbers have all their digits and no exponent, times are RFC 3339, lists and tuples JSON. NULL is
//! empty, an empty text is `""`.

use std::io::Write as _;

use arrow::array::RecordBatch;

use super::out_file::OutFile;
use crate::message::PlainColumn;
use mpsync_core::error::{Context as _, Error, Result};

#[derive(Debug)]
pub(crate) struct CsvWriter {
    out: OutFile,
    names: Option<Vec<String>>,
    /// Whether the file has its line of names.
    has_names: bool,
    text: Vec<u8>,
    cell: Vec<u8>,
}

impl CsvWriter {
    pub(crate) fn new(out: OutFile) -> Self {
        Self {
            out,
            names: None,
            has_names: false,
            text: Vec::new(),
            cell: Vec::new(),
        }
    }

    pub(crate) fn resume(&mut self, bytes: u64) -> Result<()> {
        self.has_names = bytes > 0;
        self.out.resume(bytes)
    }

    pub(crate) fn sync(&mut self) -> Result<Option<u64>> {
        self.out.sync()
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema();
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        self.text.clear();
        if !self.has_names {
            for (at, name) in names.iter().enumerate() {
                comma(at, &mut self.text);
                push_cell(name.as_bytes(), true, &mut self.text);
            }
            self.text.push(b'\n');
            self.has_names = true;
        }
        match &self.names {
            Some(known) if *known != names => {
                return Err(Error::schema(
                    "the columns of the archive change here, and a file has one line of names",
                )
                .with_hint(
                    "stop the replay before this point with --to and start a second file there",
                ));
            }
            _ => self.names = Some(names),
        }
        let columns = batch
            .columns()
            .iter()
            .map(PlainColumn::new)
            .collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            for (at, column) in columns.iter().enumerate() {
                comma(at, &mut self.text);
                self.cell.clear();
                if let Some(is_text) = column.push(row, &mut self.cell) {
                    push_cell(&self.cell, is_text, &mut self.text);
                }
            }
            self.text.push(b'\n');
        }
        let written = self.out.write_all(&self.text);
        written.context(|| self.out.context())
    }
}

fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

fn push_cell(cell: &[u8], is_text: bool, out: &mut Vec<u8>) {
    let is_special = |b: &u8| matches!(b, b'"' | b',' | b'\n' | b'\r');
    if !(cell.iter().any(is_special) || is_text && cell.is_empty()) {
        return out.extend_from_slice(cell);
    }
    out.push(b'"');
    for &byte in cell {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_only_if_needed_and_empty_text_is_not_null() {
        for (cell, is_text, expected) in [
            ("BTC-USDT", true, "BTC-USDT"),
            ("a\"b,c\n", true, "\"a\"\"b,c\n\""),
            ("", true, "\"\""),
            ("1.5", false, "1.5"),
        ] {
            let mut out = Vec::new();
            push_cell(cell.as_bytes(), is_text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
