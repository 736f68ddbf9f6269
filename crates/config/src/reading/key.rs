//! One key, read as what its section says that it is.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::reader::ConfigReader;
use super::schedule::CronExpression;
use super::settings::Setting;
use super::source::{Origin, RawNode, RawValue};
use super::yaml;
use mpsync_net::{Secret, without_logins};

/// A value of few: what it is called in the configuration.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The names, each with its value; the first name of a value is the one that is shown.
    const ALL: &'static [(&'static str, Self)];
}

/// The unit of a length of time, in seconds.
#[derive(Debug, Clone, Copy)]
enum TimeUnit {
    Seconds,
    Minutes,
    Hours,
}

/// A key that was asked for, not yet read.
pub(super) struct ConfigKey<'r> {
    path: String,
    is_live: bool,
    is_secret: bool,
    reader: &'r mut ConfigReader,
}

impl<'r> ConfigKey<'r> {
    pub(super) fn new(path: String, reader: &'r mut ConfigReader) -> Self {
        Self {
            path,
            is_live: false,
            is_secret: false,
            reader,
        }
    }

    /// SIGHUP changes it in a process that runs.
    pub(super) fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Any text.
    pub(super) fn text(self, default: &str) -> String {
        self.read(default.to_owned(), "text", text, |text| display(text))
    }

    /// Any text, or nothing.
    pub(super) fn optional_text(self) -> Option<String> {
        self.optional("text", text, |text| display(text))
    }

    /// A text that passes a check; `allowed` says which do.
    pub(super) fn text_that(
        self,
        default: &str,
        allowed: &str,
        passes: impl Fn(&str) -> bool,
    ) -> String {
        let parse = |raw_value: &RawValue| text(raw_value).filter(|text| passes(text));
        self.read(default.to_owned(), allowed, parse, |text| display(text))
    }

    /// A text that is not shown.
    pub(super) fn secret_text(mut self) -> Option<Secret> {
        self.is_secret = true;
        self.optional(
            "text",
            |raw_value| text(raw_value).map(Secret::new),
            |_| json!("***"),
        )
    }

    /// `true` or `false`; YAML 1.1 also has `yes`, `no`, `on` and `off`.
    pub(super) fn flag(self, default: bool) -> bool {
        let parse = |raw_value: &RawValue| match text(raw_value)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        };
        self.read(default, "true or false", parse, |flag| json!(*flag))
    }

    /// A whole number within a range.
    pub(super) fn integer<T>(self, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<i128> + serde::Serialize + Endless,
    {
        let parse = |raw_value: &RawValue| {
            let number = T::try_from(whole(&text(raw_value)?)?).ok()?;
            range.contains(&number).then_some(number)
        };
        self.read(default, &span("a whole number", &range), parse, |n| {
            json!(*n)
        })
    }

    /// A number of bytes: `268435456`, `256M` or `256 MiB`, in powers of 1024.
    pub(super) fn bytes(self, default: u64, range: RangeInclusive<u64>) -> u64 {
        let parse = |raw_value: &RawValue| {
            let text = text(raw_value)?;
            let bytes = parse_bytes(&text).ok().or_else(|| text.parse().ok())?;
            range.contains(&bytes).then_some(bytes)
        };
        self.read(
            default,
            &span("a number of bytes, such as 256M,", &range),
            parse,
            |n| json!(*n),
        )
    }

    /// A number of seconds within a range.
    pub(super) fn seconds(self, default: f64, range: RangeInclusive<f64>) -> Duration {
        self.time(TimeUnit::Seconds, default, &range)
    }

    /// A number of minutes within a range.
    pub(super) fn minutes(self, default: f64, range: RangeInclusive<f64>) -> Duration {
        self.time(TimeUnit::Minutes, default, &range)
    }

    /// A number of hours within a range.
    pub(super) fn hours(self, default: f64, range: RangeInclusive<f64>) -> Duration {
        self.time(TimeUnit::Hours, default, &range)
    }

    /// A number of seconds within a range, or nothing.
    pub(super) fn optional_seconds(self, range: RangeInclusive<f64>) -> Option<Duration> {
        let allowed = span("a number of seconds", &range);
        let seconds = self.optional(
            &allowed,
            |raw_value| number(raw_value, &range),
            |n| round(*n),
        );
        seconds.and_then(|n| Duration::try_from_secs_f64(n).ok())
    }

    /// A whole number within a range, or nothing.
    pub(super) fn optional_integer<T>(self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + PartialOrd + Display + TryFrom<i128> + serde::Serialize + Endless,
    {
        let parse = |raw_value: &RawValue| {
            let number = T::try_from(whole(&text(raw_value)?)?).ok()?;
            range.contains(&number).then_some(number)
        };
        self.optional(&span("a whole number", &range), parse, |n| json!(*n))
    }

    /// A cron expression, or nothing.
    pub(super) fn cron(self) -> Option<CronExpression> {
        let allowed = "a cron expression that names a moment, such as '15 * * * *'";
        let parse = |raw_value: &RawValue| CronExpression::parse(&text(raw_value)?);
        self.optional(allowed, parse, |cron| display(cron.text()))
    }

    /// One of few values.
    pub(super) fn choice<T: Choice>(self, default: T) -> T {
        let parse = |raw_value: &RawValue| {
            let text = text(raw_value)?.to_ascii_lowercase();
            let found = T::ALL.iter().find(|(name, _)| *name == text);
            found.map(|(_, value)| *value)
        };
        let mut names: Vec<&str> = Vec::new();
        for (at, (name, value)) in T::ALL.iter().enumerate() {
            if !T::ALL[..at].iter().any(|(_, earlier)| earlier == value) {
                names.push(name);
            }
        }
        let show = |value: &T| {
            let found = T::ALL.iter().find(|(_, other)| other == value);
            json!(found.map(|(name, _)| *name))
        };
        self.read(default, &one_of(&names), parse, show)
    }

    /// A file or folder; one that the file says relatively is beside the file.
    pub(super) fn path(self, default: &str) -> PathBuf {
        let base = self.reader.base.clone();
        let parse = |raw_value: &RawValue| {
            text(raw_value)
                .filter(|t| !t.is_empty())
                .map(|t| beside(&base, t, raw_value))
        };
        self.read(PathBuf::from(default), "a path", parse, |path| {
            json!(path.display().to_string())
        })
    }

    /// A file or folder, or nothing.
    pub(super) fn optional_path(self) -> Option<PathBuf> {
        let base = self.reader.base.clone();
        let parse = |raw_value: &RawValue| {
            text(raw_value)
                .filter(|t| !t.is_empty())
                .map(|t| beside(&base, t, raw_value))
        };
        self.optional("a path", parse, |path| json!(path.display().to_string()))
    }

    /// A file or folder that is switched off by an empty text.
    pub(super) fn path_or_off(self, default: &str) -> Option<PathBuf> {
        let base = self.reader.base.clone();
        let parse = |raw_value: &RawValue| {
            text(raw_value).map(|t| (!t.is_empty()).then(|| beside(&base, t, raw_value)))
        };
        self.read(
            Some(PathBuf::from(default)),
            "a path, or '' for none",
            parse,
            |path| {
                json!(
                    path.as_ref()
                        .map_or_else(String::new, |p| p.display().to_string())
                )
            },
        )
    }

    /// A list of texts.
    pub(super) fn texts(self) -> Vec<String> {
        let parse = |raw_value: &RawValue| list(raw_value)?.iter().map(text).collect();
        self.read(
            Vec::new(),
            "a list, such as [a, b]",
            parse,
            |texts: &Vec<String>| json!(texts),
        )
    }

    /// A list of files.
    pub(super) fn paths(self) -> Vec<PathBuf> {
        let base = self.reader.base.clone();
        let parse = |raw_value: &RawValue| {
            let one = |raw_value: &RawValue| Some(beside(&base, text(raw_value)?, raw_value));
            list(raw_value)?.iter().map(one).collect()
        };
        self.read(
            Vec::new(),
            "a list of paths, such as [a.yaml, b.yaml]",
            parse,
            |paths: &Vec<PathBuf>| {
                paths
                    .iter()
                    .map(|path| json!(path.display().to_string()))
                    .collect()
            },
        )
    }

    fn time(self, unit: TimeUnit, default: f64, range: &RangeInclusive<f64>) -> Duration {
        let (name, seconds) = match unit {
            TimeUnit::Seconds => ("a number of seconds", 1.0),
            TimeUnit::Minutes => ("a number of minutes", 60.0),
            TimeUnit::Hours => ("a number of hours", 3600.0),
        };
        let parse = |raw_value: &RawValue| number(raw_value, range);
        let length = self.read(default, &span(name, range), parse, |n| round(*n));
        Duration::try_from_secs_f64(length * seconds).unwrap_or(Duration::MAX)
    }

    fn read<T>(
        mut self,
        default: T,
        allowed: &str,
        parse: impl FnOnce(&RawValue) -> Option<T>,
        show: impl FnOnce(&T) -> Json,
    ) -> T {
        let (found, origin) = self.find(allowed, parse);
        let value = found.unwrap_or(default);
        self.record(show(&value), origin);
        value
    }

    fn optional<T>(
        mut self,
        allowed: &str,
        parse: impl FnOnce(&RawValue) -> Option<T>,
        show: impl FnOnce(&T) -> Json,
    ) -> Option<T> {
        let (found, origin) = self.find(allowed, parse);
        let value = found.as_ref().map_or(Json::Null, show);
        self.record(value, origin);
        found
    }

    /// The value that was said and who said it. One that is wrong is a problem, and counts as not said.
    fn find<T>(
        &mut self,
        allowed: &str,
        parse: impl FnOnce(&RawValue) -> Option<T>,
    ) -> (Option<T>, Origin) {
        let Some(raw_value) = self.reader.raw.values.get(&self.path) else {
            return (None, Origin::Default);
        };
        if raw_value.value == RawNode::Null {
            return (None, Origin::Default);
        }
        let found = parse(raw_value);
        let origin = raw_value.origin.clone();
        if found.is_none() {
            let what = match &raw_value.value {
                RawNode::Scalar(_) if self.is_secret => format!("it must be {allowed}"),
                value => format!("{} is not {allowed}", described(value)),
            };
            self.reader.problems.add(origin.clone(), &self.path, what);
        }
        (found, origin)
    }

    fn record(self, value: Json, origin: Origin) {
        self.reader.settings.push(Setting {
            key: self.path,
            value,
            origin,
            is_live: self.is_live,
        });
    }
}

/// A value in the words of a complaint.
fn described(value: &RawNode) -> String {
    match value {
        RawNode::Scalar(text) => {
            let shown: String = without_logins(text).chars().take(60).collect();
            format!("`{}`", shown.escape_debug())
        }
        RawNode::List(_) => "a list".to_owned(),
        RawNode::Null => "nothing".to_owned(),
        RawNode::Section => "a section".to_owned(),
    }
}

fn display(text: &str) -> Json {
    json!(without_logins(text))
}

fn text(raw_value: &RawValue) -> Option<String> {
    match &raw_value.value {
        RawNode::Scalar(text) => Some(text.clone()),
        _ => None,
    }
}

/// A list; from the environment also `a,b`, since few people write YAML there.
fn list(raw_value: &RawValue) -> Option<Vec<RawValue>> {
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

/// A whole number as YAML writes it: with a sign, with underscores between digits.
fn whole(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
    is_number.then(|| text.replace('_', "").parse().ok())?
}

fn number(raw_value: &RawValue, range: &RangeInclusive<f64>) -> Option<f64> {
    let number: f64 = text(raw_value)?.parse().ok()?;
    range.contains(&number).then_some(number)
}

/// `5` rather than `5.0`.
fn round(n: f64) -> Json {
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

fn beside(base: &Path, text: String, raw_value: &RawValue) -> PathBuf {
    match raw_value.origin {
        Origin::File { .. } => base.join(text),
        _ => PathBuf::from(text),
    }
}

/// `a number of hours from 0 to 24`, or `… of at least 0` where the upper end says nothing.
fn span<T: Display + Endless>(what: &str, range: &RangeInclusive<T>) -> String {
    if range.end().is_endless() {
        format!("{what} of at least {}", range.start())
    } else {
        format!("{what} from {} to {}", range.start(), range.end())
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        names => names.concat(),
    }
}

/// A number's type whose largest value, as an upper end, means "any".
pub(super) trait Endless {
    /// Whether this is the largest.
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

/// Reads `1073741824`, `1G`, `512M` or `64K`, in powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let (number, shift) = match upper.trim_end_matches("IB").trim_end_matches('B') {
        t if t.ends_with('K') => (t.trim_end_matches('K'), 10),
        t if t.ends_with('M') => (t.trim_end_matches('M'), 20),
        t if t.ends_with('G') => (t.trim_end_matches('G'), 30),
        t => (t, 0),
    };
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| "expected a size such as 4G, 512M or 1073741824".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|n| *n > 0)
        .ok_or_else(|| "the size is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(parse_bytes("4G"), Ok(4 << 30));
        assert_eq!(parse_bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert!(parse_bytes("0").is_err() && parse_bytes("many").is_err());
    }

    #[test]
    fn whole_numbers_are_read_as_yaml_writes_them() {
        assert_eq!(whole("-1_000"), Some(-1000));
        assert_eq!(whole("+7"), Some(7));
        for text in ["", "-", "_1", "1.0", "0x1f", "1e3", " 1"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
