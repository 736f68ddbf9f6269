//! Errors of the engine in ClickHouse's terms: code, text, and the HTTP status that a server answers with.

use std::fmt;

use hyper::StatusCode;

/// Codes that this crate raises itself; see `system.errors`.
pub(crate) mod code {
    pub(crate) const BAD_ARGUMENTS: u32 = 36;
    pub(crate) const SYNTAX_ERROR: u32 = 62;
    pub(crate) const LOGICAL_ERROR: u32 = 49;
    pub(crate) const INCORRECT_DATA: u32 = 117;
    pub(crate) const CANNOT_DECOMPRESS: u32 = 271;
    pub(crate) const SESSION_NOT_FOUND: u32 = 372;
    pub(crate) const SESSION_IS_LOCKED: u32 = 373;
    pub(crate) const READONLY: u32 = 164;
    pub(crate) const ACCESS_DENIED: u32 = 497;
    pub(crate) const AUTHENTICATION_FAILED: u32 = 516;
    pub(crate) const QUERY_IS_TOO_LARGE: u32 = 266;
    pub(crate) const CLIENT_DISCONNECTED: u32 = 210;
    pub(crate) const UNKNOWN_FORMAT: u32 = 73;
    pub(crate) const FILE_DOESNT_EXIST: u32 = 107;
    pub(crate) const FILE_ALREADY_EXISTS: u32 = 504;
    pub(crate) const NOT_ENOUGH_SPACE: u32 = 243;
    pub(crate) const CANNOT_WRITE_TO_FILE_DESCRIPTOR: u32 = 75;
}

/// An exception as ClickHouse words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exception {
    /// ClickHouse's error code.
    pub(crate) code: u32,
    /// `Code: N. DB::Exception: …`, without a stack trace.
    pub(crate) text: String,
}

impl Exception {
    /// Returns an exception that this crate raises itself.
    pub(crate) fn new(code: u32, name: &str, message: impl fmt::Display) -> Self {
        Self {
            code,
            text: format!("Code: {code}. DB::Exception: {message}. ({name})"),
        }
    }

    pub(crate) fn bad_arguments(message: impl fmt::Display) -> Self {
        Self::new(code::BAD_ARGUMENTS, "BAD_ARGUMENTS", message)
    }

    pub(crate) fn syntax(message: impl fmt::Display) -> Self {
        Self::new(code::SYNTAX_ERROR, "SYNTAX_ERROR", message)
    }

    pub(crate) fn denied(message: impl fmt::Display) -> Self {
        Self::new(code::ACCESS_DENIED, "ACCESS_DENIED", message)
    }

    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::new(code::LOGICAL_ERROR, "LOGICAL_ERROR", message)
    }

    /// Parses a message of the engine. A text without a code has code 1001 (`STD_EXCEPTION`).
    pub(crate) fn parse(text: &str) -> Self {
        let text = tidy(text);
        let code = text
            .trim_start()
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(number, _)| number.parse().ok());
        match code {
            Some(code) => Self { code, text },
            None => Self {
                code: 1001,
                text: format!("Code: 1001. DB::Exception: {text}. (STD_EXCEPTION)"),
            },
        }
    }

    /// Removes text that this program added to the statement.
    pub(crate) fn without(mut self, added: &str) -> Self {
        if !added.is_empty() {
            self.text = self.text.replace(added, "");
        }
        self
    }

    /// Returns the status with which ClickHouse's HTTP handler answers this code.
    pub(crate) fn status(&self) -> StatusCode {
        match self.code {
            194 => StatusCode::UNAUTHORIZED,
            192 | 193 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
            6 | 15 | 16 | 25 | 26 | 27 | 36 | 38 | 41 | 43 | 44 | 53 | 62 | 69 | 72 | 117 | 167
            | 168 | 223 | 224 | 321 | 376 | 427 | 441 | 456 | 457 | 675 | 676 => {
                StatusCode::BAD_REQUEST
            }
            46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 161 | 336 | 372 => {
                StatusCode::NOT_FOUND
            }
            159 => StatusCode::REQUEST_TIMEOUT,
            266 => StatusCode::PAYLOAD_TOO_LARGE,
            48 => StatusCode::NOT_IMPLEMENTED,
            76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Returns the engine's text as a server words it: without a stack trace, and once if the engine wraps an
/// exception into another of the same text.
fn tidy(text: &str) -> String {
    let mut text = text.trim().to_owned();
    if let Some((message, trace)) = text.split_once(", Stack trace (when copying this message") {
        let name = trace.rsplit_once(" (").map_or("", |(_, name)| name);
        let is_name = name.ends_with(')')
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b')'));
        text = if is_name {
            format!("{message}. ({name}")
        } else {
            message.to_owned()
        };
    }
    if let Some((outer, inner)) = text.split_once(" DB::Exception: ")
        && inner.starts_with(outer)
        && let Some(end) = inner.rfind(" (version ")
    {
        return inner[..end].to_owned();
    }
    match text.rfind(" (version ") {
        Some(end) if text.ends_with(')') => text[..end].to_owned(),
        _ => text,
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Exception {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_parsed_and_decides_the_status() {
        let e = Exception::parse(
            "Code: 60. DB::Exception: Table default.x does not exist. (UNKNOWN_TABLE)",
        );
        assert_eq!((e.code, e.status()), (60, StatusCode::NOT_FOUND));
        let e = Exception::parse(
            "Cannot run a query while a streaming insert is active on this connection",
        );
        assert_eq!(
            (e.code, e.status()),
            (1001, StatusCode::INTERNAL_SERVER_ERROR)
        );
        assert!(e.text.starts_with("Code: 1001. DB::Exception: Cannot run"));
    }

    #[test]
    fn text_is_not_repeated_and_has_no_stack_trace() {
        let twice = "Code: 452. DB::Exception: Code: 452. DB::Exception: No. (X_Y) (version 26.7.2.1). (X_Y)";
        assert_eq!(
            Exception::parse(twice).text,
            "Code: 452. DB::Exception: No. (X_Y)"
        );
        let traced = "Code: 501. DB::Exception: No, Stack trace (when copying this message, always include the lines below):\n\n0. ? @ 0x1\n. (X_Y)";
        assert_eq!(
            Exception::parse(traced).text,
            "Code: 501. DB::Exception: No. (X_Y)"
        );
    }
}
