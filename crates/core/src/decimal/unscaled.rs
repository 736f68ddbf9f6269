//! The integers that hold a decimal's digits.

use arrow_buffer::i256;

/// The integers in which decimals are held.
pub trait Unscaled: Copy + PartialEq + PartialOrd {
    /// Zero.
    const ZERO: Self;
    /// `self * factor + addend`. The caller has counted the digits: the result fits.
    #[must_use]
    fn times_plus(self, factor: u64, addend: u64) -> Self;
    /// `-self`.
    #[must_use]
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
