//! Decimals in the forms that exchanges use on the wire.

use std::fmt::Write as _;

/// A decimal of 38 digits: `units / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// The digits, as an integer.
    pub units: i128,
    /// How many of the digits are after the point.
    pub scale: u32,
}

impl Decimal {
    /// Returns `units / 10^scale`.
    #[must_use]
    pub const fn new(units: i128, scale: u32) -> Self {
        Self { units, scale }
    }

    /// The exact product.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self::new(self.units * other.units, self.scale + other.scale)
    }

    /// The same value with no zeros at its end.
    fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.units % 10 == 0 {
            self.units /= 10;
            self.scale -= 1;
        }
        self
    }

    /// All digits of the scale, and zeros up to `padding` digits after the point: `0.00000638`.
    #[must_use]
    pub fn plain(self, padding: u32) -> String {
        let scale = self.scale as usize;
        let sign = if self.units < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", self.units.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let width = scale.max(padding as usize);
        if width == 0 {
            return format!("{sign}{whole}");
        }
        format!("{sign}{whole}.{fraction:0<width$}")
    }

    /// Returns the value normalized, with an exponent if it is below 1e-6: `9.2E-7`, as Python's `Decimal` writes itself.
    #[must_use]
    pub fn scientific(self) -> String {
        match self.exponent() {
            Some((mantissa, exponent)) if exponent < -6 => format!("{mantissa}E{exponent}"),
            _ => self.trimmed().plain(0),
        }
    }

    /// As a JSON number the way that Python writes a float: at least one digit after the point, an exponent below 1e-4.
    #[must_use]
    pub fn number(self) -> String {
        match self.exponent() {
            Some((mantissa, exponent)) if exponent < -4 => {
                format!("{mantissa}e-{:02}", exponent.unsigned_abs())
            }
            _ => self.trimmed().plain(1),
        }
    }

    /// The mantissa with one digit before the point, and its exponent of ten; `None` for zero.
    fn exponent(self) -> Option<(String, i64)> {
        if self.units == 0 {
            return None;
        }
        let mut all = self.units.unsigned_abs().to_string();
        let exponent = i64::try_from(all.len()).unwrap_or(i64::MAX) - 1 - i64::from(self.scale);
        all.truncate(all.trim_end_matches('0').len());
        let mut text = String::from(if self.units < 0 { "-" } else { "" });
        text.push_str(&all[..1]);
        if all.len() > 1 {
            // Writing to a String cannot fail.
            let _ = write!(text, ".{}", &all[1..]);
        }
        Some((text, exponent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_says_the_same_value() {
        let table = [
            (
                Decimal::new(9200, 10),
                0,
                "0.0000009200",
                "9.2E-7",
                "9.2e-07",
            ),
            (
                Decimal::new(1000, 13),
                8,
                "0.0000000001000",
                "1E-10",
                "1e-10",
            ),
            (
                Decimal::new(650_123, 1),
                8,
                "65012.30000000",
                "65012.3",
                "65012.3",
            ),
            (Decimal::new(64_900, 0), 0, "64900", "64900", "64900.0"),
            (Decimal::new(0, 0), 1, "0.0", "0", "0.0"),
            (
                Decimal::new(-25, 6),
                0,
                "-0.000025",
                "-0.000025",
                "-2.5e-05",
            ),
            (
                Decimal::new(638, 8),
                8,
                "0.00000638",
                "0.00000638",
                "6.38e-06",
            ),
        ];
        for (value, padding, plain, scientific, number) in table {
            assert_eq!(value.plain(padding), plain);
            assert_eq!(value.scientific(), scientific);
            assert_eq!(value.number(), number);
        }
    }

    #[test]
    fn a_product_is_exact() {
        let notional = Decimal::new(649_000, 1).times(Decimal::new(1500, 3));
        assert_eq!(notional.number(), "97350.0");
    }
}
