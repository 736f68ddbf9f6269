//! Numbers from their text, exactly: never through floating point.

use arrow::datatypes::i256;

/// Why a number does not become a value of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberFault {
    /// The text is no number.
    Malformed,
    /// It has more digits after the point than the column holds.
    ExcessDigits,
    /// It is larger than the column holds.
    OutOfRange,
}

/// A number at its column's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scaled<T> {
    /// The value times 10 to the scale.
    pub value: T,
    /// Whether digits were rounded away.
    pub rounded: bool,
}

/// Powers of ten that fit 64 bits.
const POW10_U64: [u64; 20] = {
    let mut powers = [1; 20];
    let mut i = 1;
    while i < 20 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Powers of ten that fit 128 bits.
const POW10: [i128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    while i < 39 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// The integers in which decimals are held.
pub(super) trait Unscaled: Copy + PartialEq + PartialOrd {
    /// Zero.
    const ZERO: Self;
    /// `self * factor + addend`. The caller has counted the digits: the result fits.
    fn times_plus(self, factor: u64, addend: u64) -> Self;
    /// `-self`.
    fn negated(self) -> Self;
    /// Whether the lowest bit is set.
    fn is_odd(self) -> bool;
    /// A number that fits 128 bits.
    fn from_i128(value: i128) -> Self;
}

impl Unscaled for i128 {
    const ZERO: Self = 0;
    fn times_plus(self, factor: u64, addend: u64) -> Self {
        self.wrapping_mul(Self::from(factor))
            .wrapping_add(Self::from(addend))
    }
    fn negated(self) -> Self {
        -self
    }
    fn is_odd(self) -> bool {
        self & 1 == 1
    }
    fn from_i128(value: i128) -> Self {
        value
    }
}

impl Unscaled for i256 {
    const ZERO: Self = Self::ZERO;
    fn times_plus(self, factor: u64, addend: u64) -> Self {
        self.wrapping_mul(Self::from_i128(i128::from(factor)))
            .wrapping_add(Self::from_i128(i128::from(addend)))
    }
    fn negated(self) -> Self {
        self.wrapping_neg()
    }
    fn is_odd(self) -> bool {
        self.to_parts().0 & 1 == 1
    }
    fn from_i128(value: i128) -> Self {
        Self::from_i128(value)
    }
}

/// Up to 19 digits, perhaps with a point among them and a sign before, and nothing else: what nearly all numbers are.
///
/// It is small enough to travel in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain {
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
    /// Reads a number from the beginning of `bytes`, up to whatever is no digit.
    ///
    /// `None` where the text does not begin so, or is too long for it: then [`Parts`] decides.
    #[inline]
    pub(super) fn prefix(bytes: &[u8]) -> Option<Self> {
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
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::prefix(text.as_bytes()).filter(|plain| plain.read() == text.len())
    }

    /// How many bytes it takes.
    #[inline]
    pub(super) fn read(self) -> usize {
        self.read.into()
    }

    /// The number at a scale, where it is plain from the count of digits that it fits; `None` decides nothing.
    #[inline]
    pub(super) fn at_scale(self, precision: u8, scale: u8) -> Option<i128> {
        let shift = scale.checked_sub(self.fraction)?;
        if self.count.saturating_add(shift) > precision {
            return None;
        }
        let value = i128::from(self.digits) * POW10.get(usize::from(shift))?;
        Some(if self.negative { -value } else { value })
    }

    /// The number where it has neither sign nor point.
    #[inline]
    pub(super) fn natural(self) -> Option<u64> {
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

/// A number taken apart: `integer.fraction × 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberParts<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// Exponents are cut to this: nothing between it and `i64::MAX` makes a difference to a column of 76 digits and a text
/// of a few MiB.
const EXPONENT_LIMIT: i64 = 1 << 40;

impl<'a> NumberParts<'a> {
    /// Takes a number apart: JSON's form, and what texts have beyond it: a leading `+`, leading zeros, `.5`, `5.`.
    pub(super) fn parse(text: &'a str) -> Result<Self, NumberFault> {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            all => (false, all),
        };
        let (integer, rest) = split_digits(bytes);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => split_digits(rest),
            rest => (&rest[..0], rest),
        };
        if integer.is_empty() && fraction.is_empty() {
            return Err(NumberFault::Malformed);
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return Err(NumberFault::Malformed),
        };
        Ok(Self {
            negative,
            integer,
            fraction,
            exponent,
        })
    }

    /// The digits, leading zeros left out.
    fn digits(self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        let all = self.integer.iter().chain(self.fraction);
        all.map(|byte| byte - b'0').skip_while(|&digit| digit == 0)
    }

    /// The number at a scale, exact or, where `round` allows it, rounded half to even.
    pub(super) fn at_scale<T: Unscaled>(
        self,
        precision: u8,
        scale: u8,
        round: bool,
    ) -> Result<Scaled<T>, NumberFault> {
        let digits = self.digits();
        let count = length(digits.clone().count());
        let shift = i64::from(scale) + self.exponent - length(self.fraction.len());
        let exact = |value| Scaled {
            value,
            rounded: false,
        };
        if count == 0 {
            return Ok(exact(T::ZERO));
        }
        // Digits of the result; the first of them is not zero, so that it fits if and only if their number does.
        let kept = count + shift;
        if kept > i64::from(precision) {
            return Err(NumberFault::OutOfRange);
        }
        let taken = usize::try_from(kept.min(count)).unwrap_or(0);
        let mut value = collect(digits.clone().take(taken));
        if shift >= 0 {
            value = times_power_of_ten(value, kept - count);
            return Ok(exact(self.signed(value)));
        }
        let mut dropped = digits.skip(taken);
        if dropped.clone().all(|digit| digit == 0) {
            return Ok(exact(self.signed(value)));
        }
        if !round {
            return Err(NumberFault::ExcessDigits);
        }
        // Below a tenth of the last place: the first digit that is dropped is a zero that is not written.
        let first = if kept < 0 {
            0
        } else {
            dropped.next().unwrap_or(0)
        };
        let up = first > 5 || first == 5 && (dropped.any(|digit| digit != 0) || value.is_odd());
        if up {
            value = value.times_plus(1, 1);
            if value == times_power_of_ten(T::from_i128(1), i64::from(precision)) {
                return Err(NumberFault::OutOfRange);
            }
        }
        Ok(Scaled {
            value: self.signed(value),
            rounded: true,
        })
    }

    fn signed<T: Unscaled>(self, value: T) -> T {
        if self.negative {
            value.negated()
        } else {
            value
        }
    }
}

/// Texts are far shorter than `i64::MAX`.
fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(EXPONENT_LIMIT)
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let run = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    bytes.split_at(run)
}

fn exponent(bytes: &[u8]) -> Result<i64, NumberFault> {
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (digits, rest) = split_digits(bytes);
    if digits.is_empty() || !rest.is_empty() {
        return Err(NumberFault::Malformed);
    }
    let value = digits.iter().fold(0, |sum: i64, &digit| {
        (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_LIMIT)
    });
    Ok(if negative { -value } else { value })
}

fn collect<T: Unscaled>(mut digits: impl Iterator<Item = u8>) -> T {
    let mut value = T::ZERO;
    loop {
        let (sum, count) = digits
            .by_ref()
            .take(19)
            .fold((0_u64, 0), |(sum, count), digit| {
                (sum * 10 + u64::from(digit), count + 1)
            });
        if count == 0 {
            return value;
        }
        value = value.times_plus(POW10_U64[count], sum);
    }
}

fn times_power_of_ten<T: Unscaled>(mut value: T, mut power: i64) -> T {
    while power > 0 {
        let step = power.min(19);
        value = value.times_plus(POW10_U64[usize::try_from(step).unwrap_or(0)], 0);
        power -= step;
    }
    value
}

/// A decimal from its text, exact or, where `round` allows it, rounded half to even.
pub(super) fn decimal<T: Unscaled>(
    text: &str,
    precision: u8,
    scale: u8,
    round: bool,
) -> Result<Scaled<T>, NumberFault> {
    NumberParts::parse(text)?.at_scale(precision, scale, round)
}

/// An integer from its text: `1e3` and `1.0` are integers, `1.5` has excess digits.
#[inline]
pub(super) fn integer(text: &str) -> Result<i128, NumberFault> {
    if let Some(value) = Plain::parse(text).and_then(Plain::natural) {
        return Ok(value.into());
    }
    decimal(text, 38, 0, false).map(|scaled| scaled.value)
}

/// A 64-bit float from its text, correctly rounded. What is no finite number is refused.
pub(super) fn float64(text: &str) -> Result<f64, NumberFault> {
    NumberParts::parse(text)?;
    let value: f64 = text.parse().map_err(|_| NumberFault::Malformed)?;
    value
        .is_finite()
        .then_some(value)
        .ok_or(NumberFault::OutOfRange)
}

/// A 32-bit float from its text, correctly rounded. What is no finite number is refused.
pub(super) fn float32(text: &str) -> Result<f32, NumberFault> {
    NumberParts::parse(text)?;
    let value: f32 = text.parse().map_err(|_| NumberFault::Malformed)?;
    value
        .is_finite()
        .then_some(value)
        .ok_or(NumberFault::OutOfRange)
}
