//! Columns of strings, plain or as a dictionary.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};

use super::buffers::{elements, offset, renew};
use super::fault::Fault;
use super::interner::Interner;
use mpsync_core::error::Result;

/// Strings, one after the other.
#[derive(Debug)]
pub(super) struct Text {
    arena: String,
    offsets: Vec<i32>,
}

impl Text {
    pub(super) fn new() -> Self {
        Self {
            arena: String::new(),
            offsets: vec![0],
        }
    }

    #[inline]
    pub(super) fn push(&mut self, text: &str) -> Result<(), Fault> {
        self.arena.push_str(text);
        self.offsets.push(offset(self.arena.len())?);
        Ok(())
    }

    pub(super) fn push_empty(&mut self) {
        self.offsets.extend_from_within(self.offsets.len() - 1..);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.arena.truncate(elements(&self.offsets));
    }

    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + size_of_val(&self.offsets[..])
    }

    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let room = String::with_capacity(self.arena.len());
        let bytes = Buffer::from_vec(std::mem::replace(&mut self.arena, room).into_bytes());
        Ok(Arc::new(StringArray::try_new(offsets, bytes, nulls)?))
    }
}

/// Strings of few distinct values.
#[derive(Debug)]
pub(super) struct Dictionary {
    pub keys: Vec<i32>,
    distinct: Interner,
    /// For each distinct value the row that brought it, so that it goes when the row goes.
    first_rows: Vec<usize>,
    /// The key of the last value: neighbours are often the same.
    last: usize,
}

impl Dictionary {
    pub(super) fn new() -> Self {
        Self {
            keys: Vec::new(),
            distinct: Interner::new(),
            first_rows: Vec::new(),
            last: 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, text: &str) {
        if self.last >= self.distinct.len() || self.distinct.text(self.last) != text {
            self.last = self.distinct.intern(text);
            if self.distinct.len() > self.first_rows.len() {
                self.first_rows.push(self.keys.len());
            }
        }
        self.keys.push(i32::try_from(self.last).unwrap_or(i32::MAX));
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.keys.truncate(rows);
        let kept = self.first_rows.partition_point(|&row| row < rows);
        self.first_rows.truncate(kept);
        self.distinct.truncate(kept);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.keys[..]) + size_of_val(&self.first_rows[..]) + self.distinct.bytes()
    }

    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        // A key of NULL may point nowhere only as long as there is something to point to.
        if self.distinct.len() == 0 && !self.keys.is_empty() {
            self.distinct.intern("");
        }
        let distinct = StringArray::from_iter_values(self.distinct.texts());
        self.distinct.truncate(0);
        self.first_rows.clear();
        let keys = Int32Array::try_new(renew(&mut self.keys).into(), nulls)?;
        Ok(Arc::new(DictionaryArray::try_new(
            keys,
            Arc::new(distinct),
        )?))
    }
}
