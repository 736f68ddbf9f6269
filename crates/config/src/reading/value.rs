//! Reads single raw values, and displays them. Pure.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use mpsync_net::without_logins;
use serde_json::{Value as Json, json};

use super::origin::Origin;
use super::raw::{RawNode, RawValue};
use super::yaml;

/// Describes a value for a problem's text.
pub(crate) fn described(value: &RawNode) -> String {
    match value {
        RawNode::Scalar(text) => {
            let start: String = without_logins(text).chars().take(60).collect();
            format!("`{}`", start.escape_debug())
        }
        RawNode::List(_) => "a list".to_owned(),
        RawNode::Null => "nothing".to_owned(),
        RawNode::Section => "a section".to_owned(),
    }
}

/// Returns a text without logins, for display.
pub(crate) fn display(text: &str) -> Json {
    json!(without_logins(text))
}

/// Returns the text of a scalar.
pub(crate) fn text(raw_value: &RawValue) -> Option<String> {
    match &raw_value.value {
        RawNode::Scalar(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns a list; in the environment also from `a,b`, since few people write YAML there.
pub(crate) fn list(raw_value: &RawValue) -> Option<Vec<RawValue>> {
    match &raw_value.value {
        RawNode::List(items) => Some(items.clone()),
        RawNode::Scalar(text) if !matches!(raw_value.origin, Origin::File { .. }) => {
            if text.trim_start().starts_with('[') {
                return yaml::read_list(text, &raw_value.origin);
            }
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            let raw_value = |item: &str| RawValue {
                value: RawNode::Scalar(item.to_owned()),
                origin: raw_value.origin.clone(),
            };
            Some(items.map(raw_value).collect())
        }
        _ => None,
    }
}

/// Returns a whole number as YAML writes it: with a sign, with underscores between digits.
pub(crate) fn whole(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
    is_number.then(|| text.replace('_', "").parse().ok())?
}

/// Returns a number within a range.
pub(crate) fn number(raw_value: &RawValue, range: &RangeInclusive<f64>) -> Option<f64> {
    let number: f64 = text(raw_value)?.parse().ok()?;
    range.contains(&number).then_some(number)
}

/// Returns a number for display: `5` instead of `5.0`.
pub(crate) fn round(n: f64) -> Json {
    if n.fract() == 0.0 && n.abs() < 1e15 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole, and small enough"
        )]
        let whole = n as i64;
        json!(whole)
    } else {
        json!(n)
    }
}

/// Returns the path of a text; a relative path in the file is relative to the file's folder.
pub(crate) fn beside(base: &Path, text: String, raw_value: &RawValue) -> PathBuf {
    match raw_value.origin {
        Origin::File { .. } => base.join(text),
        _ => PathBuf::from(text),
    }
}

/// Returns `a number of hours from 0 to 24`, or `… of at least 0` if the range has no upper end.
pub(crate) fn range_text<T: Display + Endless>(what: &str, range: &RangeInclusive<T>) -> String {
    if range.end().is_endless() {
        format!("{what} of at least {}", range.start())
    } else {
        format!("{what} from {} to {}", range.start(), range.end())
    }
}

/// Returns `a, b or c`.
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        names => names.concat(),
    }
}

/// A type of number whose largest value, as the upper end of a range, means "no upper end".
pub(crate) trait Endless {
    /// Returns whether this is the largest value.
    fn is_endless(&self) -> bool;
}

macro_rules! endless {
    ($($number:ty: $end:expr),*) => {$(
        impl Endless for $number {
            fn is_endless(&self) -> bool {
                $end == Some(*self)
            }
        }
    )*};
}
endless!(u16: None, u32: Some(u32::MAX), u64: Some(u64::MAX), usize: None, i32: None, i64: Some(i64::MAX), f64: None);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_the_yaml_syntax() {
        assert_eq!(whole("-1_000"), Some(-1000));
        assert_eq!(whole("+7"), Some(7));
        for text in ["", "-", "_1", "1.0", "0x1f", "1e3", " 1"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
