//! Integers and decimals as JSON text, straight to bytes.

use super::powers::POW10_U64;

/// The two digits of every number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let (mut i, mut tens) = (0, b'0');
    while i < 100 {
        let mut ones = b'0';
        while ones <= b'9' {
            pairs[i] = [tens, ones];
            i += 1;
            ones += 1;
        }
        tens += 1;
    }
    pairs
};

/// Writes a number without a sign.
#[inline]
pub fn push_u64(value: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let at = digits_of(value, &mut digits);
    out.extend_from_slice(&digits[at..]);
}

/// Writes a number.
#[inline]
pub fn push_i64(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(value.unsigned_abs(), out);
}

/// Fills digits from the right; returns the index of the first one.
#[inline]
fn digits_of(mut value: u64, digits: &mut [u8; 20]) -> usize {
    let mut at = digits.len();
    while value >= 100 {
        let pair = PAIRS[usize::try_from(value % 100).unwrap_or(0)];
        value /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair);
    }
    let pair = PAIRS[usize::try_from(value).unwrap_or(0)];
    at -= 1;
    digits[at] = pair[1];
    if value >= 10 {
        at -= 1;
        digits[at] = pair[0];
    }
    at
}

/// Writes a decimal as text in quotes: all its digits, no trailing zeros, no exponent.
#[inline]
pub fn push_decimal128(value: i128, scale: u32, out: &mut Vec<u8>) {
    let Some(&unit) = POW10_U64.get(scale as usize).filter(|_| scale <= 18) else {
        return push_decimal_text(&value.to_string(), scale, out);
    };
    let magnitude = value.unsigned_abs();
    let (whole, fraction) = match u64::try_from(magnitude) {
        _ if scale == 18 && magnitude >> 82 == 0 => by_ten_to_18(magnitude),
        Ok(small) => (u128::from(small / unit), small % unit),
        Err(_) => {
            let whole = magnitude / u128::from(unit);
            // The remainder is less than the unit, so its lower half is all of it.
            (
                whole,
                lower(magnitude.wrapping_sub(whole.wrapping_mul(u128::from(unit)))),
            )
        }
    };
    out.push(b'"');
    if value < 0 {
        out.push(b'-');
    }
    match u64::try_from(whole) {
        Ok(whole) => push_u64(whole, out),
        Err(_) => out.extend_from_slice(whole.to_string().as_bytes()),
    }
    if fraction > 0 {
        push_fraction(fraction, scale, out);
    }
    out.push(b'"');
}

/// Quotient and remainder by 10^18 of a number below 2^82: 10^18 is 2^18 times 5^18, and a division by a number that the compiler
/// knows is a multiplication.
#[inline]
fn by_ten_to_18(magnitude: u128) -> (u128, u64) {
    let whole = lower(magnitude >> 18) / 5_u64.pow(18);
    let rest = lower(magnitude).wrapping_sub(whole.wrapping_mul(10_u64.pow(18)));
    (u128::from(whole), rest)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "only the lower half is wanted"
)]
fn lower(value: u128) -> u64 {
    value as u64
}

/// The point and `places` digits after it, without the zeros at their end.
#[inline]
fn push_fraction(mut fraction: u64, mut places: u32, out: &mut Vec<u8>) {
    strip::<8, 100_000_000>(&mut fraction, &mut places);
    strip::<4, 10_000>(&mut fraction, &mut places);
    strip::<2, 100>(&mut fraction, &mut places);
    strip::<1, 10>(&mut fraction, &mut places);
    let mut digits = [b'0'; 20];
    digits_of(fraction, &mut digits);
    out.push(b'.');
    out.extend_from_slice(&digits[digits.len() - places as usize..]);
}

/// Takes so many zeros from the end, as often as they are there. The compiler knows by what it divides.
#[inline]
fn strip<const ZEROS: u32, const UNIT: u64>(fraction: &mut u64, places: &mut u32) {
    while *places > ZEROS && fraction.is_multiple_of(UNIT) {
        *fraction /= UNIT;
        *places -= ZEROS;
    }
}

/// The same from the digits of the unscaled value, of any width.
pub fn push_decimal_text(unscaled: &str, scale: u32, out: &mut Vec<u8>) {
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", unscaled),
    };
    let scale = scale as usize;
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    out.push(b'"');
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(whole.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_keep_every_digit_and_lose_only_trailing_zeros() {
        for (value, scale, expected) in [
            (0_i128, 18, "\"0\""),
            (1, 18, "\"0.000000000000000001\""),
            (-15 * 10_i128.pow(17), 18, "\"-1.5\""),
            (64_900 * 10_i128.pow(18), 18, "\"64900\""),
            (
                9_999_999_997 * 10_i128.pow(18) + 1,
                18,
                "\"9999999997.000000000000000001\"",
            ),
            (-7, 0, "\"-7\""),
            (120, 1, "\"12\""),
            (
                i128::MAX,
                37,
                "\"17.0141183460469231731687303715884105727\"",
            ),
            (
                10_i128.pow(38) - 1,
                18,
                "\"99999999999999999999.999999999999999999\"",
            ),
            (
                10_i128.pow(38) - 1,
                0,
                "\"99999999999999999999999999999999999999\"",
            ),
        ] {
            assert_eq!(text(|out| push_decimal128(value, scale, out)), expected);
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_and_the_plain_way_write_the_same(value in any::<i128>(), small in any::<i64>(), scale in 0_u32..=18) {
            for value in [value, i128::from(small), i128::from(small) * 1_000_000_000, value >> 40, value >> 45, value >> 46] {
                prop_assert_eq!(
                    text(|out| push_decimal128(value, scale, out)),
                    text(|out| push_decimal_text(&value.to_string(), scale, out))
                );
            }
            prop_assert_eq!(text(|out| push_i64(small, out)), small.to_string());
        }
    }
}
