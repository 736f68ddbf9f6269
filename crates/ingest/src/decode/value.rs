//! A JSON value that has been scanned: its kind and the position of its text.

use super::strings::unescape;

/// The kind of a value.
///
/// As wide as its neighbour in a [`JsonItem`]: a byte that is written alone and read with its padding makes the
/// processor wait, which took a fifth of all time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum JsonKind {
    Null,
    True,
    False,
    Number,
    /// A string without escapes: its text is its value.
    Text,
    /// A string with escapes, to be read with [`JsonItem::string`].
    EscapedText,
    Array,
    Object,
}

/// A value and the position of its text, which of a string is the part between the quotes.
///
/// One word, the kind in its lowest three bits, then 30 bits each for the start and the end of the text: a word that is
/// written and read as a whole stalls no processor. Texts are below 1 GiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonSpan(u64);

const POSITION_BITS: u32 = 30;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;

impl JsonSpan {
    #[inline]
    pub(super) fn new(kind: JsonKind, start: usize, end: usize) -> Self {
        let (start, end) = (start as u64 & POSITION_MASK, end as u64 & POSITION_MASK);
        Self(end << (POSITION_BITS + 3) | start << 3 | kind as u64)
    }

    #[inline]
    pub(super) fn kind(self) -> JsonKind {
        const KINDS: [JsonKind; 8] = [
            JsonKind::Null,
            JsonKind::True,
            JsonKind::False,
            JsonKind::Number,
            JsonKind::Text,
            JsonKind::EscapedText,
            JsonKind::Array,
            JsonKind::Object,
        ];
        KINDS[(self.0 & 7) as usize]
    }

    /// The value with its text.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn of(self, text: &str) -> JsonItem<'_> {
        let start = (self.0 >> 3 & POSITION_MASK) as usize;
        let end = (self.0 >> (POSITION_BITS + 3)) as usize;
        JsonItem {
            kind: self.kind(),
            raw: &text[start..end],
        }
    }
}

/// A value as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonItem<'a> {
    pub kind: JsonKind,
    /// Of a string, the part between the quotes.
    pub raw: &'a str,
}

impl<'a> JsonItem<'a> {
    /// A string, or nothing for other kinds. `scratch` takes the text of a string with escapes.
    #[inline]
    pub(super) fn string<'s>(self, scratch: &'s mut String) -> Option<&'s str>
    where
        'a: 's,
    {
        match self.kind {
            JsonKind::Text => Some(self.raw),
            JsonKind::EscapedText => {
                unescape(self.raw, scratch);
                Some(scratch)
            }
            _ => None,
        }
    }

    /// The text of a string, or of a number as it is written.
    #[inline]
    pub(super) fn scalar_text<'s>(self, scratch: &'s mut String) -> Option<&'s str>
    where
        'a: 's,
    {
        match self.kind {
            JsonKind::Number => Some(self.raw),
            _ => self.string(scratch),
        }
    }
}
