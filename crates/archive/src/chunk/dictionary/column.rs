//! One leaf column of a row group, from Arrow values to interned numbers.

use arrow::array::{Array as _, ArrayRef, AsArray as _, Decimal128Array};
use arrow::datatypes::{ArrowNativeType as _, DataType, Decimal128Type, Field};
use parquet::basic::Type as Physical;
use parquet::schema::types::ColumnDescPtr;

use super::interner::Interner;
use super::rle_bitpack;
use crate::chunk::column_sums::keys_of;
use mpsync_core::error::{Error, Result};

/// Decimals of so many digits are plain numbers in Parquet.
const NUMBER_DIGITS: u8 = 18;
/// Decimals of more distinct values than this are written as they are: a dictionary page of 1 MiB, as other writers have it,
/// and no more memory for their numbers than the values themselves take.
pub(super) const MAX_DISTINCT: usize = 1 << 16;

/// How the values of a leaf are distributed over its rows.
#[derive(Debug)]
pub(super) enum Shape {
    /// One in each.
    Required,
    /// One in some: those that are `true`.
    Optional(Vec<bool>),
    /// So many in each, as the element of this index of a tuple, or bare.
    Listed {
        lengths: Vec<u32>,
        element: Option<usize>,
    },
}

/// The values of a leaf so far.
#[derive(Debug)]
pub(super) enum LeafValues {
    /// Decimals that repeat.
    Decimals(Interner<i128>),
    /// Decimals that hardly do.
    Plain(Vec<i128>),
    /// Text, or bytes.
    Texts(Interner<Box<[u8]>>),
}

/// One leaf of a row group in the making.
#[derive(Debug)]
pub(crate) struct DictionaryColumn {
    pub(super) leaf: ColumnDescPtr,
    pub(super) shape: Shape,
    pub(super) values: LeafValues,
    pub(super) rows: usize,
}

/// Returns the leaves of a field if all of them are encoded here; `leaves` are the descriptions of its leaves.
pub(crate) fn columns(field: &Field, leaves: &[ColumnDescPtr]) -> Option<Vec<DictionaryColumn>> {
    let flat = || match field.is_nullable() {
        true => Shape::Optional(Vec::new()),
        false => Shape::Required,
    };
    let listed = |element| Shape::Listed {
        lengths: Vec::new(),
        element,
    };
    let shapes = match field.data_type() {
        DataType::List(item) if !field.is_nullable() && !item.is_nullable() => {
            match item.data_type() {
                DataType::Struct(fields) if fields.iter().all(|f| is_wide_decimal(f)) => {
                    (0..fields.len()).map(|n| listed(Some(n))).collect()
                }
                _ if is_wide_decimal(item) => vec![listed(None)],
                _ => return None,
            }
        }
        DataType::Decimal128(digits, _) if *digits > NUMBER_DIGITS => vec![flat()],
        DataType::Dictionary(_, values) if is_text(values) => vec![flat()],
        _ => return None,
    };
    let column = |(shape, leaf): (Shape, &ColumnDescPtr)| {
        let values = match leaf.physical_type() {
            Physical::FIXED_LEN_BYTE_ARRAY => LeafValues::Decimals(Interner::default()),
            Physical::BYTE_ARRAY => LeafValues::Texts(Interner::default()),
            _ => return None,
        };
        Some(DictionaryColumn {
            leaf: ColumnDescPtr::clone(leaf),
            shape,
            values,
            rows: 0,
        })
    };
    if shapes.len() != leaves.len() {
        return None;
    }
    shapes.into_iter().zip(leaves).map(column).collect()
}

/// Returns whether a field is a decimal that Parquet holds in bytes, and that is never NULL.
fn is_wide_decimal(field: &Field) -> bool {
    let wide =
        matches!(field.data_type(), DataType::Decimal128(digits, _) if *digits > NUMBER_DIGITS);
    wide && !field.is_nullable()
}

fn is_text(values: &DataType) -> bool {
    use DataType::{Binary, LargeBinary, LargeUtf8, Utf8};
    matches!(values, Utf8 | LargeUtf8 | Binary | LargeBinary)
}

impl DictionaryColumn {
    /// Takes the leaf's values of further rows of its field.
    pub(crate) fn write(&mut self, column: &ArrayRef) -> Result<()> {
        self.rows += column.len();
        match &mut self.shape {
            Shape::Required => self.accept(column),
            Shape::Optional(present) => {
                let nulls = column.logical_nulls();
                match &nulls {
                    Some(nulls) => present.extend(nulls.iter()),
                    None => present.resize(self.rows, true),
                }
                self.accept(column)
            }
            Shape::Listed { lengths, element } => {
                let list = column.as_list::<i32>();
                if list.null_count() > 0 {
                    return Err(self.unexpected("a list that is NULL"));
                }
                let ends = list.value_offsets();
                lengths.extend(
                    ends.windows(2)
                        .map(|pair| (pair[1] - pair[0]).unsigned_abs()),
                );
                let (start, end) = (ends[0].as_usize(), ends[list.len()].as_usize());
                let values = list.values().slice(start, end - start);
                let values = match element {
                    Some(element) => ArrayRef::clone(values.as_struct().column(*element)),
                    None => values,
                };
                if values.null_count() > 0 {
                    return Err(self.unexpected("a NULL within a list"));
                }
                self.accept(&values)
            }
        }
    }

    /// Returns the estimated bytes when it is encoded.
    pub(crate) fn estimated_bytes(&self) -> usize {
        let packed = |values: usize, distinct: usize| {
            let bits = rle_bitpack::bits(u32::try_from(distinct).unwrap_or(u32::MAX));
            values * usize::from(bits) / 8
        };
        match &self.values {
            LeafValues::Decimals(interner) => packed(interner.len(), interner.distinct()),
            LeafValues::Texts(interner) => packed(interner.len(), interner.distinct()),
            // Half of the bytes of a wide decimal are zeros that compress to nothing.
            LeafValues::Plain(values) => size_of_val(values.as_slice()) / 2,
        }
    }

    /// Takes the values that are not NULL, in order.
    fn accept(&mut self, values: &ArrayRef) -> Result<()> {
        match &mut self.values {
            LeafValues::Texts(interner) => {
                if accept_texts(interner, values).is_none() {
                    return Err(self.unexpected(values.data_type()));
                }
            }
            LeafValues::Decimals(interner) => {
                let Some(decimals) = values.as_primitive_opt::<Decimal128Type>() else {
                    return Err(self.unexpected(values.data_type()));
                };
                accept_decimals(interner, decimals);
                if interner.distinct() > MAX_DISTINCT {
                    self.values = LeafValues::Plain(interner.values().copied().collect());
                }
            }
            LeafValues::Plain(plain) => {
                let Some(decimals) = values.as_primitive_opt::<Decimal128Type>() else {
                    return Err(self.unexpected(values.data_type()));
                };
                match decimals.null_count() {
                    0 => plain.extend_from_slice(decimals.values()),
                    _ => plain.extend(decimals.iter().flatten()),
                }
            }
        }
        Ok(())
    }

    fn unexpected(&self, what: impl std::fmt::Display) -> Error {
        Error::malformed(format!("{what} came for the column {}", self.leaf.path()))
    }
}

fn accept_decimals(interner: &mut Interner<i128>, decimals: &Decimal128Array) {
    let mut last = None;
    let mut push = |value: i128| {
        let number = match last {
            // Ticks repeat: the last number is at hand.
            Some((known, number)) if known == value => number,
            _ => interner.number(value),
        };
        last = Some((value, number));
        interner.push(number);
    };
    match decimals.null_count() {
        0 => decimals.values().iter().for_each(|value| push(*value)),
        _ => decimals.iter().flatten().for_each(push),
    }
}

/// Takes texts; `None` if the array is not a dictionary of text.
fn accept_texts(interner: &mut Interner<Box<[u8]>>, values: &ArrayRef) -> Option<()> {
    let dictionary = values.as_any_dictionary_opt()?;
    let texts = dictionary.values();
    let text = |key: usize| -> Option<Box<[u8]>> {
        Some(match texts.data_type() {
            DataType::Utf8 => texts.as_string::<i32>().value(key).as_bytes().into(),
            DataType::LargeUtf8 => texts.as_string::<i64>().value(key).as_bytes().into(),
            DataType::Binary => texts.as_binary::<i32>().value(key).into(),
            DataType::LargeBinary => texts.as_binary::<i64>().value(key).into(),
            _ => return None,
        })
    };
    // Each entry that is used is looked up once.
    let mut known = vec![None; texts.len()];
    let nulls = values.logical_nulls();
    for (row, key) in keys_of(dictionary).into_iter().enumerate() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            continue;
        }
        let number = match known[key] {
            Some(number) => number,
            None => *known[key].insert(interner.number(text(key)?)),
        };
        interner.push(number);
    }
    Some(())
}
