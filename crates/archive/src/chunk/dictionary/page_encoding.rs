//! How the values of a leaf are written: as they are, or as places in a dictionary.

use std::ops::Range;

use parquet::basic::Encoding;

use super::column::LeafValues;
use super::compressor::Zstd;
use super::rle_bitpack;
use mpsync_core::error::Result;

/// Values that are encoded in each way to find the smallest, and the number of places from which they are taken.
const TRIAL_VALUES: usize = 1 << 12;
const TRIAL_PLACES: usize = 4;

/// Distinct values in their order.
pub(super) enum Sorted {
    /// Decimals.
    Decimals(Vec<i128>),
    /// Text, or bytes.
    Texts(Vec<Box<[u8]>>),
}

/// The values of a leaf, as they will be written.
pub(super) enum PageEncoding {
    /// As they are.
    Plain(Vec<i128>),
    /// As places in a sorted dictionary, in so many bits.
    Dictionary {
        sorted: Sorted,
        places: Vec<u32>,
        bits: u8,
    },
}

/// A dictionary as the chunk has it: how many values, their bytes, and these compressed.
pub(super) struct DictionaryPage {
    pub(super) entries: usize,
    pub(super) plain_bytes: usize,
    pub(super) compressed: Vec<u8>,
}

impl DictionaryPage {
    fn new(entries: usize, page: &[u8], zstd: &mut Zstd) -> Result<Self> {
        Ok(Self {
            entries,
            plain_bytes: page.len(),
            compressed: zstd.compressed(page)?,
        })
    }
}

/// How decimals lie in bytes: so many of them, the highest first.
#[derive(Clone, Copy)]
pub(super) struct DecimalWidth(pub(super) usize);

impl DecimalWidth {
    /// Returns a decimal as it is compared and written. The bytes that are cut off repeat the sign.
    fn bytes(self, value: i128) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0);
        self.push(value, &mut out);
        out
    }

    fn push(self, value: i128, out: &mut Vec<u8>) {
        let bytes = value.to_be_bytes();
        out.extend_from_slice(&bytes[bytes.len().saturating_sub(self.0)..]);
    }

    fn page<'a>(self, values: impl IntoIterator<Item = &'a i128>) -> Vec<u8> {
        let mut out = Vec::new();
        for value in values {
            self.push(*value, &mut out);
        }
        out
    }
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Decimals(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// Returns a value as it is compared.
    fn bytes(&self, place: usize, width: DecimalWidth) -> Vec<u8> {
        match self {
            Self::Decimals(values) => width.bytes(values[place]),
            Self::Texts(values) => values[place].to_vec(),
        }
    }
}

impl PageEncoding {
    /// Returns the encoding of these values, and the page of its dictionary: text always has one, as it came with one; decimals
    /// have one if that makes a sample of them smallest.
    pub(super) fn of(
        values: LeafValues,
        width: DecimalWidth,
        zstd: &mut Zstd,
    ) -> Result<(Self, Option<DictionaryPage>)> {
        let (sorted, places, bits, page) = match values {
            LeafValues::Plain(values) => return Ok((Self::Plain(values), None)),
            LeafValues::Texts(interner) => {
                let (sorted, places) = interner.into_sorted();
                let page = DictionaryPage::new(sorted.len(), &page_of_texts(&sorted), zstd)?;
                let bits = bits(sorted.len());
                (Sorted::Texts(sorted), places, bits, page)
            }
            LeafValues::Decimals(interner) => {
                let (sorted, places) = interner.into_sorted();
                let Some((bits, page)) = smallest(&sorted, &places, width, zstd)? else {
                    let value = |place: u32| sorted[place as usize];
                    let values = places.into_iter().map(value).collect();
                    return Ok((Self::Plain(values), None));
                };
                (Sorted::Decimals(sorted), places, bits, page)
            }
        };
        let page_encoding = Self::Dictionary {
            sorted,
            places,
            bits,
        };
        Ok((page_encoding, Some(page)))
    }

    /// Returns the encoding as Parquet names it.
    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Plain(_) => Encoding::PLAIN,
            Self::Dictionary { .. } => Encoding::RLE_DICTIONARY,
        }
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(values) => values.len(),
            Self::Dictionary { places, .. } => places.len(),
        }
    }

    /// Appends some of the values as a page has them.
    pub(super) fn push(&self, values: Range<usize>, width: DecimalWidth, out: &mut Vec<u8>) {
        match self {
            Self::Plain(all) => all[values].iter().for_each(|v| width.push(*v, out)),
            Self::Dictionary { places, bits, .. } => {
                out.push(*bits);
                rle_bitpack::encode(&places[values], *bits, out);
            }
        }
    }

    /// Returns the smallest and the largest of some of the values; `None` for no values.
    pub(super) fn bounds(&self, values: Range<usize>) -> Option<(i128, i128)> {
        fn both<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
            Some((*values.iter().min()?, *values.iter().max()?))
        }
        match self {
            Self::Plain(all) => both(&all[values]),
            Self::Dictionary { places, .. } => {
                both(&places[values]).map(|(min, max)| (min.into(), max.into()))
            }
        }
    }

    /// Returns a bound as statistics have it.
    pub(super) fn bound_bytes(&self, bound: i128, width: DecimalWidth) -> Vec<u8> {
        match self {
            Self::Plain(_) => width.bytes(bound),
            Self::Dictionary { sorted, .. } => usize::try_from(bound)
                .map_or_else(|_| Vec::new(), |place| sorted.bytes(place, width)),
        }
    }
}

/// Returns the bits for a dictionary that makes a sample of the values smallest, and its page; `None` if they are smaller without
/// one. Bits are rounded up to bytes if that helps zstd to find repetitions.
fn smallest(
    sorted: &[i128],
    places: &[u32],
    width: DecimalWidth,
    zstd: &mut Zstd,
) -> Result<Option<(u8, DictionaryPage)>> {
    let trial: Vec<u32> = stretches(places.len())
        .flat_map(|stretch| places[stretch].iter().copied())
        .collect();
    let mut packed = |bits: u8| -> Result<(usize, u8)> {
        let mut out = Vec::new();
        rle_bitpack::encode(&trial, bits, &mut out);
        Ok((zstd.compressed(&out)?.len(), bits))
    };
    let few = bits(sorted.len());
    let (values, bits) = packed(few)?.min(packed(few.next_multiple_of(8))?);
    let page = DictionaryPage::new(sorted.len(), &width.page(sorted), zstd)?;
    // The dictionary serves all values, and the trial has its share in it.
    let share = page.compressed.len() * trial.len() / places.len().max(1);
    let as_is = width.page(trial.iter().map(|place| &sorted[*place as usize]));
    let as_is = zstd.compressed(&as_is)?.len();
    Ok((values + share <= as_is).then_some((bits, page)))
}

/// Texts in the encoding PLAIN, each with its length.
fn page_of_texts(texts: &[Box<[u8]>]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        // A text of 4 GiB does not fit into a batch.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text);
    }
    out
}

/// Returns the bits of an index among so many.
fn bits(count: usize) -> u8 {
    rle_bitpack::bits(u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX))
}

/// Returns the ranges of the sample: rows are sorted, so that the first are not like the rest.
fn stretches(values: usize) -> impl Iterator<Item = Range<usize>> {
    let step = values.div_ceil(TRIAL_PLACES).max(1);
    (0..values)
        .step_by(step)
        .map(move |start| start..(start + TRIAL_VALUES.min(step)).min(values))
}
