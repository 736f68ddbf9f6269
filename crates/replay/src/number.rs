//! Numbers and texts as JSON, straight to bytes. Pure.

pub(super) use mpsync_core::decimal::{push_decimal_text, push_decimal128, push_i64, push_u64};

/// Writes a text in quotes, escaped as JSON requires.
#[inline]
pub(super) fn push_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain..at]);
        plain = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_escaped_as_json_asks_for() {
        for given in ["BTC-USDT", "", "a\"b\\c", "line\nend\u{1}", "купил ₿"] {
            let written = text(|out| push_text(given, out));
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), given);
        }
    }
}
