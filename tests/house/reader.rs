//! Splits Rust source into tokens and takes test code out of it.

/// The kind of a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword.
    Name,
    /// Punctuation; `::` is one token.
    Mark,
    /// A string literal, without its quotes.
    Text,
    /// A number, a character or a lifetime.
    Other,
    /// A comment, without its slashes.
    Comment,
    /// A doc comment, without its slashes.
    Doc,
}

/// A piece of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The line on which it begins, from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Token {
    /// Whether it is this name or mark: not a text that happens to read so.
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Name | Kind::Mark) && self.text == text
    }
}

/// Returns the names and marks of a source, without comments; texts are kept.
pub(crate) fn code(source: &str) -> Vec<Token> {
    let mut tokens = tokens(source);
    tokens.retain(|token| !matches!(token.kind, Kind::Comment | Kind::Doc));
    tokens
}

/// Returns all tokens of a source.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < chars.len() {
        let rest = &chars[at..];
        let (length, token) = match rest {
            ['/', '/', ..] => line_comment(rest),
            ['/', '*', ..] => {
                let length = block_comment(rest);
                (length, Some((Kind::Comment, 2..length)))
            }
            ['"', ..] => quoted(rest),
            ['r', ..] if raw_text(rest).is_some() => raw_text(rest).unwrap(),
            // The prefix of a raw byte string goes by itself.
            ['b', 'r', ..] if raw_text(&rest[1..]).is_some() => (1, None),
            ['\'', ..] => quote(rest),
            [c, ..] if is_name(*c) => {
                let length = end_of_name(rest);
                let kind = match c.is_ascii_digit() {
                    true => Kind::Other,
                    false => Kind::Name,
                };
                (length, Some((kind, 0..length)))
            }
            [':', ':', ..] => (2, Some((Kind::Mark, 0..2))),
            [c, ..] if c.is_whitespace() => (1, None),
            _ => (1, Some((Kind::Mark, 0..1))),
        };
        if let Some((kind, span)) = token {
            let text = rest[span].iter().collect();
            found.push(Token { line, kind, text });
        }
        line += rest[..length].iter().filter(|c| **c == '\n').count();
        at += length;
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_name(rest: &[char]) -> usize {
    rest.iter().position(|c| !is_name(*c)).unwrap_or(rest.len())
}

/// The length of a token, its kind, and where its text lies in it.
type Read = (usize, Option<(Kind, std::ops::Range<usize>)>);

fn line_comment(rest: &[char]) -> Read {
    let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
    match rest {
        // Four slashes are a rule across the page.
        ['/', '/', '/', '/', ..] => (length, Some((Kind::Comment, 4..length))),
        ['/', '/', '/' | '!', ..] => (length, Some((Kind::Doc, 3..length))),
        _ => (length, Some((Kind::Comment, 2..length))),
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char]) -> Read {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    let end = at.min(rest.len());
    ((end + 1).min(rest.len()), Some((Kind::Text, 1..end)))
}

/// Reads `r"…"` or `r#"…"#`, if that is what begins here.
fn raw_text(rest: &[char]) -> Option<Read> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let body = 2 + hashes;
    let found = rest[body..].windows(end.len()).position(|w| w == end)?;
    let text = body..body + found;
    Some((text.end + end.len(), Some((Kind::Text, text))))
}

/// Reads a character or a lifetime.
fn quote(rest: &[char]) -> Read {
    let length = match rest {
        ['\'', '\\', _, tail @ ..] => 4 + tail.iter().position(|c| *c == '\'').unwrap_or_default(),
        ['\'', _, '\'', ..] => 3,
        _ => 1 + end_of_name(&rest[1..]),
    };
    let length = length.min(rest.len());
    (length, Some((Kind::Other, 0..length)))
}

/// Returns the index behind the bracket that closes the one at `at`.
pub(crate) fn closing(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Removes what is compiled for tests only: whatever stands behind `#[test]` or a `#[cfg]` that
/// asks for `test`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut at) = (Vec::with_capacity(tokens.len()), 0);
    while at < tokens.len() {
        if is_attribute(tokens, at) {
            let mut end = closing(tokens, at + 1);
            if is_of_tests(&tokens[at + 2..end]) {
                while is_attribute(tokens, end) {
                    end = closing(tokens, end + 1);
                }
                at = end_of_item(tokens, end);
            } else {
                kept.extend_from_slice(&tokens[at..end]);
                at = end;
            }
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

fn is_attribute(tokens: &[Token], at: usize) -> bool {
    matches!(tokens.get(at..at + 2), Some([hash, open]) if hash.is("#") && open.is("["))
}

/// Whether an attribute's inside restricts what follows to tests.
fn is_of_tests(inside: &[Token]) -> bool {
    match inside {
        [only, end] => only.is("test") && end.is("]"),
        [cfg, ..] if cfg.is("cfg") => inside.iter().enumerate().any(|(at, token)| {
            let negated = at >= 2 && inside[at - 2].is("not");
            token.is("test") && !negated
        }),
        _ => false,
    }
}

/// Returns the index behind the item, field, arm or statement that begins at `at`.
fn end_of_item(tokens: &[Token], at: usize) -> usize {
    let mut first = at;
    while tokens.get(first).is_some_and(|token| token.is("pub")) {
        first += 1;
        if tokens.get(first).is_some_and(|token| token.is("(")) {
            first = closing(tokens, first);
        }
    }
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let is_function =
        word(first) == "const" && matches!(word(first + 1), "fn" | "unsafe" | "async");
    let to_semicolon =
        !is_function && matches!(word(first), "use" | "const" | "static" | "type" | "let");
    let is_item = is_function
        || matches!(
            word(first),
            "fn" | "struct"
                | "impl"
                | "enum"
                | "trait"
                | "mod"
                | "union"
                | "async"
                | "unsafe"
                | "extern"
        );
    let mut at = first;
    while let Some(token) = tokens.get(at) {
        let mark = match token.kind {
            Kind::Mark => token.text.as_str(),
            _ => "",
        };
        match mark {
            "(" | "[" | "{" => {
                let end = closing(tokens, at);
                if mark == "{" && !to_semicolon {
                    return end;
                }
                at = end;
                continue;
            }
            ")" | "]" | "}" => return at,
            ";" => return at + 1,
            "," if !to_semicolon && !is_item => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

#[test]
fn tokens_of_every_kind_are_distinguished() {
    let source = r##"
        /// Doc.
        // Comment. /* no block
        fn f<'a>(c: &'a str) -> char { let _ = "a \" b"; let _ = r#"c " d"#; x::y(b'\'', '"', 1_0u8) }
        /* block /* nested */ "no text" */ z
    "##;
    let of = |kind| {
        let texts = tokens(source).into_iter().filter(|t| t.kind == kind);
        texts.map(|t| t.text).collect::<Vec<_>>().join("|")
    };
    assert_eq!(of(Kind::Doc), " Doc.");
    assert!(of(Kind::Comment).starts_with(" Comment. /* no block| block"));
    assert_eq!(of(Kind::Text), r#"a \" b|c " d"#);
    assert_eq!(of(Kind::Other), r#"'a|'a|'\''|'"'|1_0u8"#);
    assert_eq!(of(Kind::Name), "fn|f|c|str|char|let|_|let|_|x|y|b|z");
    let last = tokens(source).pop().unwrap();
    assert_eq!((last.text.as_str(), last.line), ("z", 5));
}

#[test]
fn test_code_is_taken_out_and_nothing_else() {
    let source = r"
        #[cfg(test)] mod tests { fn gone() {} }
        #[cfg(all(test, unix))] #[allow(dead_code)] use gone::{a, b};
        #[cfg(not(test))] fn kept_one() {}
        struct S { #[cfg(test)] gone: Vec<u8>, kept_two: u8 }
        fn f() { match x { #[cfg(test)] Gone(_) => { gone() } Other => kept_three() } }
        #[test] fn gone() {}
        #[cfg(test)] pub(crate) const fn gone<A, B>(a: A, b: B) {}
        #[cfg(feature = 'x')] fn kept_four() {}
    ";
    let names: Vec<_> = without_tests(&code(source))
        .into_iter()
        .filter(|token| token.kind == Kind::Name)
        .map(|token| token.text)
        .collect();
    assert!(
        !names.iter().any(|name| name.to_lowercase() == "gone"),
        "{names:?}"
    );
    for kept in ["kept_one", "kept_two", "kept_three", "kept_four"] {
        assert!(names.iter().any(|name| name == kept), "{kept}: {names:?}");
    }
}
