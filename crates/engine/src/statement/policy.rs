//! The statement policy: statements that are refused beyond the engine's own grants and constraints (`lifecycle.rs`).
//!
//! The engine runs like ClickHouse's local tool, in which some ways to files are open whatever is granted. They are
//! detected here, on the statement's tokens. Without the policy these worked: `SELECT * APPLY file`, `arrayMap(file, …)`,
//! the same through an Identifier parameter, a function's name in quotes with escapes, `INSERT … VALUES (file(…))`,
//! `ATTACH TABLE … FROM` a folder, dictionaries with an executable source, `ENGINE = URL('file://…')`, and disks in a
//! statement.

use std::ops::Range;

use crate::exception::{Exception, code};
use crate::http::request::EngineRequest;
use crate::statement::lexer::{TokenKind, Tokens};

/// Functions that access files, memory or programs, or run text as a statement.
const FUNCTIONS: [&str; 9] = [
    "file",
    "filecluster",
    "executable",
    "executablepool",
    "python",
    "arrowstream",
    "catboostevaluate",
    "eval",
    "disk",
];

/// Allowed engines: their data is in the data folder, or nowhere. Creating a table needs no grant, and the URL engine
/// accepts `file://`, so this is a list of what is allowed.
const ENGINES: [&str; 17] = [
    "aggregatingmergetree",
    "atomic",
    "coalescingmergetree",
    "collapsingmergetree",
    "generaterandom",
    "graphitemergetree",
    "join",
    "log",
    "memory",
    "merge",
    "mergetree",
    "null",
    "replacingmergetree",
    "set",
    "summingmergetree",
    "tinylog",
    "versionedcollapsingmergetree",
];

/// Words that may follow a column named `engine` and do not name an engine.
const NO_ENGINE: [&str; 18] = [
    "and", "as", "asc", "desc", "end", "from", "group", "having", "in", "is", "like", "limit",
    "not", "or", "order", "settings", "union", "where",
];

/// Functions that are called when their name is an argument: `arrayMap(file, […])`.
const SCALAR_FUNCTIONS: [&str; 2] = ["file", "catboostevaluate"];

/// Settings that no request sets: they read files, hold expressions or another language as text, or evaluate expressions
/// in data. The engine's configuration makes them constant, but a `SETTINGS` clause in a subquery gets around that.
const SETTINGS: [&str; 9] = [
    "additional_result_filter",
    "additional_table_filters",
    "dialect",
    "format_schema",
    "format_schema_source",
    "input_format_values_deduce_templates_of_expressions",
    "input_format_values_interpret_expressions",
    "output_format_schema",
    "parallel_replicas_custom_key",
];

/// The beginning of the names of settings that name template files.
const TEMPLATE_SETTINGS: &str = "format_template_";

/// Statements that read or write copies of tables at any place.
const COPIES: [&str; 2] = ["BACKUP", "RESTORE"];

/// First words of statements that only read.
const READS: [&str; 9] = [
    "CHECK", "DESC", "DESCRIBE", "EXISTS", "EXPLAIN", "FROM", "SELECT", "SHOW", "VALUES",
];

/// A `file('…')` in the place of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileUse {
    /// The name of the function, in bytes of the text.
    pub(crate) name: Range<usize>,
    /// The path with its quotes.
    pub(crate) literal: Range<usize>,
    pub(crate) path: String,
    /// Whether it is the target of an insert.
    pub(crate) writes: bool,
}

/// Refuses a statement that would leave the engine's own folder; returns the files that it names, which
/// `files/roots.rs` resolves.
pub(crate) fn check(text: &[u8]) -> Result<Vec<FileUse>, Exception> {
    let tokens = Tokens::new(text);
    check_bytes(&tokens)?;
    let makes = (0..tokens.list.len()).any(|i| {
        ["CREATE", "ATTACH", "REPLACE"]
            .iter()
            .any(|w| tokens.is_word(i, w))
    });
    let mut files = Vec::new();
    for i in 0..tokens.list.len() {
        check_clause(&tokens, i)?;
        if makes && tokens.is_word(i, "ENGINE") {
            check_engine(&tokens, i)?;
        }
        check_name(&tokens, i)?;
        match file_use(&tokens, i)? {
            Some(found) => files.push(found),
            None => check_function(&tokens, i)?,
        }
    }
    if !files.is_empty() && !runs_at_once(&tokens) {
        return Err(Exception::denied(
            "file() is for statements that run at once; a view would store its path",
        ));
    }
    Ok(files)
}

/// Refuses bytes that ClickHouse's lexer may read as something else than this one: anything outside of ASCII, and NUL,
/// outside of quotes and comments. ClickHouse takes 25 such characters for blanks, one for a minus sign and four for
/// quotes. Refuses quotes and comments without an end.
fn check_bytes(tokens: &Tokens<'_>) -> Result<(), Exception> {
    let is_foreign = |b: &u8| *b >= 0x80 || *b == 0;
    for token in &tokens.list {
        let bytes = tokens.bytes(token);
        let is_bad = match token.kind {
            TokenKind::Unterminated => {
                return Err(Exception::syntax(
                    "Syntax error: a quote or comment is not closed",
                ));
            }
            TokenKind::Text => bytes.contains(&0),
            TokenKind::Quoted => {
                check_identifier(&String::from_utf8_lossy(bytes))?;
                bytes.contains(&0)
            }
            TokenKind::Word | TokenKind::Number | TokenKind::Symbol(_) => {
                bytes.iter().any(is_foreign)
            }
        };
        if is_bad {
            return Err(not_ascii());
        }
    }
    // The lexer passes over NUL as ClickHouse's does, between tokens and in comments.
    let mut end = 0;
    for token in &tokens.list {
        if tokens.text[end..token.start].contains(&0) {
            return Err(not_ascii());
        }
        end = token.end;
    }
    match tokens.text[end..].contains(&0) {
        true => Err(not_ascii()),
        false => Ok(()),
    }
}

fn not_ascii() -> Exception {
    Exception::denied(
        "the statement has a character outside of ASCII, or a NUL, outside of quotes and comments; quote names with such characters",
    )
}

/// Refuses a quoted name that the engine may take for a path.
fn check_identifier(name: &str) -> Result<(), Exception> {
    if name.contains(['/', '\\']) {
        return Err(Exception::denied(format!(
            "the embedded engine does not accept names with slashes or escapes, such as {name}"
        )));
    }
    Ok(())
}

/// Refuses clauses and statements that name files or end the process.
fn check_clause(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let word = |name: &str| tokens.is_word(i, name);
    let follows = |name: &str| i > 0 && tokens.is_word(i - 1, name);
    if word("OUTFILE") && follows("INTO") && tokens.is_text(i + 1) {
        return Err(refused("INTO OUTFILE"));
    }
    if word("INFILE") && follows("FROM") && tokens.is_text(i + 1) {
        return Err(refused("FROM INFILE"));
    }
    if word("SYSTEM") && (tokens.is_word(i + 1, "SHUTDOWN") || tokens.is_word(i + 1, "KILL")) {
        return Err(refused("SYSTEM SHUTDOWN"));
    }
    // `ATTACH TABLE t FROM '/folder'` moves that folder into the engine's.
    if word("FROM") && tokens.is_word(0, "ATTACH") && tokens.identifier(i + 1).is_none() {
        return Err(refused("ATTACH … FROM"));
    }
    // `SYSTEM RESTORE REPLICA` is another statement; `t.backup` is a column.
    if COPIES.iter().any(|name| word(name))
        && !follows("SYSTEM")
        && !(i > 0 && tokens.is_symbol(i - 1, b'.'))
    {
        return Err(Exception::denied(
            "BACKUP and RESTORE are not available in the embedded engine; quote a name such as `backup`",
        ));
    }
    // `SELECT * FROM '/etc/passwd'`.
    let stands_for_table = ["FROM", "JOIN", "INTO", "TABLE"].iter().any(|w| follows(w));
    if tokens.is_text(i) && stands_for_table && tokens.bytes(&tokens.list[i]).contains(&b'/') {
        return Err(refused("a path as a table"));
    }
    Ok(())
}

/// Refuses a statement that does more than read, for requests that must not change anything.
pub(crate) fn check_reads(text: &[u8]) -> Result<(), Exception> {
    let tokens = Tokens::new(text);
    let first = (0..tokens.list.len())
        .find(|i| !tokens.is_symbol(*i, b'('))
        .unwrap_or_default();
    let is_read = READS.iter().any(|word| tokens.is_word(first, word))
        || tokens.is_word(first, "WITH")
            && !(0..tokens.list.len()).any(|i| tokens.is_word(i, "INSERT"));
    if is_read {
        return Ok(());
    }
    Err(Exception::new(
        code::READONLY,
        "READONLY",
        "Only statements that read are accepted by GET: send others by POST",
    ))
}

/// Refuses settings, parameters and names that a request must not set.
pub(crate) fn check_fields(request: &EngineRequest, text: &[u8]) -> Result<(), Exception> {
    if let Some((name, _)) = request
        .settings
        .iter()
        .find(|(name, value)| is_own_setting(name) && !is_neutral(value))
    {
        return Err(own_setting(name));
    }
    if let Some(database) = &request.database {
        check_identifier(database)?;
    }
    let tokens = Tokens::new(text);
    let names_by_parameter = (1..tokens.list.len())
        .any(|i| tokens.is_word(i, "Identifier") && tokens.is_symbol(i - 1, b':'));
    if !names_by_parameter {
        return Ok(());
    }
    for (_, value) in &request.parameters {
        if is_scalar(value) {
            return Err(refused(value));
        }
        check_identifier(value)?;
    }
    Ok(())
}

fn is_scalar(name: &str) -> bool {
    let name = name.trim().trim_matches(['`', '"']).to_ascii_lowercase();
    SCALAR_FUNCTIONS.contains(&name.as_str())
}

fn is_own_setting(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SETTINGS.contains(&name.as_str()) || name.starts_with(TEMPLATE_SETTINGS)
}

/// Whether a value names no file and has no expression: a client may state that a setting has no effect.
fn is_neutral(value: &str) -> bool {
    ["", "{}", "0"].contains(&value)
}

fn own_setting(name: &str) -> Exception {
    Exception::denied(format!(
        "the setting {name} is constant in the embedded engine"
    ))
}

/// Refuses a name that calls a function anywhere, sets a setting of the engine's own, or has escapes.
fn check_name(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let Some(name) = tokens.identifier(i) else {
        return check_parameter(tokens, i);
    };
    let text = String::from_utf8_lossy(name);
    if is_own_setting(&text) {
        return Err(own_setting(&text));
    }
    // A name after a table's or in the place of a table does not call a function.
    let is_column_or_table = i > 0
        && (tokens.is_symbol(i - 1, b'.')
            || ["FROM", "JOIN", "INTO", "TABLE"]
                .iter()
                .any(|w| tokens.is_word(i - 1, w)));
    if is_scalar(&text) && !is_column_or_table && !tokens.is_symbol(i + 1, b'(') {
        return Err(Exception::denied(format!(
            "the function {text} is not available; qualify a column of that name with its table, as in t.{text}"
        )));
    }
    Ok(())
}

/// Refuses `SET param_x = 'file'`, which names a function for later statements of the session.
fn check_parameter(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let sets_parameter = tokens.is_text(i)
        && i >= 2
        && tokens.is_symbol(i - 1, b'=')
        && tokens
            .identifier(i - 2)
            .is_some_and(|name| name.starts_with(b"param_"));
    if !sets_parameter {
        return Ok(());
    }
    match tokens.plain_text(i) {
        Some(value) if !is_scalar(value) => Ok(()),
        Some(value) => Err(refused(value)),
        None => Err(Exception::denied(
            "the value of a parameter must be plain text in quotes, without escapes",
        )),
    }
}

/// Whether only rows of this statement outlive it.
fn runs_at_once(tokens: &Tokens<'_>) -> bool {
    let first = (0..tokens.list.len())
        .find(|i| !tokens.is_symbol(*i, b'('))
        .unwrap_or_default();
    if tokens.is_word(first, "CREATE") {
        let kind = (first + 1..tokens.list.len()).find(|i| {
            !["OR", "REPLACE", "TEMPORARY"]
                .iter()
                .any(|w| tokens.is_word(*i, w))
        });
        return kind.is_some_and(|i| tokens.is_word(i, "TABLE"));
    }
    [
        "SELECT", "WITH", "FROM", "INSERT", "DESCRIBE", "DESC", "EXPLAIN",
    ]
    .iter()
    .any(|w| tokens.is_word(first, w))
}

/// Returns a `file('path'…)` in the place of a table. Anywhere else it is the function that reads a whole file, which
/// is refused.
fn file_use(tokens: &Tokens<'_>, i: usize) -> Result<Option<FileUse>, Exception> {
    let stands_for_table = i > 0
        && ["FROM", "JOIN", "FUNCTION", "TABLE", "DESCRIBE", "DESC"]
            .iter()
            .any(|w| tokens.is_word(i - 1, w));
    if tokens.identifier(i) != Some(b"file") || !tokens.is_symbol(i + 1, b'(') || !stands_for_table
    {
        return Ok(None);
    }
    let ends = tokens.is_symbol(i + 3, b',') || tokens.is_symbol(i + 3, b')');
    let Some(path) = tokens.plain_text(i + 2).filter(|_| ends) else {
        return Err(Exception::denied(
            "the path of file() must be plain text in quotes, without escapes, parameters or functions",
        ));
    };
    let (name, literal) = (tokens.list[i], tokens.list[i + 2]);
    Ok(Some(FileUse {
        name: name.start..name.end,
        literal: literal.start..literal.end,
        path: path.to_owned(),
        writes: tokens.is_word(i - 1, "FUNCTION"),
    }))
}

/// Refuses an engine that is not on the list.
fn check_engine(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let explicit = tokens.is_symbol(i + 1, b'=');
    let at = if explicit { i + 2 } else { i + 1 };
    let Some(name) = tokens.identifier(at) else {
        return match tokens.is_symbol(at, b'{') {
            true => Err(refused("an engine by parameter")),
            false => Ok(()),
        };
    };
    let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
    if (!explicit && NO_ENGINE.contains(&lower.as_str())) || ENGINES.contains(&lower.as_str()) {
        return Ok(());
    }
    Err(refused(&format!(
        "the engine {}",
        String::from_utf8_lossy(name)
    )))
}

/// Refuses a function that is called, or applied to columns.
fn check_function(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let Some(name) = tokens.identifier(i) else {
        return Ok(());
    };
    let mut before = i;
    while before > 0 && tokens.is_symbol(before - 1, b'(') {
        before -= 1;
    }
    let applied = before > 0 && tokens.is_word(before - 1, "APPLY");
    if !applied && !tokens.is_symbol(i + 1, b'(') {
        return Ok(());
    }
    let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
    if FUNCTIONS.contains(&lower.as_str()) {
        return Err(refused(&String::from_utf8_lossy(name)));
    }
    Ok(())
}

fn refused(what: &str) -> Exception {
    Exception::denied(format!(
        "{what} is not available in the embedded engine, which is confined to its own folder"
    ))
}

#[cfg(test)]
mod tests;
