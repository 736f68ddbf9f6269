//! The fingerprint of a set of rows: `(rows, sum of cityHash64(tuple(all columns)) mod 2^64)`.
//!
//! It does not depend on the order of the rows and adds up over generations. The tuple is needed: without it a NULL makes
//! the hash NULL, and `sum` skips the row. Columns are cast to the manifest's types, so that a table whose column was
//! widened later still hashes to the same.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// The identity of a set of rows, whatever their order.
///
/// The hash is written as 16 hexadecimal digits: JSON numbers end at 2^53 for many readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many rows.
    pub rows: u64,
    /// The sum of the rows' hashes, modulo 2^64.
    #[serde(with = "hex")]
    pub sum: u64,
}

impl Add for Fingerprint {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            sum: self.sum.wrapping_add(other.sum),
        }
    }
}

impl std::iter::Sum for Fingerprint {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {:016x}", self.rows, self.sum)
    }
}

mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for this signature"
    )]
    pub(super) fn serialize<S: Serializer>(sum: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{sum:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map_err(|_| serde::de::Error::custom(format!("invalid 64-bit hash `{text}`")))
    }
}

/// A column with the type under which it is hashed and archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedColumn {
    /// Its name.
    pub name: String,
    /// Its ClickHouse type at the time of the export, as the server writes it.
    #[serde(rename = "type")]
    pub type_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_add_up_and_wrap() {
        let a = Fingerprint {
            rows: 2,
            sum: u64::MAX,
        };
        let b = Fingerprint { rows: 3, sum: 2 };
        assert_eq!(
            [a, b].into_iter().sum::<Fingerprint>(),
            Fingerprint { rows: 5, sum: 1 }
        );
        let json = serde_json::to_string(&a).unwrap();
        assert_eq!(json, r#"{"rows":2,"sum":"ffffffffffffffff"}"#);
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), a);
    }
}
