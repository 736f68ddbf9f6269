//! The content of a JSON string.

/// How many bytes there are before the first quote, backslash or control character. Eight bytes at a time: a byte is
/// found by the borrow that a subtraction leaves in its highest bit; only the first one found can be trusted, and only
/// the first is asked for.
#[inline]
pub(super) fn run_of_plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const QUOTE: u64 = 0x22;
    const BACKSLASH: u64 = 0x5C;
    let mut run = 0;
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * QUOTE);
        let backslash = word ^ (ONES * BACKSLASH);
        let found = ((word.wrapping_sub(ONES * 0x20) & !word)
            | (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash))
            & HIGHS;
        if found != 0 {
            return run + (found.trailing_zeros() / 8) as usize;
        }
        run += 8;
        rest = tail;
    }
    run + rest
        .iter()
        .take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
        .count()
}

/// A code unit from its four hexadecimal digits.
pub(super) fn hex4(digits: [u8; 4]) -> Option<u32> {
    digits.iter().try_fold(0, |code, &digit| {
        Some(code << 4 | char::from(digit).to_digit(16)?)
    })
}

/// The text of a string with escapes, which the scanner has found well-formed, into `out`.
pub(super) fn unescape(raw: &str, out: &mut String) {
    out.clear();
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let Some(&escape) = rest.as_bytes().first() else {
            return;
        };
        rest = &rest[1..];
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => unescape_unicode(&mut rest),
            other => char::from(other),
        });
    }
    out.push_str(rest);
}

fn unescape_unicode(rest: &mut &str) -> char {
    let mut unit = || {
        let code = rest.as_bytes().first_chunk::<4>().copied().and_then(hex4)?;
        *rest = &rest[4..];
        Some(code)
    };
    let Some(first) = unit() else {
        return char::REPLACEMENT_CHARACTER;
    };
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    *rest = rest.strip_prefix("\\u").unwrap_or(rest);
    let second = rest.as_bytes().first_chunk::<4>().copied().and_then(hex4);
    *rest = rest.get(4..).unwrap_or_default();
    second
        .and_then(|low| {
            char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + low.checked_sub(0xDC00)?)
        })
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}
