//! For each column the sum of its values' hashes: does not depend on the order of the rows, adds up over generations, and
//! names the column in which two sets of rows differ. Pure.
//!
//! A value's hash is XXH3 (64 bits, seed 0) of its bytes: little-endian for numbers, times and decimals at the width in which
//! they are stored, one byte for a Bool, the bytes of a text. A tuple is hashed over the hashes of its elements, an array or
//! map over those of its items, each as eight bytes. A NULL has a hash of its own. Sums are modulo 2^64.

use std::collections::BTreeMap;

use arrow::array::{AnyDictionaryArray, Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::DataType;
use twox_hash::XxHash3_64;

use crate::chunk::parquet_schema::{ParquetSchema, Unstorable};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::HashedColumn;

/// The hash of a NULL: the digits of the golden ratio.
const NULL_HASH: u64 = 0x9E37_79B9_7F4A_7C15;

/// The checksums of some columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnSums(BTreeMap<String, u64>);

impl ColumnSums {
    /// Adds the rows of a batch.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            self.add_sum(field.name(), sum(column)?);
        }
        Ok(())
    }

    /// Adds the rows of a batch as a server sends it, with these ClickHouse types, converted as they would be stored.
    pub fn add_sent(&mut self, batch: &RecordBatch, columns: &[HashedColumn]) -> Result<()> {
        let mut schema = ParquetSchema::new(&batch.schema(), columns)?;
        loop {
            match schema.convert(batch) {
                Ok(stored) => return self.add(&stored),
                // A text has the same hash as its bytes.
                Err(Unstorable::NotText(column)) => schema.give_up_text(column),
                Err(Unstorable::Wrong(e)) => return Err(e),
            }
        }
    }

    /// Adds a result of [`sum`] for some rows of a column.
    pub(crate) fn add_sum(&mut self, column: &str, sum: u64) {
        match self.0.get_mut(column) {
            Some(all) => *all = all.wrapping_add(sum),
            None => {
                self.0.insert(column.to_owned(), sum);
            }
        }
    }

    /// Returns the sums as a manifest has them: 16 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> BTreeMap<String, String> {
        let text = |(name, sum): (&String, &u64)| (name.clone(), format!("{sum:016x}"));
        self.0.iter().map(text).collect()
    }

    /// Adds the sums of a manifest; returns `false` if it has none, or one that is not a number.
    pub fn add_hex(&mut self, sums: &BTreeMap<String, String>) -> bool {
        let mut read = Vec::with_capacity(sums.len());
        for (name, text) in sums {
            match u64::from_str_radix(text, 16) {
                Ok(sum) => read.push((name, sum)),
                Err(_) => return false,
            }
        }
        for (name, sum) in &read {
            self.add_sum(name, *sum);
        }
        !read.is_empty()
    }

    /// Returns those of these columns whose sums differ.
    #[must_use]
    pub fn differences(&self, other: &Self, columns: &[HashedColumn]) -> Vec<String> {
        let names = columns.iter().map(|column| &column.name);
        names
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .cloned()
            .collect()
    }
}

/// Returns the sum of the hashes of a column's values.
pub(crate) fn sum(column: &ArrayRef) -> Result<u64> {
    if let DataType::Dictionary(..) = column.data_type() {
        return sum_of_dictionary(column);
    }
    let mut all = 0_u64;
    each_hash(column, &mut |hash| all = all.wrapping_add(hash))?;
    Ok(all)
}

/// Hashes each value of a dictionary once, however often it occurs.
fn sum_of_dictionary(column: &ArrayRef) -> Result<u64> {
    let dictionary = column.as_any_dictionary();
    let values = hashes(dictionary.values())?;
    let keys = keys_of(dictionary);
    let hash = |(row, key): (usize, usize)| match column.is_null(row) {
        true => NULL_HASH,
        false => values.get(key).copied().unwrap_or(NULL_HASH),
    };
    let all = keys.into_iter().enumerate().map(hash);
    Ok(all.fold(0, u64::wrapping_add))
}

/// Returns for each row the index of its value, and any number for a NULL.
pub(crate) fn keys_of(dictionary: &dyn AnyDictionaryArray) -> Vec<usize> {
    match dictionary.values().is_empty() {
        // Arrow refuses an empty dictionary, though rows that are all NULL are valid.
        true => vec![0; dictionary.len()],
        false => dictionary.normalized_keys(),
    }
}

fn hashes(column: &ArrayRef) -> Result<Vec<u64>> {
    let mut all = Vec::with_capacity(column.len());
    each_hash(column, &mut |hash| all.push(hash))?;
    Ok(all)
}

/// Passes on the hash of each row's value, in order.
fn each_hash(column: &ArrayRef, take: &mut impl FnMut(u64)) -> Result<()> {
    match column.data_type() {
        DataType::Utf8 => of_bytes(column.as_string::<i32>().iter(), take),
        DataType::LargeUtf8 => of_bytes(column.as_string::<i64>().iter(), take),
        DataType::Utf8View => of_bytes(column.as_string_view().iter(), take),
        DataType::Binary => of_bytes(column.as_binary::<i32>().iter(), take),
        DataType::LargeBinary => of_bytes(column.as_binary::<i64>().iter(), take),
        DataType::BinaryView => of_bytes(column.as_binary_view().iter(), take),
        DataType::FixedSizeBinary(_) => {
            of_bytes(column.as_fixed_size_binary().iter(), take);
        }
        DataType::Boolean => {
            for value in column.as_boolean() {
                take(value.map_or(NULL_HASH, |b| XxHash3_64::oneshot(&[u8::from(b)])));
            }
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let values = hashes(dictionary.values())?;
            for (row, key) in keys_of(dictionary).into_iter().enumerate() {
                let hash = values.get(key).copied().unwrap_or(NULL_HASH);
                take(if column.is_null(row) { NULL_HASH } else { hash });
            }
        }
        DataType::Struct(_) => of_struct(column, take)?,
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            of_items(column, list.values(), list.value_offsets(), take)?;
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            of_items(column, list.values(), list.value_offsets(), take)?;
        }
        DataType::Map(..) => {
            let map = column.as_map();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            of_items(column, &entries, map.value_offsets(), take)?;
        }
        other => match other.primitive_width() {
            Some(width) => of_fixed(column, width, take),
            None => {
                return Err(Error::schema(format!(
                    "a column of type {other} has no checksum"
                )));
            }
        },
    }
    Ok(())
}

fn of_bytes<'a, T: AsRef<[u8]> + ?Sized + 'a>(
    values: impl Iterator<Item = Option<&'a T>>,
    take: &mut impl FnMut(u64),
) {
    for value in values {
        take(value.map_or(NULL_HASH, |bytes| XxHash3_64::oneshot(bytes.as_ref())));
    }
}

/// Hashes numbers, times and decimals: their bytes in memory, which are little-endian on all platforms of Arrow.
fn of_fixed(column: &ArrayRef, width: usize, take: &mut impl FnMut(u64)) {
    let data = column.to_data();
    let Some(buffer) = data.buffers().first() else {
        return;
    };
    let bytes = &buffer.as_slice()[data.offset() * width..];
    for (row, value) in bytes.chunks_exact(width).take(column.len()).enumerate() {
        take(match column.is_null(row) {
            true => NULL_HASH,
            false => XxHash3_64::oneshot(value),
        });
    }
}

fn of_struct(column: &ArrayRef, take: &mut impl FnMut(u64)) -> Result<()> {
    let elements = column.as_struct().columns();
    let elements = elements.iter().map(hashes).collect::<Result<Vec<_>>>()?;
    let mut bytes = Vec::with_capacity(elements.len() * size_of::<u64>());
    for row in 0..column.len() {
        bytes.clear();
        for element in &elements {
            bytes.extend_from_slice(&element[row].to_le_bytes());
        }
        take(match column.is_null(row) {
            true => NULL_HASH,
            false => XxHash3_64::oneshot(&bytes),
        });
    }
    Ok(())
}

fn of_items<O: arrow::array::OffsetSizeTrait>(
    column: &ArrayRef,
    items: &ArrayRef,
    offsets: &[O],
    take: &mut impl FnMut(u64),
) -> Result<()> {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
        return Ok(());
    };
    // A slice of a list has the items of the whole: only those of the slice are hashed.
    let (first, last) = (first.as_usize(), last.as_usize());
    let hashes = hashes(&items.slice(first, last - first))?;
    let mut bytes = Vec::new();
    for (row, ends) in offsets.windows(2).enumerate() {
        bytes.clear();
        for hash in &hashes[ends[0].as_usize() - first..ends[1].as_usize() - first] {
            bytes.extend_from_slice(&hash.to_le_bytes());
        }
        take(match column.is_null(row) {
            true => NULL_HASH,
            false => XxHash3_64::oneshot(&bytes),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Decimal128Array, DictionaryArray, Int64Array, ListArray, StringArray,
        StructArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::compute::take_record_batch;
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    fn rows() -> RecordBatch {
        let prices: ArrayRef = Arc::new(Decimal128Array::from(vec![1, 2, 3, 4, 5]));
        let quantities: ArrayRef = Arc::new(Int64Array::from(vec![9, 8, 7, 6, 5]));
        let levels = StructArray::from(vec![
            (
                Arc::new(Field::new("p", prices.data_type().clone(), false)),
                prices,
            ),
            (
                Arc::new(Field::new("q", DataType::Int64, false)),
                quantities,
            ),
        ]);
        let item = Arc::new(Field::new("item", levels.data_type().clone(), false));
        let books = ListArray::new(
            item,
            OffsetBuffer::from_lengths([2, 0, 3]),
            Arc::new(levels),
            None,
        );
        let sides: DictionaryArray<Int32Type> =
            [Some("buy"), None, Some("sell")].into_iter().collect();
        RecordBatch::try_from_iter([
            (
                "id",
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef,
            ),
            ("side", Arc::new(sides)),
            ("bids", Arc::new(books)),
        ])
        .unwrap()
    }

    fn sums(batches: &[RecordBatch]) -> ColumnSums {
        let mut sums = ColumnSums::default();
        for batch in batches {
            sums.add(batch).unwrap();
        }
        sums
    }

    #[test]
    fn the_order_and_the_cut_of_rows_do_not_matter() {
        let all = rows();
        let turned = take_record_batch(&all, &arrow::array::UInt32Array::from(vec![2, 0, 1]));
        let expected = sums(std::slice::from_ref(&all));
        assert_eq!(sums(&[turned.unwrap()]), expected);
        assert_eq!(sums(&[all.slice(2, 1), all.slice(0, 2)]), expected);
        let mut read = ColumnSums::default();
        assert!(read.add_hex(&expected.to_hex()));
        assert_eq!(read, expected);
        assert!(!ColumnSums::default().add_hex(&BTreeMap::new()));
    }

    #[test]
    fn the_column_that_differs_is_named() {
        let all = rows();
        let mut columns = all.columns().to_vec();
        columns[1] = Arc::new(StringArray::from(vec![Some("buy"), Some(""), Some("sell")]));
        columns[0] = Arc::new(Int64Array::from(vec![1, 0, 3]));
        let names = ["id", "side", "bids"];
        let other = RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap();
        let columns = names.map(|name| HashedColumn {
            name: name.into(),
            type_name: String::new(),
        });
        let differences = sums(&[all]).differences(&sums(&[other]), &columns);
        assert_eq!(differences, ["id", "side"]);
    }

    #[test]
    fn how_a_text_is_held_does_not_matter() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a"]));
        let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"a", b"b", b"a"]));
        let dictionary: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        let dictionary: ArrayRef = Arc::new(dictionary);
        assert_eq!(sum(&text).unwrap(), sum(&bytes).unwrap());
        assert_eq!(sum(&text).unwrap(), sum(&dictionary).unwrap());
    }

    #[test]
    fn a_dictionary_of_nothing_holds_nulls() {
        let nothing: [Option<&str>; 2] = [None, None];
        let texts: ArrayRef = Arc::new(nothing.iter().collect::<StringArray>());
        let dictionary: DictionaryArray<Int32Type> = nothing.into_iter().collect();
        let dictionary: ArrayRef = Arc::new(dictionary);
        assert_eq!(sum(&texts).unwrap(), sum(&dictionary).unwrap());
    }

    #[test]
    fn levels_that_change_places_between_rows_are_seen() {
        let lists = |lengths: [usize; 2]| -> ArrayRef {
            let item = Arc::new(Field::new("item", DataType::Int64, false));
            let items = Arc::new(Int64Array::from(vec![1, 1, 1]));
            Arc::new(ListArray::new(
                item,
                OffsetBuffer::from_lengths(lengths),
                items,
                None,
            ))
        };
        assert_ne!(sum(&lists([1, 2])).unwrap(), sum(&lists([0, 3])).unwrap());
    }
}
