//! How the values of a leaf are written: as they are, or as places in a dictionary.

use std::ops::Range;

use parquet::basic::Encoding;

use super::pages::Zstd;
use super::{Values, hybrid};
use crate::error::Result;

/// Values that are encoded in each way to see which is smallest, from so many places.
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
pub(super) enum Coding {
    /// As they are.
    Plain(Vec<i128>),
    /// As places in a sorted dictionary, in so many bits.
    Dictionary {
        sorted: Sorted,
        places: Vec<u32>,
        bits: u8,
    },
}

/// Writes values in the encoding PLAIN.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    /// Bytes of a decimal.
    pub(super) width: usize,
}

impl Plain {
    /// A decimal as it is compared and written: so many bytes, the highest first.
    pub(super) fn decimal(self, value: i128) -> impl AsRef<[u8]> {
        let bytes = value.to_be_bytes();
        bytes[bytes.len().saturating_sub(self.width)..].to_vec()
    }

    fn push_decimal(self, value: i128, out: &mut Vec<u8>) {
        let bytes = value.to_be_bytes();
        out.extend_from_slice(&bytes[bytes.len().saturating_sub(self.width)..]);
    }
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Decimals(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// A value as it is compared.
    pub(super) fn bytes(&self, place: usize, plain: Plain) -> Vec<u8> {
        match self {
            Self::Decimals(values) => plain.decimal(values[place]).as_ref().to_vec(),
            Self::Texts(values) => values[place].to_vec(),
        }
    }

    /// All of them in the encoding PLAIN: a dictionary page.
    pub(super) fn page(&self, plain: Plain) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Decimals(values) => values.iter().for_each(|v| plain.push_decimal(*v, &mut out)),
            Self::Texts(values) => {
                for text in values {
                    // A text of 4 GiB does not fit into a batch.
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    out.extend_from_slice(&length.to_le_bytes());
                    out.extend_from_slice(text);
                }
            }
        }
        out
    }
}

impl Coding {
    /// The coding of these values: text always has a dictionary, as it came with one; decimals have what makes some of them
    /// smallest. Bits are filled up to bytes where that helps zstd to find what repeats.
    pub(super) fn of(values: Values, plain: Plain, zstd: &mut Zstd) -> Result<Self> {
        let numbered = match values {
            Values::Plain(values) => return Ok(Self::Plain(values)),
            Values::Texts(numbered) => {
                let (sorted, places) = numbered.into_sorted();
                let bits = bits(sorted.len());
                let sorted = Sorted::Texts(sorted);
                return Ok(Self::Dictionary {
                    sorted,
                    places,
                    bits,
                });
            }
            Values::Decimals(numbered) => numbered,
        };
        let (sorted, places) = numbered.into_sorted();
        let few = bits(sorted.len());
        let whole = few.next_multiple_of(8);
        let trial: Vec<u32> = stretches(places.len())
            .flat_map(|stretch| places[stretch].iter().copied())
            .collect();
        let mut as_is = Vec::new();
        for place in &trial {
            plain.push_decimal(sorted[*place as usize], &mut as_is);
        }
        let as_is = zstd.compressed(&as_is)?.len();
        let mut packed = |bits| {
            let mut out = Vec::new();
            hybrid::encode(&trial, bits, &mut out);
            zstd.compressed(&out).map(|out| out.len())
        };
        let (few, whole) = ((packed(few)?, few), (packed(whole)?, whole));
        let (smallest, bits) = few.min(whole);
        let sorted = Sorted::Decimals(sorted);
        let dictionary = zstd.compressed(&sorted.page(plain))?.len();
        if smallest + dictionary * trial.len() / places.len().max(1) <= as_is {
            return Ok(Self::Dictionary {
                sorted,
                places,
                bits,
            });
        }
        let Sorted::Decimals(sorted) = sorted else {
            return Ok(Self::Plain(Vec::new()));
        };
        let values = places.into_iter().map(|place| sorted[place as usize]);
        Ok(Self::Plain(values.collect()))
    }

    /// The encoding as Parquet names it.
    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Plain(_) => Encoding::PLAIN,
            Self::Dictionary { .. } => Encoding::RLE_DICTIONARY,
        }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(values) => values.len(),
            Self::Dictionary { places, .. } => places.len(),
        }
    }

    /// Appends some of the values as a page has them.
    pub(super) fn push(&self, values: Range<usize>, plain: Plain, out: &mut Vec<u8>) {
        match self {
            Self::Plain(all) => all[values].iter().for_each(|v| plain.push_decimal(*v, out)),
            Self::Dictionary { places, bits, .. } => {
                out.push(*bits);
                hybrid::encode(&places[values], *bits, out);
            }
        }
    }

    /// The smallest and the largest of some of the values; `None` for none.
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

    /// A bound as statistics have it.
    pub(super) fn bound_bytes(&self, bound: i128, plain: Plain) -> Vec<u8> {
        match self {
            Self::Plain(_) => plain.decimal(bound).as_ref().to_vec(),
            Self::Dictionary { sorted, .. } => usize::try_from(bound)
                .map_or_else(|_| Vec::new(), |place| sorted.bytes(place, plain)),
        }
    }
}

/// The bits of a place among so many.
fn bits(count: usize) -> u8 {
    hybrid::bits(u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX))
}

/// Where the values are that are tried: rows lie in order, so that the first are not like the rest.
fn stretches(values: usize) -> impl Iterator<Item = Range<usize>> {
    let step = values.div_ceil(TRIAL_PLACES).max(1);
    (0..values)
        .step_by(step)
        .map(move |start| start..(start + TRIAL_VALUES.min(step)).min(values))
}
