//! The general path: a number of any length and form, taken apart.

use super::fault::{NumberFault, Scaled};
use super::powers::POW10_U64;
use super::unscaled::Unscaled;

/// A number taken apart: `integer.fraction × 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberParts<'a> {
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
    pub fn parse(text: &'a str) -> Result<Self, NumberFault> {
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

    /// Returns the number at a scale, exact or, if `round` allows it, rounded half to even.
    pub fn at_scale<T: Unscaled>(
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
