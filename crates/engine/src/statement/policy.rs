//! The statement policy: statements that are refused beyond the engine's own grants and constraints (`lifecycle.rs`).
//!
//! The engine runs like ClickHouse's local tool, in which some ways to files are open whatever is granted. They are
//! detected here, on the statement's tokens. Without the policy these worked: `SELECT * APPLY file`, `arrayMap(file, …)`,
//! the same through an Identifier parameter, a function's name in quotes with escapes, `INSERT … VALUES (file(…))`,
//! `ATTACH TABLE … FROM` a folder, dictionaries with an executable source, `ENGINE = URL('file://…')`, and disks in a
//! statement.

use std::ops::Range;

use crate::exception::Exception;
use crate::http::request::EngineRequest;
use crate::statement::lexer::{Lexer, TokenKind, Tokens};

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
const ENGINES: [&str; 18] = [
    "aggregatingmergetree",
    "atomic",
    "buffer",
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

/// Settings that make the format Values evaluate expressions in data, which `url()` may bring unchecked. The engine's
/// configuration turns them off; it cannot make them constant, because checked inserts set them.
pub(crate) const OWN_SETTINGS: [&str; 2] = [
    "input_format_values_interpret_expressions",
    "input_format_values_deduce_templates_of_expressions",
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
    let makes = (0..tokens.list.len()).any(|i| {
        ["CREATE", "ATTACH", "REPLACE"]
            .iter()
            .any(|w| tokens.is_word(i, w))
    });
    let mut files = Vec::new();
    for i in 0..tokens.list.len() {
        let word = |name: &str| tokens.is_word(i, name);
        if word("OUTFILE") && i > 0 && tokens.is_word(i - 1, "INTO") && tokens.is_text(i + 1) {
            return Err(refused("INTO OUTFILE"));
        }
        if word("INFILE") && i > 0 && tokens.is_word(i - 1, "FROM") && tokens.is_text(i + 1) {
            return Err(refused("FROM INFILE"));
        }
        if word("SYSTEM") && (tokens.is_word(i + 1, "SHUTDOWN") || tokens.is_word(i + 1, "KILL")) {
            return Err(refused("SYSTEM SHUTDOWN"));
        }
        // `ATTACH TABLE t FROM '/folder'` moves that folder into the engine's.
        if word("FROM") && tokens.is_word(0, "ATTACH") && tokens.identifier(i + 1).is_none() {
            return Err(refused("ATTACH … FROM"));
        }
        if makes && word("ENGINE") {
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

/// Refuses data with an expression that would leave the engine's own folder. Returns whether the expressions in the
/// data may be evaluated; false if they cannot be tokenized.
pub(crate) fn check_expressions(data: &[u8]) -> Result<bool, Exception> {
    if !check(data)?.is_empty() {
        return Err(refused("file() among values"));
    }
    Ok(Lexer::new(data, 0).all(|token| token.kind != TokenKind::Unterminated))
}

/// Refuses settings and parameters that a request must not set.
pub(crate) fn check_fields(request: &EngineRequest, text: &[u8]) -> Result<(), Exception> {
    if let Some((name, _)) = request
        .settings
        .iter()
        .find(|(name, _)| OWN_SETTINGS.contains(&name.as_str()))
    {
        return Err(own_setting(name));
    }
    let tokens = Tokens::new(text);
    let names_by_parameter = (1..tokens.list.len())
        .any(|i| tokens.is_word(i, "Identifier") && tokens.is_symbol(i - 1, b':'));
    let hidden = request.parameters.iter().find(|(_, v)| is_scalar(v));
    match hidden {
        Some((_, value)) if names_by_parameter => Err(refused(value)),
        _ => Ok(()),
    }
}

fn is_scalar(name: &str) -> bool {
    let name = name.trim().trim_matches(['`', '"']).to_ascii_lowercase();
    SCALAR_FUNCTIONS.contains(&name.as_str())
}

fn own_setting(name: &str) -> Exception {
    Exception::denied(format!(
        "{name} is set by the embedded engine: expressions are interpreted where they can be looked at"
    ))
}

/// Refuses a name that calls a function anywhere, sets a setting of the engine's own, or has escapes.
fn check_name(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let Some(name) = tokens.identifier(i) else {
        return check_parameter(tokens, i);
    };
    let text = String::from_utf8_lossy(name);
    if tokens.list[i].kind == TokenKind::Quoted && name.contains(&b'\\') {
        return Err(Exception::denied(format!(
            "the embedded engine does not accept names with escapes, such as {text}"
        )));
    }
    if OWN_SETTINGS
        .iter()
        .any(|own| text.eq_ignore_ascii_case(own))
    {
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
    let Some(name) = tokens.identifier(if explicit { i + 2 } else { i + 1 }) else {
        return Ok(());
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
mod tests {
    use super::*;
    use crate::exception::code;

    #[test]
    fn escapes_from_the_folder_are_refused() {
        for text in [
            "SELECT file ('/etc/passwd')",
            "SELECT 1, file('/etc/passwd')",
            "SELECT $$x$$, file($$/etc/passwd$$)",
            "SELECT arrayMap(file, ['/etc/passwd'])",
            "SELECT arrayMap(((file)), ['/etc/passwd'])",
            "SELECT arrayMap(`file` AS f, ['/etc/passwd'])",
            "SELECT arrayMap(\u{201c}file\u{201d}, ['/etc/passwd'])",
            "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
            "SELECT arrayMap(`fi\\x6ce`, ['/etc/passwd'])",
            "WITH file AS f SELECT * APPLY f FROM t",
            "SELECT * APPLY ((file)) FROM t",
            "SET param_f = 'file'",
            "SET param_f = 'fi\\x6ce'",
            "SET `param_f` = $$`file`$$",
            "SELECT 1 SETTINGS input_format_values_interpret_expressions = 1",
            "SET `input_format_values_interpret_expressions` = DEFAULT",
            "ATTACH TABLE t FROM '/etc' (x Int8) ENGINE = MergeTree ORDER BY x",
            "ATTACH TABLE t FROM /* x */ $$/etc$$ (x Int8) ENGINE = MergeTree ORDER BY x",
            "SELECT * FROM file(concat('/etc', '/passwd'))",
            "SELECT * FROM file({p:String})",
            "SELECT * FROM file('/etc/pass' || 'wd')",
            "SELECT * FROM file('\\x2fetc')",
            "SELECT * FROM file(stdin, 'CSV')",
            "SELECT * FROM file(0)",
            "SELECT * FROM FILE('a.csv')",
            "SELECT * FROM loop(file('a.csv'))",
            "CREATE VIEW v AS SELECT * FROM file('a.csv')",
            "CREATE MATERIALIZED VIEW v TO t AS SELECT * FROM file('a.csv')",
            "CREATE TABLE t AS file('a.csv')",
            "CREATE FUNCTION f AS x -> (SELECT * FROM file('a.csv'))",
            "ALTER TABLE v MODIFY QUERY SELECT * FROM file('a.csv')",
            "SELECT * FROM fileCluster('default', 'a.csv')",
            "SELECT \"file\"('/etc/passwd')",
            "SELECT `fi\\x6ce`('/etc/passwd')",
            "SELECT * APPLY file FROM (SELECT '/etc/passwd')",
            "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
            "SELECT file/* ( */('/etc/passwd')",
            "SELECT 1 INTO -- x\n OUTFILE '/tmp/x'",
            "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
            "CREATE TABLE t (x Int8) ENGINE = File(CSV, '/etc/passwd')",
            "CREATE DATABASE d ENGINE = Filesystem",
            "CREATE TABLE t (x String) ENGINE URL('file:///etc/passwd', 'CSV')",
            "ATTACH TABLE t (x String) ENGINE = `Executable`('id', 'CSV')",
            "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x SETTINGS disk = disk(type = local, path = '/tmp/')",
            "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(EXECUTABLE(command 'id' format 'TSV')) LAYOUT(FLAT())",
            "SELECT * FROM eval('SELECT 1')",
            "SYSTEM SHUTDOWN",
        ] {
            assert_eq!(
                check(text.as_bytes()).map_err(|e| e.code),
                Err(code::ACCESS_DENIED),
                "{text}"
            );
        }
    }

    #[test]
    fn harmless_lookalikes_are_allowed() {
        for text in [
            "SELECT 'file(''/etc/passwd'')'",
            "SELECT t.file FROM t -- file('x')",
            "SELECT * FROM file",
            "SET param_x = 'profile'",
            "SELECT * FROM outfile",
            "SELECT * FROM url('http://127.0.0.1/x', 'CSV')",
            "SELECT profile('x')",
            "SELECT engine FROM system.tables WHERE engine = 'File'",
            "CREATE VIEW v AS SELECT engine FROM system.tables ORDER BY engine DESC",
            "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x",
            "CREATE DATABASE d ENGINE Atomic",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(Vec::new()), "{text}");
        }
    }

    #[test]
    fn files_in_the_place_of_a_table_are_found() {
        let found = |text: &str| -> Vec<(String, String, String, bool)> {
            let part = |range: &Range<usize>| text[range.clone()].to_owned();
            let uses = check(text.as_bytes()).expect(text);
            uses.iter()
                .map(|u| (part(&u.name), part(&u.literal), u.path.clone(), u.writes))
                .collect()
        };
        let one = |name: &str, literal: &str, path: &str, writes| {
            vec![(name.to_owned(), literal.to_owned(), path.to_owned(), writes)]
        };
        assert_eq!(
            found("SELECT * FROM /* ' */ `file` -- (\n( $$a b.csv$$ , CSV)"),
            one("`file`", "$$a b.csv$$", "a b.csv", false)
        );
        assert_eq!(
            found("INSERT INTO TABLE FUNCTION file('x.csv', 'CSV', 'x Int8')"),
            one("file", "'x.csv'", "x.csv", true)
        );
        assert_eq!(
            found("EXPLAIN SELECT 1 WHERE 1 IN (SELECT x FROM file('a.csv'))"),
            one("file", "'a.csv'", "a.csv", false)
        );
        let two = "CREATE TABLE t ENGINE = Memory AS SELECT * FROM file('a') AS a JOIN file('b') AS b USING x";
        assert_eq!(found(two).len(), 2);
    }

    #[test]
    fn requests_neither_name_functions_nor_set_the_engines_settings() {
        let request = |settings: &[(&str, &str)], parameters: &[(&str, &str)]| EngineRequest {
            settings: settings
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            parameters: parameters
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            ..EngineRequest::default()
        };
        let by_name = b"SELECT arrayMap({f:Identifier}, ['/etc/passwd'])";
        let file = request(&[], &[("f", "`file`")]);
        assert!(check_fields(&file, by_name).is_err());
        assert!(check_fields(&file, b"SELECT {f:String}").is_ok());
        assert!(check_fields(&request(&[], &[("f", "upper")]), by_name).is_ok());
        assert!(check_fields(&request(&[(OWN_SETTINGS[0], "1")], &[]), b"SELECT 1").is_err());
        assert_eq!(
            check_expressions(b"(1, now()), ('file(''x'')', 2)"),
            Ok(true)
        );
        assert_eq!(check_expressions(b"(1, 'open"), Ok(false));
        assert!(check_expressions(b"(file('/etc/passwd'))").is_err());
        assert!(check_expressions(b"((SELECT * FROM file('a')))").is_err());
    }
}
