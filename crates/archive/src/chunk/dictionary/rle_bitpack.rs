//! Parquet's hybrid of run lengths and bit packing, in which levels and dictionary indices are written
//! (<https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>). Pure.

/// Values are packed in groups of so many; a shorter run is not worth a header of its own.
const GROUP: usize = 8;

/// Returns how many bits the values up to this one need.
pub(super) fn bits(max: u32) -> u8 {
    // At most 32.
    u8::try_from(u32::BITS - max.leading_zeros()).unwrap_or(32)
}

/// Appends the values, each of at most `width` bits.
pub(super) fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let (mut packed, mut at) = (0, 0);
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|v| **v == value).count();
        // Only the last group may be filled up, so the group before a run takes what it lacks from it.
        let lacking = (at - packed).next_multiple_of(GROUP) - (at - packed);
        if run >= GROUP + lacking {
            pack(&values[packed..at + lacking], width, out);
            repeat(value, run - lacking, width, out);
            packed = at + run;
        }
        at += run;
    }
    pack(&values[packed..], width, out);
}

/// Appends a run of one value.
fn repeat(value: u32, times: usize, width: u8, out: &mut Vec<u8>) {
    varint(times << 1, out);
    let bytes = usize::from(width.div_ceil(8));
    out.extend_from_slice(&value.to_le_bytes()[..bytes]);
}

/// Appends values bit by bit, the lowest bit first, padded with zeros to a whole group.
fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    varint((groups << 1) | 1, out);
    let end = out.len() + groups * usize::from(width);
    let (mut waiting, mut filled) = (0_u64, 0_u32);
    for value in values {
        waiting |= u64::from(*value) << filled;
        filled += u32::from(width);
        if filled >= u32::BITS {
            let (low, high) = (waiting & u64::from(u32::MAX), waiting >> u32::BITS);
            out.extend_from_slice(&low.to_le_bytes()[..4]);
            (waiting, filled) = (high, filled - u32::BITS);
        }
    }
    let bytes = filled.div_ceil(8) as usize;
    out.extend_from_slice(&waiting.to_le_bytes()[..bytes]);
    out.resize(end, 0);
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    let low = |value: usize| value.to_le_bytes()[0];
    while value >= 0x80 {
        out.push(low(value) | 0x80);
        value >>= 7;
    }
    out.push(low(value));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes bytes as the format's description says.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut header, mut shift) = (0_usize, 0);
            loop {
                let (byte, rest) = bytes.split_first().unwrap();
                bytes = rest;
                header |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if header & 1 == 0 {
                let (value, rest) = bytes.split_at(usize::from(width.div_ceil(8)));
                bytes = rest;
                let value = value.iter().rev().fold(0, |v, b| v << 8 | u32::from(*b));
                values.extend(std::iter::repeat_n(value, header >> 1));
            } else {
                let (packed, rest) = bytes.split_at((header >> 1) * usize::from(width));
                bytes = rest;
                let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
                values.extend((0..(header >> 1) * GROUP).map(|n| {
                    let first = n * usize::from(width);
                    (0..usize::from(width)).fold(0, |v, i| v | bit(first + i) << i)
                }));
            }
        }
        assert!(bytes.is_empty());
        values.truncate(count);
        values
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_again(
            runs in prop::collection::vec((any::<u32>(), 1_usize..40), 0..40),
            width in 0_u8..=32,
        ) {
            let limit = u32::try_from((1_u64 << width) - 1).unwrap();
            let values: Vec<u32> = runs
                .iter()
                .flat_map(|(value, times)| std::iter::repeat_n(value & limit, *times % 20 + 1))
                .collect();
            let mut out = Vec::new();
            encode(&values, width, &mut out);
            prop_assert_eq!(decode(&out, width, values.len()), values);
        }
    }

    #[test]
    fn a_long_run_takes_a_few_bytes_and_widths_are_those_of_the_largest_value() {
        let mut out = Vec::new();
        encode(&vec![7; 1_000_000], 3, &mut out);
        assert!(out.len() <= 5, "{out:?}");
        assert_eq!([0, 1, 2, 255, 256, u32::MAX].map(bits), [0, 1, 2, 8, 9, 32]);
    }
}
