//! Text that goes into SQL: identifiers are quoted, values are bound as server-side parameters, nothing else gets in.

use std::fmt::Write as _;

/// A quoted identifier: `` `a` ``.
#[must_use]
pub fn ident(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// A quoted and qualified table name.
#[must_use]
pub fn table_name(database: &str, table: &str) -> String {
    format!("{}.{}", ident(database), ident(table))
}

/// A list of quoted identifiers.
pub fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

/// A string literal, for the few places where the server takes no parameter (`PARTITION ID`, `CAST`, `COMMENT`).
#[must_use]
pub fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(quoted, "\\x{byte:02x}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        assert_eq!(ident("a`; DROP TABLE t; --"), "`a\\`; DROP TABLE t; --`");
        assert_eq!(ident("a\\"), "`a\\\\`");
        assert_eq!(literal("it's \\ \n"), "'it\\'s \\\\ \\x0a'");
        assert_eq!(table_name("db", "t"), "`db`.`t`");
    }
}
