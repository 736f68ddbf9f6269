//! The tokens of a statement, as in ClickHouse's own lexer: quotes, heredocs and comments never hide or fake a keyword.
//!
//! Verified on the engine: block comments nest; `--`, `//`, `# ` and `#!` start line comments. ClickHouse also treats
//! some characters outside of ASCII as blanks, minus signs or quotes. Here they are parts of words, and
//! `statement/policy.rs` refuses them outside of quotes and comments.

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A bare word: keyword or identifier.
    Word,
    /// A quoted identifier, quotes included.
    Quoted,
    /// A string literal or heredoc, quotes included.
    Text,
    /// Anything that begins with a digit.
    Number,
    /// One byte of punctuation.
    Symbol(u8),
    /// A quote or a comment without an end, up to the end of the text.
    Unterminated,
}

/// A token and its byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// An iterator over the tokens of a text.
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at.min(self.text.len())..]
    }

    /// Skips space and comments; returns false if a comment does not end.
    fn skip_blank(&mut self) -> bool {
        loop {
            let rest = self.rest();
            match rest {
                [b, ..] if b.is_ascii_whitespace() || matches!(b, 0x0b | 0) => self.at += 1,
                [b'-', b'-', ..] | [b'/', b'/', ..] | [b'#', b' ' | b'!', ..] => {
                    self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
                }
                [b'/', b'*', ..] => {
                    if !self.skip_block_comment() {
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }

    fn skip_block_comment(&mut self) -> bool {
        let mut depth = 0usize;
        loop {
            match self.rest() {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.at += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return true;
                    }
                }
                [] => return false,
                _ => self.at += 1,
            }
        }
    }

    /// Reads a quoted token with one-byte quotes, backslash escapes and doubled quotes.
    fn quoted(&mut self, quote: u8, kind: TokenKind) -> TokenKind {
        self.at += 1;
        loop {
            match self.rest() {
                [] => return TokenKind::Unterminated,
                [b'\\', _, ..] => self.at += 2,
                [a, b, ..] if *a == quote && *b == quote => self.at += 2,
                [a, ..] => {
                    self.at += 1;
                    if *a == quote {
                        return kind;
                    }
                }
            }
        }
    }

    /// Reads up to the next `close`, the tag of a heredoc.
    fn until(&mut self, open: usize, close: &[u8], kind: TokenKind) -> TokenKind {
        self.at += open;
        let Some(n) = memchr::memmem::find(self.rest(), close) else {
            self.at = self.text.len();
            return TokenKind::Unterminated;
        };
        self.at += n + close.len();
        kind
    }

    fn heredoc(&mut self) -> Option<TokenKind> {
        let rest = self.rest();
        let tag_end = rest
            .iter()
            .skip(1)
            .position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))?
            + 1;
        (rest[tag_end] == b'$').then(|| {
            let tag = &rest[..=tag_end];
            self.until(tag.len(), tag, TokenKind::Text)
        })
    }

    fn run(&mut self, kind: TokenKind, belongs: impl Fn(u8) -> bool) -> TokenKind {
        let rest = self.rest();
        self.at += rest.iter().position(|b| !belongs(*b)).unwrap_or(rest.len());
        kind
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let begin = self.at;
        if !self.skip_blank() {
            return Some(Token {
                kind: TokenKind::Unterminated,
                start: begin,
                end: self.text.len(),
            });
        }
        let start = self.at;
        let rest = self.rest();
        let kind = match rest {
            [] => return None,
            [b'\'', ..] => self.quoted(b'\'', TokenKind::Text),
            [q @ (b'"' | b'`'), ..] => self.quoted(*q, TokenKind::Quoted),
            [b'$', ..] => match self.heredoc() {
                Some(kind) => kind,
                None => self.run(TokenKind::Word, is_word),
            },
            [b'0'..=b'9', ..] => self.run(TokenKind::Number, |b| is_word(b) || b == b'.'),
            [b, ..] if is_word(*b) => self.run(TokenKind::Word, is_word),
            [b, ..] => {
                self.at += 1;
                TokenKind::Symbol(*b)
            }
        };
        Some(Token {
            kind,
            start,
            end: self.at,
        })
    }
}

/// Returns a text as a literal of ClickHouse: the inverse of reading one.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Returns the beginning of a statement for the log, without literals, which may contain data or secrets.
pub(crate) fn without_literals(text: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 2000;
    let mut out = String::new();
    for token in Lexer::new(text, 0) {
        if out.len() > SHOWN_BYTES_MAX {
            out.push_str(" …");
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        match token.kind {
            TokenKind::Text | TokenKind::Unterminated => out.push_str("'…'"),
            _ => out.push_str(&String::from_utf8_lossy(&text[token.start..token.end])),
        }
    }
    out
}

/// A text and its tokens.
pub(crate) struct Tokens<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) list: Vec<Token>,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            list: Lexer::new(text, 0).collect(),
        }
    }

    /// Whether token `i` is this bare word, in any case.
    pub(crate) fn is_word(&self, i: usize, word: &str) -> bool {
        self.list.get(i).is_some_and(|t| {
            t.kind == TokenKind::Word && self.bytes(t).eq_ignore_ascii_case(word.as_bytes())
        })
    }

    pub(crate) fn is_symbol(&self, i: usize, symbol: u8) -> bool {
        self.list
            .get(i)
            .is_some_and(|t| t.kind == TokenKind::Symbol(symbol))
    }

    pub(crate) fn is_text(&self, i: usize) -> bool {
        self.list.get(i).is_some_and(|t| t.kind == TokenKind::Text)
    }

    /// Returns the value of a literal without escapes: a heredoc, or a quoted text without a backslash.
    pub(crate) fn plain_text(&self, i: usize) -> Option<&'a str> {
        let token = self.list.get(i).filter(|t| t.kind == TokenKind::Text)?;
        let text = std::str::from_utf8(self.bytes(token)).ok()?;
        if let Some(tagged) = text.strip_prefix('$') {
            let tag = tagged.find('$')? + 2;
            return text.get(tag..text.len().checked_sub(tag)?);
        }
        let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
        (!inner.contains(['\\', '\''])).then_some(inner)
    }

    pub(crate) fn bytes(&self, token: &Token) -> &'a [u8] {
        &self.text[token.start..token.end]
    }

    /// Returns a bare word or a quoted identifier without its quotes; escapes are not decoded.
    pub(crate) fn identifier(&self, i: usize) -> Option<&'a [u8]> {
        let token = self.list.get(i)?;
        let bytes = self.bytes(token);
        match token.kind {
            TokenKind::Word => Some(bytes),
            TokenKind::Quoted => bytes.get(1..bytes.len().saturating_sub(1)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let tokens = Tokens::new(text.as_bytes());
        tokens
            .list
            .iter()
            .map(|t| format!("{:?}:{}", t.kind, String::from_utf8_lossy(tokens.bytes(t))))
            .collect()
    }

    #[test]
    fn quotes_comments_and_heredocs_neither_hide_nor_fake_words() {
        assert_eq!(
            words("SELECT 'a''b\\'c' -- FORMAT\n, `x``y`"),
            [
                "Word:SELECT",
                "Text:'a''b\\'c'",
                "Symbol(44):,",
                "Quoted:`x``y`"
            ]
        );
        assert_eq!(
            words("/* /* */ FORMAT */ a // b\n# c\n$t$ x'$t$ $$y$$"),
            ["Word:a", "Text:$t$ x'$t$", "Text:$$y$$"]
        );
        // Bytes outside of ASCII are words, whatever ClickHouse takes them for: the policy refuses them.
        assert_eq!(words("1.5e3 \u{2003}x"), ["Number:1.5e3", "Word:\u{2003}x"]);
        assert_eq!(words("'open"), ["Unterminated:'open"]);
        assert_eq!(
            without_literals(b"SELECT url('http://u:p@h') -- p"),
            "SELECT url ( '\u{2026}' )"
        );
    }
}
