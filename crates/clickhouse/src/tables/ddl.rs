//! The table that a dataset's DDL would make, without a server. Pure.

use super::{TableColumn, TableSchema};
use mpsync_core::dataset::{ColumnType, Dataset};
use mpsync_core::error::{Context as _, Error, Result};

/// What ends a column's type.
const AFTER_TYPE: [&str; 14] = [
    "ALIAS",
    "AUTO_INCREMENT",
    "CODEC",
    "COLLATE",
    "COMMENT",
    "DEFAULT",
    "EPHEMERAL",
    "MATERIALIZED",
    "NOT",
    "NULL",
    "PRIMARY",
    "SETTINGS",
    "STATISTICS",
    "TTL",
];
/// What begins a line of the list that is no column.
const NO_COLUMN: [&str; 5] = ["CONSTRAINT", "FOREIGN", "INDEX", "PRIMARY", "PROJECTION"];

impl TableSchema {
    /// The table as the DDL of a dataset says it, columns only: no database, no keys.
    ///
    /// A schema error names the column whose type cannot be read.
    pub fn of_ddl(dataset: &Dataset) -> Result<Self> {
        let context = || format!("reading the DDL of dataset {}", dataset.name);
        let text = without_comments(&dataset.ddl);
        let list = column_list(&text).context(context)?;
        let columns = split_at_commas(list)
            .into_iter()
            .filter_map(|item| column(item.trim()).transpose())
            .collect::<Result<Vec<_>>>()
            .context(context)?;
        Ok(Self {
            database: "ddl".into(),
            table: dataset.table.clone(),
            engine: "MergeTree".into(),
            partition_key: String::new(),
            sorting_key: String::new(),
            create_query: dataset.ddl.clone(),
            columns,
        })
    }
}

/// Walks a text and says of each character whether it stands outside of quotes, and how deep in parentheses.
struct Walk<'a> {
    chars: std::str::CharIndices<'a>,
    quote: Option<char>,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            chars: text.char_indices(),
            quote: None,
            depth: 0,
        }
    }
}

impl Iterator for Walk<'_> {
    /// Offset, character, whether it is outside of quotes, and the depth that it stands in.
    type Item = (usize, char, bool, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let (at, c) = self.chars.next()?;
        let depth = self.depth;
        match (self.quote, c) {
            (Some(_), '\\') => {
                self.chars.next();
            }
            (Some(quote), c) if c == quote => self.quote = None,
            (None, '\'' | '`' | '"') => self.quote = Some(c),
            (None, '(') => self.depth += 1,
            (None, ')') => {
                self.depth = self.depth.saturating_sub(1);
                return Some((at, c, true, self.depth));
            }
            (Some(_), _) => return Some((at, c, false, depth)),
            (None, _) => return Some((at, c, true, depth)),
        }
        Some((at, c, c == '(', depth))
    }
}

/// The text with a space in place of each comment.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        let end = match quote {
            None if rest.starts_with("--") => rest.find('\n'),
            None if rest.starts_with("/*") => rest.find("*/").map(|at| at + 2),
            _ => Some(0),
        };
        let end = end.unwrap_or(rest.len());
        if end > 0 {
            out.push(' ');
            rest = &rest[end..];
            continue;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
        match quote {
            Some(_) if c == '\\' => {
                if let Some(escaped) = rest.chars().next() {
                    out.push(escaped);
                    rest = &rest[escaped.len_utf8()..];
                }
            }
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '`' | '"') => quote = Some(c),
            _ => {}
        }
    }
    out
}

/// What stands in the first parentheses.
fn column_list(text: &str) -> Result<&str> {
    let mut begin = None;
    for (at, c, plain, depth) in Walk::new(text) {
        match (c, begin) {
            ('(', None) if plain => begin = Some(at + 1),
            (')', Some(begin)) if plain && depth == 0 => return Ok(&text[begin..at]),
            _ => {}
        }
    }
    Err(Error::schema("it has no list of columns in parentheses"))
}

fn split_at_commas(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut begin = 0;
    for (at, c, plain, depth) in Walk::new(text) {
        if c == ',' && plain && depth == 0 {
            items.push(&text[begin..at]);
            begin = at + 1;
        }
    }
    items.push(&text[begin..]);
    items
}

/// The words of a text that stand outside of quotes and parentheses, with their offsets.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut begin: Option<usize> = None;
    for (at, c, plain, depth) in Walk::new(text) {
        let of_word = plain && depth == 0 && (c.is_alphanumeric() || c == '_');
        match (begin, of_word) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                words.push((from, &text[from..at]));
                begin = None;
            }
            _ => {}
        }
    }
    if let Some(from) = begin {
        words.push((from, &text[from..]));
    }
    words
}

/// A column of the list; `None` for an index, a projection and the like.
fn column(item: &str) -> Result<Option<TableColumn>> {
    let bad = || Error::schema(format!("`{}` is no column", item.escape_debug()));
    let (name, rest) = match item.chars().next() {
        None => return Ok(None),
        Some(quote @ ('`' | '"')) => item[1..].split_once(quote).ok_or_else(bad)?,
        Some(_) => {
            let end = item.find(char::is_whitespace).ok_or_else(bad)?;
            if NO_COLUMN.contains(&item[..end].to_ascii_uppercase().as_str()) {
                return Ok(None);
            }
            item.split_at(end)
        }
    };
    let modifiers: Vec<(usize, String)> = words(rest)
        .into_iter()
        .map(|(at, word)| (at, word.to_ascii_uppercase()))
        .filter(|(_, word)| AFTER_TYPE.contains(&word.as_str()))
        .collect();
    let end = modifiers.first().map_or(rest.len(), |(at, _)| *at);
    let mut column_type =
        ColumnType::parse(rest[..end].trim()).context(|| format!("column {name}"))?;
    let is = |wanted: &str| modifiers.iter().any(|(_, word)| word == wanted);
    // `NULL` right behind the type, not in `DEFAULT NULL`.
    if modifiers.first().is_some_and(|(_, word)| word == "NULL") && !column_type.is_nullable() {
        column_type = ColumnType::Nullable(Box::new(column_type));
    }
    let kinds = ["DEFAULT", "MATERIALIZED", "ALIAS", "EPHEMERAL"];
    let default_kind = kinds.into_iter().find(|kind| is(kind)).unwrap_or_default();
    Ok(Some(TableColumn {
        name: name.to_owned(),
        column_type,
        default_kind: default_kind.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_columns;
    use mpsync_core::dataset::builtin;

    #[test]
    fn the_table_of_every_built_in_ddl_fits_its_dataset() {
        for dataset in builtin() {
            let table = TableSchema::of_ddl(dataset).unwrap();
            check_columns(dataset, &table).unwrap();
            let names: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
            let filled: Vec<_> = dataset.columns.iter().map(|(n, _)| n.as_str()).collect();
            assert_eq!(names, filled, "{}", dataset.name);
        }
    }

    #[test]
    fn comments_quotes_defaults_and_what_is_no_column_are_told_apart() {
        let dataset = Dataset {
            ddl: "-- one (comment), `x` String\nCREATE TABLE {table} (\n`a, (b` Array(Tuple(price Decimal(38, 18), q \
                  Decimal(38, 18))) CODEC(Delta, ZSTD(1)), /* c Int8, */\n  e Enum8('it\\'s' = 1, 'DEFAULT --' = 2) DEFAULT 'x',\n\
                  n UInt8 NULL, m String MATERIALIZED concat(a, 'b'),\n INDEX i (`a`) TYPE minmax, d Int64 COMMENT 'a, b')\n\
                  ENGINE = {engine} ORDER BY (d)"
                .into(),
            ..builtin()[0].clone()
        };
        let table = TableSchema::of_ddl(&dataset).unwrap();
        let found: Vec<_> = table
            .columns
            .iter()
            .map(|c| {
                (
                    c.name.as_str(),
                    c.column_type.to_string(),
                    c.default_kind.as_str(),
                )
            })
            .collect();
        assert_eq!(found[0].0, "a, (b");
        assert_eq!(
            found[0].1,
            "Array(Tuple(price Decimal(38, 18), q Decimal(38, 18)))"
        );
        assert_eq!((found[1].0, found[1].2), ("e", "DEFAULT"));
        assert_eq!(found[2], ("n", "Nullable(UInt8)".to_owned(), ""));
        assert_eq!(found[3], ("m", "String".to_owned(), "MATERIALIZED"));
        assert_eq!(found[4], ("d", "Int64".to_owned(), ""));
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_type_that_cannot_be_read_names_its_column() {
        let dataset = Dataset {
            ddl: "CREATE TABLE t (`a` Decimal(38)) ENGINE = x".into(),
            ..builtin()[0].clone()
        };
        let e = TableSchema::of_ddl(&dataset).unwrap_err().to_string();
        assert!(e.contains("column a"), "{e}");
    }
}
