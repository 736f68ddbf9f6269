//! One key, read as the type that its section states.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::bytes::parse_bytes;
use super::origin::Origin;
use super::raw::{RawNode, RawValue};
use super::reader::ConfigReader;
use super::settings::Setting;
use super::value::{
    Endless, beside, described, display, list, number, one_of, range_text, round, text, whole,
};
use mpsync_net::Secret;

/// An enumeration with the names of its values in the configuration.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// The names, each with its value; the first name of a value is the one for display.
    const ALL: &'static [(&'static str, Self)];
}

/// The unit of a length of time, in seconds.
#[derive(Debug, Clone, Copy)]
enum TimeUnit {
    Seconds,
    Minutes,
    Hours,
}

/// A key that is not read yet.
pub(crate) struct ConfigKey<'r> {
    path: String,
    is_live: bool,
    is_secret: bool,
    reader: &'r mut ConfigReader,
}

impl<'r> ConfigKey<'r> {
    pub(crate) fn new(path: String, reader: &'r mut ConfigReader) -> Self {
        Self {
            path,
            is_live: false,
            is_secret: false,
            reader,
        }
    }

    /// Marks a key that SIGHUP changes in a running process.
    pub(crate) fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Reads any text.
    pub(crate) fn text(self, default: &str) -> String {
        self.read(default.to_owned(), "text", text, |text| display(text))
    }

    /// Reads any text, or nothing.
    pub(crate) fn optional_text(self) -> Option<String> {
        self.optional("text", text, |text| display(text))
    }

    /// Reads a text that passes a check; `allowed` describes such texts.
    pub(crate) fn text_that(
        self,
        default: &str,
        allowed: &str,
        passes: impl Fn(&str) -> bool,
    ) -> String {
        let parse = |raw_value: &RawValue| text(raw_value).filter(|text| passes(text));
        self.read(default.to_owned(), allowed, parse, |text| display(text))
    }

    /// Reads a text that is never displayed.
    pub(crate) fn secret_text(mut self) -> Option<Secret> {
        self.is_secret = true;
        self.optional(
            "text",
            |raw_value| text(raw_value).map(Secret::new),
            |_| json!("***"),
        )
    }

    /// Reads `true` or `false`; YAML 1.1 also has `yes`, `no`, `on` and `off`.
    pub(crate) fn flag(self, default: bool) -> bool {
        let parse = |raw_value: &RawValue| match text(raw_value)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        };
        self.read(default, "true or false", parse, |flag| json!(*flag))
    }

    /// Reads a whole number within a range.
    pub(crate) fn integer<T>(self, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<i128> + serde::Serialize + Endless,
    {
        let parse = |raw_value: &RawValue| {
            let number = T::try_from(whole(&text(raw_value)?)?).ok()?;
            range.contains(&number).then_some(number)
        };
        self.read(default, &range_text("a whole number", &range), parse, |n| {
            json!(*n)
        })
    }

    /// Reads a number of bytes: `268435456`, `256M` or `256 MiB`, in powers of 1024.
    pub(crate) fn bytes(self, default: u64, range: RangeInclusive<u64>) -> u64 {
        let parse = |raw_value: &RawValue| {
            let text = text(raw_value)?;
            let bytes = parse_bytes(&text).ok().or_else(|| text.parse().ok())?;
            range.contains(&bytes).then_some(bytes)
        };
        self.read(
            default,
            &range_text("a number of bytes, such as 256M,", &range),
            parse,
            |n| json!(*n),
        )
    }

    /// Reads a number of seconds within a range.
    pub(crate) fn seconds(self, default: f64, range: RangeInclusive<f64>) -> Duration {
        self.time(TimeUnit::Seconds, default, &range)
    }

    /// Reads a number of minutes within a range.
    pub(crate) fn minutes(self, default: f64, range: RangeInclusive<f64>) -> Duration {
        self.time(TimeUnit::Minutes, default, &range)
    }

    /// Reads a number of hours within a range.
    pub(crate) fn hours(self, default: f64, range: RangeInclusive<f64>) -> Duration {
        self.time(TimeUnit::Hours, default, &range)
    }

    /// Reads a number of seconds within a range, or nothing.
    pub(crate) fn optional_seconds(self, range: RangeInclusive<f64>) -> Option<Duration> {
        let allowed = range_text("a number of seconds", &range);
        let seconds = self.optional(
            &allowed,
            |raw_value| number(raw_value, &range),
            |n| round(*n),
        );
        seconds.and_then(|n| Duration::try_from_secs_f64(n).ok())
    }

    /// Reads a whole number within a range, or nothing.
    pub(crate) fn optional_integer<T>(self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + PartialOrd + Display + TryFrom<i128> + serde::Serialize + Endless,
    {
        let parse = |raw_value: &RawValue| {
            let number = T::try_from(whole(&text(raw_value)?)?).ok()?;
            range.contains(&number).then_some(number)
        };
        self.optional(&range_text("a whole number", &range), parse, |n| json!(*n))
    }

    /// Reads a text that parses, or nothing; `allowed` describes such texts.
    pub(crate) fn optional_parsed<T>(
        self,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        text_of: impl FnOnce(&T) -> &str,
    ) -> Option<T> {
        let parse = |raw_value: &RawValue| parse(&text(raw_value)?);
        self.optional(allowed, parse, |value| display(text_of(value)))
    }

    /// Reads a value of an enumeration.
    pub(crate) fn choice<T: Choice>(self, default: T) -> T {
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
        let display = |value: &T| {
            let found = T::ALL.iter().find(|(_, other)| other == value);
            json!(found.map(|(name, _)| *name))
        };
        self.read(default, &one_of(&names), parse, display)
    }

    /// Reads a path; a relative path in the file is relative to the file's folder.
    pub(crate) fn path(self, default: &str) -> PathBuf {
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

    /// Reads a path, or nothing.
    pub(crate) fn optional_path(self) -> Option<PathBuf> {
        let base = self.reader.base.clone();
        let parse = |raw_value: &RawValue| {
            text(raw_value)
                .filter(|t| !t.is_empty())
                .map(|t| beside(&base, t, raw_value))
        };
        self.optional("a path", parse, |path| json!(path.display().to_string()))
    }

    /// Reads a path, or an empty text that means none.
    pub(crate) fn path_or_off(self, default: &str) -> Option<PathBuf> {
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

    /// Reads a list of texts.
    pub(crate) fn texts(self) -> Vec<String> {
        let parse = |raw_value: &RawValue| list(raw_value)?.iter().map(text).collect();
        self.read(
            Vec::new(),
            "a list, such as [a, b]",
            parse,
            |texts: &Vec<String>| json!(texts),
        )
    }

    /// Reads a list of paths.
    pub(crate) fn paths(self) -> Vec<PathBuf> {
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
        let length = self.read(default, &range_text(name, range), parse, |n| round(*n));
        Duration::try_from_secs_f64(length * seconds).unwrap_or(Duration::MAX)
    }

    fn read<T>(
        mut self,
        default: T,
        allowed: &str,
        parse: impl FnOnce(&RawValue) -> Option<T>,
        display: impl FnOnce(&T) -> Json,
    ) -> T {
        let (found, origin) = self.find(allowed, parse);
        let value = found.unwrap_or(default);
        self.record(display(&value), origin);
        value
    }

    fn optional<T>(
        mut self,
        allowed: &str,
        parse: impl FnOnce(&RawValue) -> Option<T>,
        display: impl FnOnce(&T) -> Json,
    ) -> Option<T> {
        let (found, origin) = self.find(allowed, parse);
        let value = found.as_ref().map_or(Json::Null, display);
        self.record(value, origin);
        found
    }

    /// Returns the value that is set and its origin. An invalid value is a problem, and counts as not set.
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
            let problem = match &raw_value.value {
                RawNode::Scalar(_) if self.is_secret => format!("it must be {allowed}"),
                value => format!("{} is not {allowed}", described(value)),
            };
            self.reader
                .problems
                .add(origin.clone(), &self.path, problem);
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
