//! What no statement may do, beyond what the engine's own grants forbid (see `open.rs`).
//!
//! The engine runs as ClickHouse's local tool does, in which some ways to files are open whatever is granted: they are found here,
//! on the statement's tokens. Tried: `SELECT * APPLY file`, a function's name in quotes with escapes, and dictionaries with an
//! executable source all worked before.

use super::exception::Exception;
use super::lexer::{Kind, Tokens};

/// Functions, table functions, engines and dictionary sources that reach files or start programs.
const FORBIDDEN: [&str; 17] = [
    "file",
    "filecluster",
    "filesystem",
    "executable",
    "executablepool",
    "sqlite",
    "python",
    "catboostevaluate",
    "odbc",
    "jdbc",
    "iceberglocal",
    "iceberglocalcluster",
    "deltalakelocal",
    "deltalakelocalcluster",
    "paimonlocal",
    "hudilocal",
    "library",
];

/// Refuses a statement that would leave the engine's own folder.
pub(super) fn check(text: &[u8]) -> Result<(), Exception> {
    let tokens = Tokens::new(text);
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
        if tokens
            .identifier(i)
            .is_some_and(|n| n.eq_ignore_ascii_case(b"format_schema"))
            && tokens.is_symbol(i + 1, b'=')
            && tokens
                .list
                .get(i + 2)
                .is_some_and(|t| leaves_folder(tokens.bytes(t)))
        {
            return Err(refused("a format schema outside of the engine's folder"));
        }
        check_name(&tokens, i)?;
    }
    Ok(())
}

/// Refuses settings that name files elsewhere.
pub(super) fn check_settings(settings: &[(String, String)]) -> Result<(), Exception> {
    if settings
        .iter()
        .any(|(name, value)| name == "format_schema" && leaves_folder(value.as_bytes()))
    {
        return Err(refused("a format schema outside of the engine's folder"));
    }
    Ok(())
}

fn leaves_folder(path: &[u8]) -> bool {
    let path = path.strip_prefix(b"'").unwrap_or(path);
    path.starts_with(b"/") || path.contains(&b'\\') || memchr::memmem::find(path, b"..").is_some()
}

/// A name that is called, applied, or used as an engine.
fn check_name(tokens: &Tokens<'_>, i: usize) -> Result<(), Exception> {
    let Some(name) = tokens.identifier(i) else {
        return Ok(());
    };
    let before = |n: usize, word: &str| i >= n && tokens.is_word(i - n, word);
    let called = tokens.is_symbol(i + 1, b'(');
    let applied = before(1, "APPLY") || (before(2, "APPLY") && tokens.is_symbol(i - 1, b'('));
    let engine = before(1, "ENGINE") || (before(2, "ENGINE") && tokens.is_symbol(i - 1, b'='));
    if !(called || applied || engine) {
        return Ok(());
    }
    let quoted_with_escape = tokens.list[i].kind == Kind::Quoted && name.contains(&b'\\');
    let lower = name.to_ascii_lowercase();
    if quoted_with_escape || FORBIDDEN.iter().any(|f| f.as_bytes() == lower) {
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
            "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(EXECUTABLE(command 'id' format 'TSV')) LAYOUT(FLAT())",
            "SYSTEM SHUTDOWN",
            "SELECT 1 SETTINGS format_schema = '/etc/passwd:x'",
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
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }
}
