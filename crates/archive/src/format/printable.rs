//! Text from the archive, as it may be shown and logged: an archive may be written by others, and a terminal takes commands. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a text has no character that moves a cursor, ends a line, or turns the direction of writing.
pub(crate) fn is_printable(text: &str) -> bool {
    !text.chars().any(is_unsafe)
}

/// Returns a text with the characters that a terminal or a log would obey escaped, as `\u{1b}`.
///
/// ```
/// # use mpsync_archive::printable;
/// assert_eq!(printable("BTC-USDT"), "BTC-USDT");
/// assert_eq!(printable("a\u{1b}[31m\r\n"), "a\\u{1b}[31m\\r\\n");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_printable(text) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unsafe(character) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "{}", character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character is a control character, one of the line and paragraph separators, or turns the direction of writing.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        for text in ["", "BTC-USDT", "süß 東京", "Decimal(38, 18)"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }
}
