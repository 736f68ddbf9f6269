//! A type from the text in which the server writes it.

use super::definition::ColumnType;
use super::plain_types;
use crate::error::{Error, Result};

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
        if let Some(plain) = plain_types::of_name(name) {
            return Ok(plain);
        }
        Ok(match name {
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
            // `name Type` if another word follows, else the word was the type.
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
    fn an_invalid_type_is_an_error_that_names_it() {
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
