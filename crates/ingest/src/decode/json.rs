//! A JSON scanner that makes no tree: it walks a text once, checks all of it, and returns slices.
//!
//! It accepts exactly what RFC 8259 allows, escapes and surrogate pairs checked, nesting limited to [`MAX_DEPTH`].
//! Numbers stay text. Every error names its byte.

use super::strings::{hex4, run_of_plain};
use super::value::{JsonKind, JsonSpan};

/// How deep objects and arrays may be nested; the same limit as `serde_json`'s.
pub(super) const MAX_DEPTH: u32 = 127;

/// The flaw of a text, and its byte.
///
/// Small, like [`JsonSpan`], so that a result of either travels in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JsonError {
    pub flaw: Flaw,
    /// Bytes from the text's beginning.
    pub offset: u32,
}

macro_rules! flaws {
    ($($name:ident $text:literal,)*) => {
        /// A flaw of a JSON text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Flaw { $($name),* }

        impl Flaw {
            /// Returns the flaw as the middle of a sentence.
            pub(super) fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

flaws! {
    NoObject "an object was expected",
    NoArray "an array was expected",
    NoMember "`,` or `}` was expected",
    NoElement "`,` or `]` was expected",
    NoKey "a key in quotes was expected",
    NoColon "`:` was expected",
    NoValue "a value was expected",
    NoDigit "a digit was expected",
    NoHexDigits "four hexadecimal digits were expected",
    NoQuote "a string has no closing quote",
    Control "a control character must be escaped in a string",
    Escape "there is an unknown escape",
    FirstSurrogate "a surrogate has no first half",
    SecondSurrogate "a surrogate has no second half",
    TooDeep "objects and arrays are nested too deep",
    More "there is more after the end of the object",
}

/// A place in a JSON text.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

type Scanned<T> = Result<T, JsonError>;

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// The text that is scanned.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The text from the scanner's place on, as bytes.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Returns the scanner's position, in bytes.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Goes on by that many bytes of [`Scanner::rest`], which the caller has read and understood.
    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    #[cold]
    fn error<T>(&self, flaw: Flaw) -> Scanned<T> {
        Err(JsonError {
            flaw,
            offset: u32::try_from(self.at).unwrap_or(u32::MAX),
        })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Returns the next byte after white space, without consuming it.
    #[inline]
    pub(super) fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Enters an object; whether it has a member.
    pub(super) fn open_object(&mut self) -> Scanned<bool> {
        self.open(b'{', b'}', Flaw::NoObject)
    }

    /// Enters an array; whether it has an element.
    pub(super) fn open_array(&mut self) -> Scanned<bool> {
        self.open(b'[', b']', Flaw::NoArray)
    }

    fn open(&mut self, open: u8, close: u8, expected: Flaw) -> Scanned<bool> {
        if self.token() != Some(open) {
            return self.error(expected);
        }
        self.at += 1;
        if self.token() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// After a member of an entered object: whether another one follows. The object is left at its end.
    #[inline]
    pub(super) fn more_members(&mut self) -> Scanned<bool> {
        self.more(b'}', Flaw::NoMember)
    }

    /// After an element of an entered array: whether another one follows. The array is left at its end.
    #[inline]
    pub(super) fn more_elements(&mut self) -> Scanned<bool> {
        self.more(b']', Flaw::NoElement)
    }

    #[inline]
    fn more(&mut self, close: u8, expected: Flaw) -> Scanned<bool> {
        match self.token() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => self.error(expected),
        }
    }

    /// A member's key, with the colon after it.
    pub(super) fn key(&mut self) -> Scanned<JsonSpan> {
        if self.token() != Some(b'"') {
            return self.error(Flaw::NoKey);
        }
        self.at += 1;
        let key = self.string()?;
        self.colon()?;
        Ok(key)
    }

    /// The colon after a key.
    #[inline]
    pub(super) fn colon(&mut self) -> Scanned<()> {
        if self.token() != Some(b':') {
            return self.error(Flaw::NoColon);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the text ends here, white space aside.
    pub(super) fn end(&mut self) -> Scanned<()> {
        match self.token() {
            None => Ok(()),
            Some(_) => self.error(Flaw::More),
        }
    }

    /// A value of any kind, checked to its end.
    #[inline]
    pub(super) fn value(&mut self) -> Scanned<JsonSpan> {
        let token = self.token();
        let start = self.at;
        match token {
            Some(b'"') => {
                self.at += 1;
                self.string()
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Ok(self.since(start, JsonKind::Number))
            }
            Some(b'{') => {
                self.container()?;
                Ok(self.since(start, JsonKind::Object))
            }
            Some(b'[') => {
                self.container()?;
                Ok(self.since(start, JsonKind::Array))
            }
            _ => self.word(),
        }
    }

    #[inline]
    fn since(&self, start: usize, kind: JsonKind) -> JsonSpan {
        JsonSpan::new(kind, start, self.at)
    }

    fn word(&mut self) -> Scanned<JsonSpan> {
        let start = self.at;
        for (word, kind) in [
            (&b"null"[..], JsonKind::Null),
            (b"true", JsonKind::True),
            (b"false", JsonKind::False),
        ] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(self.since(start, kind));
            }
        }
        self.error(Flaw::NoValue)
    }

    /// An object or array and all within it, without recursion: one bit a level says which of the two it is.
    fn container(&mut self) -> Scanned<()> {
        let base = self.depth;
        let mut objects: u128 = 0;
        loop {
            match self.token() {
                Some(open @ (b'{' | b'[')) => {
                    if self.depth >= MAX_DEPTH {
                        return self.error(Flaw::TooDeep);
                    }
                    self.at += 1;
                    self.depth += 1;
                    let object = open == b'{';
                    objects = objects << 1 | u128::from(object);
                    if self.token() != Some(closing(object)) {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended, or an empty object or array is about to: the next token belongs to the container around it.
            loop {
                if self.depth == base {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                let token = self.token();
                if token == Some(closing(object)) {
                    self.at += 1;
                    self.depth -= 1;
                    objects >>= 1;
                } else if token == Some(b',') {
                    self.at += 1;
                    if object {
                        self.key()?;
                    }
                    break;
                } else if object {
                    return self.error(Flaw::NoMember);
                } else {
                    return self.error(Flaw::NoElement);
                }
            }
        }
    }

    fn scalar(&mut self) -> Scanned<()> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string().map(drop)
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word().map(drop),
        }
    }

    /// A string's content and closing quote; the opening one is consumed.
    #[inline]
    fn string(&mut self) -> Scanned<JsonSpan> {
        let start = self.at;
        let mut kind = JsonKind::Text;
        loop {
            self.at += run_of_plain(self.rest());
            match self.peek() {
                Some(b'"') => {
                    let value = self.since(start, kind);
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    kind = JsonKind::EscapedText;
                    self.escape()?;
                }
                Some(_) => return self.error(Flaw::Control),
                None => return self.error(Flaw::NoQuote),
            }
        }
    }

    fn escape(&mut self) -> Scanned<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.hex4()? {
                    0xD800..=0xDBFF => {
                        if !self.rest().starts_with(b"\\u") {
                            return self.error(Flaw::SecondSurrogate);
                        }
                        self.at += 2;
                        match self.hex4()? {
                            0xDC00..=0xDFFF => Ok(()),
                            _ => self.error(Flaw::SecondSurrogate),
                        }
                    }
                    0xDC00..=0xDFFF => self.error(Flaw::FirstSurrogate),
                    _ => Ok(()),
                }
            }
            _ => self.error(Flaw::Escape),
        }
    }

    fn hex4(&mut self) -> Scanned<u32> {
        match self.rest().first_chunk::<4>().copied().and_then(hex4) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => self.error(Flaw::NoHexDigits),
        }
    }

    #[inline]
    fn number(&mut self) -> Scanned<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Scanned<()> {
        let run = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if run == 0 {
            return self.error(Flaw::NoDigit);
        }
        self.at += run;
        Ok(())
    }
}

#[inline]
fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}
