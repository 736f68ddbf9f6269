//! Values from their text, exact or refused.

use super::fault::{NumberFault, Scaled};
use super::parts::NumberParts;
use super::plain::Plain;
use super::unscaled::Unscaled;

/// Reads a decimal, exact or, if `round` allows it, rounded half to even.
pub fn decimal<T: Unscaled>(
    text: &str,
    precision: u8,
    scale: u8,
    round: bool,
) -> Result<Scaled<T>, NumberFault> {
    NumberParts::parse(text)?.at_scale(precision, scale, round)
}

/// Reads an integer: `1e3` and `1.0` are integers, `1.5` has excess digits.
#[inline]
pub fn integer(text: &str) -> Result<i128, NumberFault> {
    if let Some(value) = Plain::parse(text).and_then(Plain::natural) {
        return Ok(value.into());
    }
    decimal(text, 38, 0, false).map(|scaled| scaled.value)
}

/// Reads a 64-bit float, correctly rounded. NaN and infinities are refused.
pub fn float64(text: &str) -> Result<f64, NumberFault> {
    NumberParts::parse(text)?;
    let value: f64 = text.parse().map_err(|_| NumberFault::Malformed)?;
    value
        .is_finite()
        .then_some(value)
        .ok_or(NumberFault::OutOfRange)
}

/// Reads a 32-bit float, correctly rounded. NaN and infinities are refused.
pub fn float32(text: &str) -> Result<f32, NumberFault> {
    NumberParts::parse(text)?;
    let value: f32 = text.parse().map_err(|_| NumberFault::Malformed)?;
    value
        .is_finite()
        .then_some(value)
        .ok_or(NumberFault::OutOfRange)
}
