//! The kind of a statement, decided on its tokens; it decides how the statement runs.

use crate::exception::Exception;
use crate::statement::lexer::{Lexer, TokenKind, Tokens};

/// A statement, split into the parts that the engine receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// A query whose result is streamed through a pipe.
    Select {
        /// The text up to its FORMAT clause.
        head: Vec<u8>,
        /// The format in the text.
        format: Option<String>,
        /// The SETTINGS clause after the FORMAT clause.
        tail: Vec<u8>,
    },
    /// An insert whose rows follow as data.
    Insert {
        /// The text up to FORMAT or VALUES, and settings that follow FORMAT.
        head: Vec<u8>,
        /// The format of the data.
        format: String,
        /// The offset at which the data starts.
        data_at: usize,
    },
    /// Any other statement, which is answered whole.
    Other {
        /// The text.
        text: Vec<u8>,
        /// The format in the text.
        format: Option<String>,
    },
}

/// Whether the text starts an INSERT; `None` if it is too short to decide.
pub(crate) fn begins_insert(text: &[u8]) -> Option<bool> {
    let mut lexer = Lexer::new(text, 0);
    let first = lexer.next()?;
    // A word at the end of the text may continue.
    if first.end == text.len() {
        return None;
    }
    Some(
        first.kind == TokenKind::Word
            && text[first.start..first.end].eq_ignore_ascii_case(b"INSERT"),
    )
}

/// Splits an INSERT; returns `None` while its head is incomplete. An INSERT … SELECT has no data and is an `Other`.
pub(crate) fn parse_insert(text: &[u8], complete: bool) -> Result<Option<Statement>, Exception> {
    let mut depth = 0usize;
    let mut lexer = Lexer::new(text, 0).skip(1).peekable();
    let word = |start: usize, end: usize, name: &str| {
        text[start..end].eq_ignore_ascii_case(name.as_bytes())
    };
    let mut previous_is_dot = false;
    while let Some(token) = lexer.next() {
        // The last token may continue.
        if token.end == text.len() && !complete {
            return Ok(None);
        }
        let after_dot =
            std::mem::replace(&mut previous_is_dot, token.kind == TokenKind::Symbol(b'.'));
        match token.kind {
            TokenKind::Symbol(b'(' | b'[' | b'{') => {
                // A parenthesized SELECT: `INSERT INTO t (SELECT 1)`.
                if depth == 0
                    && lexer.peek().is_some_and(|next| {
                        next.kind == TokenKind::Word
                            && (word(next.start, next.end, "SELECT")
                                || word(next.start, next.end, "WITH"))
                            && next.end < text.len()
                            && next_is_not_list(text, next.end)
                    })
                {
                    return Ok(Some(Statement::Other {
                        text: text.to_vec(),
                        format: None,
                    }));
                }
                depth += 1;
            }
            TokenKind::Symbol(b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            TokenKind::Symbol(b';') if depth == 0 => break,
            TokenKind::Unterminated if complete => break,
            TokenKind::Unterminated => return Ok(None),
            TokenKind::Word if depth == 0 && !after_dot => {
                if word(token.start, token.end, "VALUES") {
                    let head = text[..token.start].to_vec();
                    return Ok(Some(Statement::Insert {
                        head,
                        format: "Values".into(),
                        data_at: token.end,
                    }));
                }
                if ["SELECT", "WITH", "FROM", "EXPLAIN"]
                    .iter()
                    .any(|w| word(token.start, token.end, w))
                {
                    return Ok(Some(Statement::Other {
                        text: text.to_vec(),
                        format: None,
                    }));
                }
                if word(token.start, token.end, "FORMAT") {
                    let head = text[..token.start].to_vec();
                    return insert_format(text, head, token.end, complete);
                }
            }
            _ => {}
        }
    }
    if complete {
        // Without FORMAT and VALUES, ClickHouse reads the data as VALUES.
        let end = text
            .iter()
            .rposition(|b| !b.is_ascii_whitespace() && *b != b';')
            .map_or(0, |n| n + 1);
        return Ok(Some(Statement::Insert {
            head: text[..end].to_vec(),
            format: "Values".into(),
            data_at: text.len(),
        }));
    }
    Ok(None)
}

/// Whether `(SELECT` starts a query; `(select, …)` and `(select)` are lists of columns.
fn next_is_not_list(text: &[u8], at: usize) -> bool {
    Lexer::new(text, at)
        .next()
        .is_some_and(|t| !matches!(t.kind, TokenKind::Symbol(b',' | b')')))
}

fn insert_format(
    text: &[u8],
    mut head: Vec<u8>,
    at: usize,
    complete: bool,
) -> Result<Option<Statement>, Exception> {
    let mut lexer = Lexer::new(text, at);
    let Some(name) = lexer.next().filter(|t| complete || t.end < text.len()) else {
        return if complete {
            Err(Exception::syntax("Expected a format after FORMAT"))
        } else {
            Ok(None)
        };
    };
    if !matches!(name.kind, TokenKind::Word | TokenKind::Quoted) {
        return Err(Exception::syntax("Expected a format after FORMAT"));
    }
    let format = String::from_utf8_lossy(&text[name.start..name.end])
        .trim_matches(['`', '"'])
        .to_owned();
    // As in ClickHouse, spaces and at most one line end belong to the statement; the rest is data.
    let mut data_at = name.end;
    while text
        .get(data_at)
        .is_some_and(|b| matches!(b, b' ' | b'\t' | 0x0c))
    {
        data_at += 1;
    }
    if !complete && text.len() - data_at < "SETTINGS ".len() {
        return Ok(None);
    }
    if text[data_at..]
        .get(..9)
        .is_some_and(|w| w[..8].eq_ignore_ascii_case(b"SETTINGS") && w[8].is_ascii_whitespace())
    {
        let Some(end) = settings_end(text, data_at + 8, complete) else {
            return Ok(None);
        };
        head.extend_from_slice(b" ");
        head.extend_from_slice(&text[data_at..end]);
        data_at = end;
        while text
            .get(data_at)
            .is_some_and(|b| matches!(b, b' ' | b'\t' | 0x0c))
        {
            data_at += 1;
        }
    }
    // `INSERT … FORMAT X;`, with separate data.
    if text.get(data_at) == Some(&b';') && format != "Values" {
        data_at += 1;
    }
    if text.get(data_at) == Some(&b'\r') {
        data_at += 1;
    }
    if text.get(data_at) == Some(&b'\n') {
        data_at += 1;
    }
    Ok(Some(Statement::Insert {
        head,
        format,
        data_at,
    }))
}

/// Returns the end of `name = value, …`; `None` while it may continue.
fn settings_end(text: &[u8], at: usize, complete: bool) -> Option<usize> {
    let mut end = at;
    let mut lexer = Lexer::new(text, at).peekable();
    loop {
        let name = lexer.next()?;
        let equals = lexer.next()?;
        if name.kind != TokenKind::Word || equals.kind != TokenKind::Symbol(b'=') {
            return Some(end);
        }
        let mut value = lexer.next()?;
        if matches!(value.kind, TokenKind::Symbol(b'-' | b'+')) {
            value = lexer.next()?;
        }
        if value.end == text.len() && !complete {
            return None;
        }
        end = value.end;
        match lexer.peek() {
            Some(t) if t.kind == TokenKind::Symbol(b',') => {
                lexer.next();
            }
            _ => return Some(end),
        }
    }
}

/// Splits a complete statement that is not an INSERT with data.
///
/// # Errors
///
/// Refuses several statements in one text, like ClickHouse's HTTP interface.
pub(crate) fn parse(text: &[u8]) -> Result<Statement, Exception> {
    let tokens = Tokens::new(text);
    let mut count = tokens.list.len();
    if let Some(i) = tokens
        .list
        .iter()
        .position(|t| t.kind == TokenKind::Symbol(b';'))
    {
        if tokens.list[i..]
            .iter()
            .any(|t| t.kind != TokenKind::Symbol(b';'))
        {
            return Err(Exception::syntax(
                "Syntax error (Multi-statements are not allowed)",
            ));
        }
        count = i;
    }
    if count == 0 {
        return Err(Exception::syntax("Syntax error: Empty query"));
    }
    if tokens.list[..count]
        .iter()
        .any(|t| t.kind == TokenKind::Unterminated)
    {
        return Err(Exception::syntax(
            "Syntax error: a quote or comment is not closed",
        ));
    }
    let end = tokens.list[count - 1].end;
    let format_at = format_clause(&tokens, count);
    let format = format_at
        .and_then(|i| tokens.identifier(i + 1))
        .map(|f| String::from_utf8_lossy(f).into_owned());
    if is_select(&tokens, count) {
        let head_end = format_at.map_or(end, |i| tokens.list[i].start);
        let tail = format_at.map_or(end, |i| tokens.list[i + 1].end);
        return Ok(Statement::Select {
            head: text[..head_end].to_vec(),
            format,
            tail: text[tail..end].to_vec(),
        });
    }
    Ok(Statement::Other {
        text: text[..end].to_vec(),
        format,
    })
}

/// Returns the last `FORMAT name` outside of parentheses that ends the statement or precedes SETTINGS only.
fn format_clause(tokens: &Tokens<'_>, count: usize) -> Option<usize> {
    let mut depth = 0i64;
    let mut found = None;
    for i in 0..count {
        match tokens.list[i].kind {
            TokenKind::Symbol(b'(' | b'[' | b'{') => depth += 1,
            TokenKind::Symbol(b')' | b']' | b'}') => depth -= 1,
            TokenKind::Word
                if depth == 0
                    && i > 0
                    && tokens.is_word(i, "FORMAT")
                    && i + 1 < count
                    && tokens.identifier(i + 1).is_some()
                    && (i + 2 == count || tokens.is_word(i + 2, "SETTINGS")) =>
            {
                found = Some(i);
            }
            _ => {}
        }
    }
    found
}

fn is_select(tokens: &Tokens<'_>, count: usize) -> bool {
    let first = tokens.list[..count]
        .iter()
        .position(|t| t.kind != TokenKind::Symbol(b'('))
        .unwrap_or(0);
    if tokens.is_word(first, "SELECT")
        || tokens.is_word(first, "FROM")
        || tokens.is_word(first, "VALUES")
    {
        return true;
    }
    if !tokens.is_word(first, "WITH") {
        return false;
    }
    // `WITH … INSERT INTO t SELECT` writes: INSERT is outside of parentheses, before any SELECT there.
    let mut depth = 0i64;
    for i in first..count {
        match tokens.list[i].kind {
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') => depth -= 1,
            TokenKind::Word if depth <= 0 && tokens.is_word(i, "SELECT") => return true,
            TokenKind::Word
                if depth <= 0 && tokens.is_word(i, "INSERT") && tokens.is_word(i + 1, "INTO") =>
            {
                return false;
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(text: &str) -> (String, Option<String>, String) {
        match parse(text.as_bytes()) {
            Ok(Statement::Select { head, format, tail }) => (
                String::from_utf8(head).expect("text"),
                format,
                String::from_utf8(tail).expect("text"),
            ),
            other => panic!("not a select: {other:?}"),
        }
    }

    fn insert(text: &str) -> (String, String, String) {
        match parse_insert(text.as_bytes(), true) {
            Ok(Some(Statement::Insert {
                head,
                format,
                data_at,
            })) => (
                String::from_utf8(head).expect("text"),
                format,
                text[data_at..].to_owned(),
            ),
            other => panic!("not an insert with data: {other:?}"),
        }
    }

    #[test]
    fn format_clause_is_the_last_outside_of_quotes_and_parentheses() {
        assert_eq!(
            select("SELECT 1 FORMAT JSON;"),
            ("SELECT 1 ".into(), Some("JSON".into()), String::new())
        );
        assert_eq!(
            select("SELECT ' FORMAT CSV' -- FORMAT TSV"),
            ("SELECT ' FORMAT CSV'".into(), None, String::new())
        );
        assert_eq!(
            select("SELECT format FROM t"),
            ("SELECT format FROM t".into(), None, String::new())
        );
        assert_eq!(
            select("SELECT 1 SETTINGS a=1 FORMAT CSV SETTINGS b='x'"),
            (
                "SELECT 1 SETTINGS a=1 ".into(),
                Some("CSV".into()),
                " SETTINGS b='x'".into()
            )
        );
        assert_eq!(
            select("(SELECT 1) UNION ALL (SELECT 2) ; ;").0,
            "(SELECT 1) UNION ALL (SELECT 2)"
        );
    }

    #[test]
    fn only_queries_are_streamed() {
        assert!(matches!(
            parse(b"with 1 as x select x"),
            Ok(Statement::Select { .. })
        ));
        assert!(matches!(
            parse(b"/* a */ from t select x"),
            Ok(Statement::Select { .. })
        ));
        for other in [
            "show tables format JSON",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            "DESCRIBE t",
            "1 + 1",
        ] {
            assert!(
                matches!(parse(other.as_bytes()), Ok(Statement::Other { .. })),
                "{other}"
            );
        }
        assert_eq!(parse(b"SELECT 1; SELECT 2").map_err(|e| e.code), Err(62));
        assert_eq!(parse(b" -- nothing").map_err(|e| e.code), Err(62));
    }

    #[test]
    fn data_of_an_insert_starts_as_in_clickhouse() {
        assert_eq!(
            insert("INSERT INTO t FORMAT CSV\n1,2\n"),
            ("INSERT INTO t ".into(), "CSV".into(), "1,2\n".into())
        );
        assert_eq!(
            insert("INSERT INTO t (a, format) VALUES (1, 2)").1,
            "Values"
        );
        assert_eq!(
            insert("insert into db.values values (1)"),
            (
                "insert into db.values ".into(),
                "Values".into(),
                " (1)".into()
            )
        );
        assert_eq!(
            insert("INSERT INTO t FORMAT TSV\r\n\n1"),
            ("INSERT INTO t ".into(), "TSV".into(), "\n1".into())
        );
        assert_eq!(
            insert("INSERT INTO t"),
            ("INSERT INTO t".into(), "Values".into(), String::new())
        );
        assert_eq!(
            insert("INSERT INTO t SETTINGS a=1, b='FORMAT' FORMAT CSV 1"),
            (
                "INSERT INTO t SETTINGS a=1, b='FORMAT' ".into(),
                "CSV".into(),
                "1".into()
            )
        );
        assert_eq!(
            insert("INSERT INTO t FORMAT CSV SETTINGS a=-1, b='x'\n7"),
            (
                "INSERT INTO t  SETTINGS a=-1, b='x'".into(),
                "CSV".into(),
                "7".into()
            )
        );
    }

    #[test]
    fn insert_of_a_query_has_no_data() {
        for text in [
            "INSERT INTO t SELECT 1",
            "INSERT INTO t (a) (SELECT 1)",
            "INSERT INTO t WITH 1 AS x SELECT x",
        ] {
            assert!(
                matches!(
                    parse_insert(text.as_bytes(), true),
                    Ok(Some(Statement::Other { .. }))
                ),
                "{text}"
            );
        }
        assert_eq!(
            insert("INSERT INTO t (select, with) VALUES (1, 2)").1,
            "Values"
        );
    }

    #[test]
    fn incomplete_insert_is_undecided() {
        let whole = b"INSERT INTO t (a, b) SETTINGS x=1 FORMAT RowBinary\n\x01\x02";
        for cut in 0..48 {
            assert_eq!(parse_insert(&whole[..cut], false), Ok(None), "{cut}");
        }
        assert_eq!(begins_insert(b"INS"), None);
        assert_eq!(begins_insert(b"-- c\nINSERT "), Some(true));
        assert_eq!(begins_insert(b"INSERTX "), Some(false));
    }
}
