//! What no statement may do, beyond what the engine's own grants and constraints forbid (see `open.rs`).
//!
//! The engine runs as ClickHouse's local tool does, in which some ways to files are open whatever is granted: they are found here,
//! on the statement's tokens. Tried: `SELECT * APPLY file`, a function's name in quotes with escapes, and dictionaries with an
//! executable source, `ENGINE = URL('file://…')` and disks made in a statement all worked before.

use super::exception::Exception;
use super::lexer::{Kind, Tokens};

/// Functions that reach files, memory or programs, or run text as a statement.
const FUNCTIONS: [&str; 8] = [
    "file",
    "executable",
    "executablepool",
    "python",
    "arrowstream",
    "catboostevaluate",
    "eval",
    "disk",
];

/// Engines that keep what they hold in the data folder, or nowhere. The engine asks for no grant when a table is made, and its
/// URL engine takes `file://`: so the list is of what is let through.
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

/// Words that may follow a column named `engine` and are no engine.
const NO_ENGINE: [&str; 18] = [
    "and", "as", "asc", "desc", "end", "from", "group", "having", "in", "is", "like", "limit",
    "not", "or", "order", "settings", "union", "where",
];

/// Refuses a statement that would leave the engine's own folder.
pub(super) fn check(text: &[u8]) -> Result<(), Exception> {
    let tokens = Tokens::new(text);
    let makes = (0..tokens.list.len()).any(|i| {
        ["CREATE", "ATTACH", "REPLACE"]
            .iter()
            .any(|w| tokens.is_word(i, w))
    });
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
        if makes && word("ENGINE") {
            check_engine(&tokens, i)?;
        }
        check_function(&tokens, i)?;
    }
    Ok(())
}

/// What follows ENGINE must be on the list.
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

/// A function that is called, or applied to columns.
fn check_function(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let Some(name) = tokens.identifier(i) else {
        return Ok(());
    };
    let applied = (i >= 1 && tokens.is_word(i - 1, "APPLY"))
        || (i >= 2 && tokens.is_word(i - 2, "APPLY") && tokens.is_symbol(i - 1, b'('));
    if !applied && !tokens.is_symbol(i + 1, b'(') {
        return Ok(());
    }
    let quoted_with_escape = tokens.list[i].kind == Kind::Quoted && name.contains(&b'\\');
    let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
    if quoted_with_escape || FUNCTIONS.contains(&lower.as_str()) {
        return Err(refused(&String::from_utf8_lossy(name)));
    }
    Ok(())
}

fn refused(what: &str) -> Exception {
    Exception::denied(format!(
        "{what} is not available in the embedded engine, which keeps to its own folder"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_out_of_the_folder_are_refused_however_they_are_written() {
        for text in [
            "SELECT * FROM file('/etc/passwd')",
            "SELECT file ('/etc/passwd')",
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
                Err(497),
                "{text}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_it_is_let_through() {
        for text in [
            "SELECT 'file(''/etc/passwd'')'",
            "SELECT file FROM t -- file('x')",
            "SELECT * FROM outfile",
            "SELECT * FROM url('http://127.0.0.1/x', 'CSV')",
            "SELECT profile('x')",
            "SELECT engine FROM system.tables WHERE engine = 'File'",
            "CREATE VIEW v AS SELECT engine FROM system.tables ORDER BY engine DESC",
            "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x",
            "CREATE DATABASE d ENGINE Atomic",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }
}
