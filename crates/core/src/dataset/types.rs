//! ClickHouse column types as mpsync sees them: parsed from the server's text, printed back, mapped to Arrow.
//!
//! Only what travels exactly is allowed to travel: [`ColumnType::refusal`] names the types whose hash does not survive
//! Arrow and Parquet (tried; see `ARCHITECTURE.md`), so that a table with such a column is refused before anything moves.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, TimeUnit};

use crate::error::{Error, Result};

/// The type of a ClickHouse column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `Bool`.
    Bool,
    /// `Int8` … `Int256`, `UInt8` … `UInt256`.
    Int {
        /// Width in bits.
        bits: u16,
        /// Whether it has a sign.
        signed: bool,
    },
    /// `Float32`.
    Float32,
    /// `Float64`.
    Float64,
    /// `Decimal(precision, scale)`.
    Decimal {
        /// Digits in all, at most 76.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `String`: bytes, not necessarily text.
    String,
    /// `FixedString(n)`.
    FixedString(u32),
    /// `Date`.
    Date,
    /// `Date32`.
    Date32,
    /// `DateTime` in seconds, with its time zone where one is named.
    DateTime(Option<String>),
    /// `DateTime64(scale)`, with its time zone where one is named.
    DateTime64(u8, Option<String>),
    /// `Enum8(…)` or `Enum16(…)`, kept as the server writes it.
    Enum(String),
    /// `UUID`.
    Uuid,
    /// `Nullable(T)`.
    Nullable(Box<ColumnType>),
    /// `LowCardinality(T)`.
    LowCardinality(Box<ColumnType>),
    /// `Array(T)`.
    Array(Box<ColumnType>),
    /// `Tuple(name T, …)` or `Tuple(T, …)`.
    Tuple(Vec<(Option<String>, ColumnType)>),
    /// `Map(K, V)`.
    Map(Box<ColumnType>, Box<ColumnType>),
    /// Anything else, kept as the server writes it.
    Other(String),
}

impl ColumnType {
    /// Parses a type as `system.columns` or `DESCRIBE TABLE` writes it.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { text, rest: text };
        let parsed = parser.parse_type()?;
        parser.skip_spaces();
        if parser.rest.is_empty() {
            Ok(parsed)
        } else {
            Err(parser.error("unexpected text at its end"))
        }
    }

    /// The type below `Nullable` and `LowCardinality`.
    #[must_use]
    pub fn inner(&self) -> &Self {
        match self {
            Self::Nullable(t) | Self::LowCardinality(t) => t.inner(),
            other => other,
        }
    }

    /// Whether a value may be NULL.
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        match self {
            Self::Nullable(_) => true,
            Self::LowCardinality(t) => t.is_nullable(),
            _ => false,
        }
    }

    /// Why a column of this type cannot be transferred with proof, or `None` where it can.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Other(name) => Some(format!(
                "{name} does not keep its hash through Arrow and Parquet"
            )),
            Self::Nullable(t) | Self::LowCardinality(t) | Self::Array(t) => t.refusal(),
            Self::Map(k, v) => k.refusal().or_else(|| v.refusal()),
            Self::Tuple(fields) => fields.iter().find_map(|(_, t)| t.refusal()),
            _ => None,
        }
    }

    /// The Arrow type in which mpsync sends values of this type to ClickHouse, or an error for types it does not write.
    ///
    /// Strings are sent as `Utf8` where they come from JSON, low-cardinality ones as a dictionary.
    pub fn arrow(&self) -> Result<DataType> {
        Ok(match self {
            Self::Bool => DataType::Boolean,
            Self::Int { bits, signed } => match (bits, signed) {
                (8, true) => DataType::Int8,
                (16, true) => DataType::Int16,
                (32, true) => DataType::Int32,
                (64, true) => DataType::Int64,
                (8, false) => DataType::UInt8,
                (16, false) => DataType::UInt16,
                (32, false) => DataType::UInt32,
                (64, false) => DataType::UInt64,
                _ => return Err(self.unwritable()),
            },
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => {
                let scale = i8::try_from(*scale).map_err(|_| self.unwritable())?;
                if *precision <= DECIMAL128_MAX_PRECISION {
                    DataType::Decimal128(*precision, scale)
                } else {
                    DataType::Decimal256(*precision, scale)
                }
            }
            Self::String | Self::Enum(_) => DataType::Utf8,
            Self::Date | Self::Date32 => DataType::Date32,
            Self::DateTime(tz) => {
                DataType::Timestamp(TimeUnit::Second, tz.as_deref().map(Arc::from))
            }
            Self::DateTime64(scale, tz) => {
                DataType::Timestamp(time_unit(*scale), tz.as_deref().map(Arc::from))
            }
            Self::Nullable(t) => t.arrow()?,
            Self::LowCardinality(t) => match t.inner() {
                Self::String => {
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
                }
                other => other.arrow()?,
            },
            Self::Array(t) => DataType::List(Arc::new(t.arrow_field("item")?)),
            Self::Tuple(fields) => DataType::Struct(
                fields
                    .iter()
                    .enumerate()
                    .map(|(i, (name, t))| {
                        t.arrow_field(name.as_deref().unwrap_or(&(i + 1).to_string()))
                    })
                    .collect::<Result<Fields>>()?,
            ),
            Self::FixedString(_) | Self::Uuid | Self::Map(..) | Self::Other(_) => {
                return Err(self.unwritable());
            }
        })
    }

    /// An Arrow field of this type.
    pub fn arrow_field(&self, name: &str) -> Result<Field> {
        Ok(Field::new(name, self.arrow()?, self.is_nullable()))
    }

    fn unwritable(&self) -> Error {
        Error::schema(format!(
            "a column of type {self} cannot be filled from messages"
        ))
    }
}

/// The coarsest Arrow unit that holds `scale` digits of a second.
fn time_unit(scale: u8) -> TimeUnit {
    match scale {
        0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("Bool"),
            Self::Int { bits, signed } => write!(f, "{}Int{bits}", if *signed { "" } else { "U" }),
            Self::Float32 => f.write_str("Float32"),
            Self::Float64 => f.write_str("Float64"),
            Self::Decimal { precision, scale } => write!(f, "Decimal({precision}, {scale})"),
            Self::String => f.write_str("String"),
            Self::FixedString(n) => write!(f, "FixedString({n})"),
            Self::Date => f.write_str("Date"),
            Self::Date32 => f.write_str("Date32"),
            Self::DateTime(None) => f.write_str("DateTime"),
            Self::DateTime(Some(tz)) => write!(f, "DateTime('{tz}')"),
            Self::DateTime64(scale, None) => write!(f, "DateTime64({scale})"),
            Self::DateTime64(scale, Some(tz)) => write!(f, "DateTime64({scale}, '{tz}')"),
            Self::Enum(text) | Self::Other(text) => f.write_str(text),
            Self::Uuid => f.write_str("UUID"),
            Self::Nullable(t) => write!(f, "Nullable({t})"),
            Self::LowCardinality(t) => write!(f, "LowCardinality({t})"),
            Self::Array(t) => write!(f, "Array({t})"),
            Self::Map(k, v) => write!(f, "Map({k}, {v})"),
            Self::Tuple(fields) => {
                f.write_str("Tuple(")?;
                for (i, (name, t)) in fields.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    if let Some(name) = name {
                        write!(f, "{name} ")?;
                    }
                    write!(f, "{t}")?;
                }
                f.write_str(")")
            }
        }
    }
}

/// A recursive-descent parser over the text of a type.
struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &str) -> Error {
        Error::schema(format!(
            "cannot read the column type `{}`: {what} at `{}`",
            self.text, self.rest
        ))
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_spaces();
        self.rest
            .strip_prefix(token)
            .map(|rest| self.rest = rest)
            .is_some()
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.error(&format!("expected `{token}`")))
        }
    }

    fn identifier(&mut self) -> Result<&'a str> {
        self.skip_spaces();
        if let Some(rest) = self.rest.strip_prefix('`') {
            let end = rest.find('`').ok_or_else(|| self.error("an open quote"))?;
            self.rest = &rest[end + 1..];
            return Ok(&rest[..end]);
        }
        let end = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.error("expected a name"));
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name)
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N> {
        self.skip_spaces();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        let number = self.rest[..end]
            .parse()
            .map_err(|_| self.error("expected a number"))?;
        self.rest = &self.rest[end..];
        Ok(number)
    }

    fn quoted(&mut self) -> Result<String> {
        self.expect("'")?;
        let end = self
            .rest
            .find('\'')
            .ok_or_else(|| self.error("an open quote"))?;
        let text = self.rest[..end].to_owned();
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    fn one_argument(&mut self) -> Result<Box<ColumnType>> {
        self.expect("(")?;
        let inner = self.parse_type()?;
        self.expect(")")?;
        Ok(Box::new(inner))
    }

    /// The text of a type whose arguments are not of interest, up to its closing parenthesis.
    fn opaque(&mut self, name: &str) -> Result<String> {
        self.skip_spaces();
        if !self.rest.starts_with('(') {
            return Ok(name.to_owned());
        }
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        for (i, c) in self.rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '\'' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let text = format!("{name}{}", &self.rest[..=i]);
                self.rest = &self.rest[i + 1..];
                return Ok(text);
            }
        }
        Err(self.error("an open parenthesis"))
    }

    fn parse_type(&mut self) -> Result<ColumnType> {
        let name = self.identifier()?;
        if let Some((signed, bits)) = integer(name) {
            return Ok(ColumnType::Int { bits, signed });
        }
        Ok(match name {
            "Bool" => ColumnType::Bool,
            "Float32" => ColumnType::Float32,
            "Float64" => ColumnType::Float64,
            "String" => ColumnType::String,
            "Date" => ColumnType::Date,
            "Date32" => ColumnType::Date32,
            "UUID" => ColumnType::Uuid,
            "FixedString" => {
                self.expect("(")?;
                let n = self.number()?;
                self.expect(")")?;
                ColumnType::FixedString(n)
            }
            "Decimal" => {
                self.expect("(")?;
                let precision = self.number()?;
                self.expect(",")?;
                let scale = self.number()?;
                self.expect(")")?;
                ColumnType::Decimal { precision, scale }
            }
            "DateTime" => {
                let tz = if self.eat("(") {
                    Some(self.quoted()?)
                } else {
                    None
                };
                if tz.is_some() {
                    self.expect(")")?;
                }
                ColumnType::DateTime(tz)
            }
            "DateTime64" => {
                self.expect("(")?;
                let scale = self.number()?;
                let tz = if self.eat(",") {
                    Some(self.quoted()?)
                } else {
                    None
                };
                self.expect(")")?;
                ColumnType::DateTime64(scale, tz)
            }
            "Enum8" | "Enum16" => ColumnType::Enum(self.opaque(name)?),
            "Nullable" => ColumnType::Nullable(self.one_argument()?),
            "LowCardinality" => ColumnType::LowCardinality(self.one_argument()?),
            "Array" => ColumnType::Array(self.one_argument()?),
            "Map" => {
                self.expect("(")?;
                let key = Box::new(self.parse_type()?);
                self.expect(",")?;
                let value = Box::new(self.parse_type()?);
                self.expect(")")?;
                ColumnType::Map(key, value)
            }
            "Tuple" => ColumnType::Tuple(self.tuple()?),
            _ => ColumnType::Other(self.opaque(name)?),
        })
    }

    fn tuple(&mut self) -> Result<Vec<(Option<String>, ColumnType)>> {
        self.expect("(")?;
        let mut fields = Vec::new();
        loop {
            self.skip_spaces();
            let before = self.rest;
            let name = self.identifier()?;
            self.skip_spaces();
            // `name Type` where another word follows, else the word was the type.
            if self.rest.starts_with(|c: char| c.is_alphabetic()) {
                fields.push((Some(name.to_owned()), self.parse_type()?));
            } else {
                self.rest = before;
                fields.push((None, self.parse_type()?));
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(fields)
    }
}

fn integer(name: &str) -> Option<(bool, u16)> {
    let (signed, bits) = match name.strip_prefix("UInt") {
        Some(bits) => (false, bits),
        None => (true, name.strip_prefix("Int")?),
    };
    matches!(bits, "8" | "16" | "32" | "64" | "128" | "256")
        .then(|| (signed, bits.parse().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_in_use_is_read_and_written_back_as_the_server_writes_it() {
        for text in [
            "Bool",
            "UInt64",
            "Int8",
            "Float64",
            "String",
            "Decimal(38, 18)",
            "Decimal(76, 38)",
            "DateTime",
            "DateTime('UTC')",
            "DateTime64(3, 'UTC')",
            "DateTime64(9)",
            "LowCardinality(String)",
            "LowCardinality(Nullable(String))",
            "Nullable(Decimal(38, 18))",
            "Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18)))",
            "Tuple(String, UInt8)",
            "Map(String, Array(Nullable(Int32)))",
            "Enum8('a' = 1, 'it\\'s (b)' = 2)",
            "FixedString(16)",
            "AggregateFunction(sum, UInt64)",
        ] {
            assert_eq!(ColumnType::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_type_that_loses_its_hash_is_refused_by_name() {
        let refused = ColumnType::parse("Array(Variant(String, UInt8))")
            .unwrap()
            .refusal()
            .unwrap();
        assert!(refused.starts_with("Variant(String, UInt8)"), "{refused}");
        assert_eq!(
            ColumnType::parse("Nullable(Decimal(38, 18))")
                .unwrap()
                .refusal(),
            None
        );
    }

    #[test]
    fn text_that_is_no_type_is_an_error_that_names_it() {
        for text in ["", "Decimal(38", "Array(", "Tuple(a String b)", "String)"] {
            assert!(
                ColumnType::parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("column type"),
                "{text}"
            );
        }
    }
}
