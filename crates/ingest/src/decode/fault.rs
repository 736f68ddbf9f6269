//! Faults inside a value, before field and column are known.

use super::json::JsonError;
use super::time::TimeFault;
use super::value::{JsonItem, JsonKind};
use mpsync_core::decimal::NumberFault;

/// The state that readers of values share.
#[derive(Debug, Default)]
pub(super) struct DecodeContext {
    /// Whether excess digits are rounded away.
    pub round: bool,
    /// How many values were rounded in this message.
    pub rounded: u64,
    /// Room for the text of a string with escapes.
    pub scratch: String,
}

/// A flaw of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueFlaw {
    Json(JsonError),
    WrongType,
    BadNumber,
    ExcessDigits,
    OutOfRange,
    BadTime,
    ImplausibleTime,
    /// A level has fewer elements than price and quantity, or a tuple not as many as it has fields.
    Elements,
    /// A member of an object is there twice.
    Duplicate,
    /// The array that is being built cannot grow.
    Full,
}

/// A flaw and its place inside the value.
///
/// In a box, so that a good result is a register.
#[derive(Debug)]
pub(super) struct Fault(Box<Flawed>);

/// The content of a [`Fault`].
#[derive(Debug)]
pub(super) struct Flawed {
    pub what: ValueFlaw,
    /// The path inside the value: `[3].price`; empty if the whole value is at fault.
    pub path: String,
    /// The part at fault, if it is not the whole value.
    pub value: Option<String>,
}

impl Fault {
    /// Adds the part at fault.
    #[cold]
    pub(super) fn of(mut self, item: JsonItem<'_>) -> Self {
        self.0.value.get_or_insert_with(|| display(item));
        self
    }

    /// Adds the path of that part, from the inside out.
    #[cold]
    pub(super) fn under(mut self, path: &str) -> Self {
        self.0.path.insert_str(0, path);
        self
    }

    pub(super) fn into_inner(self) -> Flawed {
        *self.0
    }
}

/// A value as error messages show it: shortened, and without characters that could disturb a terminal or a log.
pub(super) fn display(item: JsonItem<'_>) -> String {
    match item.kind {
        JsonKind::Text | JsonKind::EscapedText => format!("\"{}\"", excerpt(item.raw)),
        _ => excerpt(item.raw),
    }
}

/// The beginning of a text, control characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == MAX_CHARS {
            out.push('…');
            break;
        }
        if c == '"' || c == '\'' || c == '\\' {
            out.push(c);
        } else {
            out.extend(c.escape_debug());
        }
    }
    out
}

impl From<ValueFlaw> for Fault {
    #[cold]
    fn from(what: ValueFlaw) -> Self {
        Self(Box::new(Flawed {
            what,
            path: String::new(),
            value: None,
        }))
    }
}

impl From<JsonError> for Fault {
    fn from(e: JsonError) -> Self {
        ValueFlaw::Json(e).into()
    }
}

impl From<NumberFault> for Fault {
    fn from(fault: NumberFault) -> Self {
        let what = match fault {
            NumberFault::Malformed => ValueFlaw::BadNumber,
            NumberFault::ExcessDigits => ValueFlaw::ExcessDigits,
            NumberFault::OutOfRange => ValueFlaw::OutOfRange,
        };
        what.into()
    }
}

impl From<TimeFault> for Fault {
    fn from(fault: TimeFault) -> Self {
        let what = match fault {
            TimeFault::Malformed => ValueFlaw::BadTime,
            TimeFault::ExcessDigits => ValueFlaw::ExcessDigits,
            TimeFault::Implausible => ValueFlaw::ImplausibleTime,
        };
        what.into()
    }
}
