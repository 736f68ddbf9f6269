//! The fast path: numbers of at most 19 digits without an exponent.

use super::powers::POW10_I128;

/// A number of up to 19 digits, perhaps with a point among them and a minus before: nearly all numbers are like that.
///
/// It is small enough to travel in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    digits: u64,
    /// How many digits there are, leading zeros included.
    count: u8,
    /// How many of them are after the point.
    fraction: u8,
    /// How many bytes it takes.
    read: u8,
    negative: bool,
}

impl Plain {
    /// Reads a number from the beginning of `bytes`, up to the first byte that does not belong to it.
    ///
    /// `None` if the text does not begin so, or is too long for it: then [`NumberParts`](super::NumberParts) decides.
    #[inline]
    #[must_use]
    pub fn prefix(bytes: &[u8]) -> Option<Self> {
        let negative = bytes.first() == Some(&b'-');
        let start = usize::from(negative);
        let mut at = start;
        let mut digits = 0;
        digits_into(&mut digits, bytes, &mut at);
        let mut count = at - start;
        let mut fraction = 0;
        if count == 0 {
            return None;
        }
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let point = at;
            digits_into(&mut digits, bytes, &mut at);
            fraction = at - point;
            count += fraction;
            if fraction == 0 {
                return None;
            }
        }
        // Beyond 19 digits the sum has wrapped around and says nothing.
        if count > 19 {
            return None;
        }
        Some(Self {
            digits,
            count: u8::try_from(count).ok()?,
            fraction: u8::try_from(fraction).ok()?,
            read: u8::try_from(at).ok()?,
            negative,
        })
    }

    /// Reads a number that is all of `text`.
    #[inline]
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::prefix(text.as_bytes()).filter(|plain| plain.read() == text.len())
    }

    /// Returns how many bytes it takes.
    #[inline]
    #[must_use]
    pub fn read(self) -> usize {
        self.read.into()
    }

    /// Returns the number at a scale, if the count of digits alone shows that it fits; `None` decides nothing.
    #[inline]
    #[must_use]
    pub fn at_scale(self, precision: u8, scale: u8) -> Option<i128> {
        let shift = scale.checked_sub(self.fraction)?;
        if self.count.saturating_add(shift) > precision {
            return None;
        }
        let value = i128::from(self.digits) * POW10_I128.get(usize::from(shift))?;
        Some(if self.negative { -value } else { value })
    }

    /// Returns the number if it has neither sign nor point.
    #[inline]
    #[must_use]
    pub fn natural(self) -> Option<u64> {
        (!self.negative && self.fraction == 0).then_some(self.digits)
    }
}

#[inline]
fn digits_into(sum: &mut u64, bytes: &[u8], at: &mut usize) {
    while let Some(chunk) = bytes.get(*at..).and_then(<[u8]>::first_chunk::<8>) {
        let Some(eight) = eight_digits(*chunk) else {
            break;
        };
        *sum = sum.wrapping_mul(100_000_000).wrapping_add(eight);
        *at += 8;
    }
    while let Some(digit) = bytes.get(*at).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
    {
        *sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit));
        *at += 1;
    }
}

/// Eight digits at once: neighbours are joined to pairs, pairs to fours, fours to eight.
#[inline]
fn eight_digits(chunk: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(chunk);
    let digits = word.wrapping_sub(0x3030_3030_3030_3030);
    // A byte above '9' carries into its high bit when 0x46 is added, one below '0' borrowed into it.
    if (digits | word.wrapping_add(0x4646_4646_4646_4646)) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}
