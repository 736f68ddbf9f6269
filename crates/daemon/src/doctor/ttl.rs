//! TTL clauses of a table's definition. Pure.

/// The TTL clauses of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ttl {
    /// Whether the server deletes rows, or aggregates them.
    pub(crate) deletes_rows: bool,
    /// Whether the server resets a column to its default value.
    pub(crate) resets_columns: bool,
}

/// A token outside of quotes, with the depth of parentheses around it.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    depth: usize,
    text: String,
}

/// Returns the TTL clauses of a statement, as `system.tables.create_table_query` has it.
pub(crate) fn of(create_table_query: &str) -> Ttl {
    let tokens = tokens(create_table_query);
    let is = |at: usize, word: &str| tokens[at].text.eq_ignore_ascii_case(word);
    let top_level =
        |word: &str| (0..tokens.len()).find(|at| tokens[*at].depth == 0 && is(*at, word));
    let engine = top_level("ENGINE").unwrap_or(tokens.len());
    let mut found = Ttl {
        resets_columns: (0..engine).any(|at| tokens[at].depth == 1 && is(at, "TTL")),
        deletes_rows: false,
    };
    let Some(ttl) = (engine..tokens.len()).find(|at| tokens[*at].depth == 0 && is(*at, "TTL"))
    else {
        return found;
    };
    let is_end = |at: &usize| tokens[*at].depth == 0 && (is(*at, "SETTINGS") || is(*at, "COMMENT"));
    let end = (ttl..tokens.len()).find(is_end).unwrap_or(tokens.len());
    let clause = &tokens[ttl + 1..end];
    let rules = clause.split(|token| token.depth == 0 && token.text == ",");
    for rule in rules.filter(|rule| !rule.is_empty()) {
        let has = |word: &str| {
            let mut words = rule.iter().filter(|token| token.depth == 0);
            words.any(|token| token.text.eq_ignore_ascii_case(word))
        };
        let moves = has("TO") && (has("DISK") || has("VOLUME"));
        found.deletes_rows |= !moves && !has("RECOMPRESS");
    }
    found
}

/// Splits a statement into words and signs; quoted texts become empty tokens, since no keyword is quoted.
fn tokens(statement: &str) -> Vec<Token> {
    let mut chars = statement.chars().peekable();
    let (mut found, mut depth) = (Vec::new(), 0usize);
    while let Some(c) = chars.next() {
        let text = match c {
            '\'' | '"' | '`' => {
                while let Some(inner) = chars.next() {
                    match inner {
                        '\\' => {
                            chars.next();
                        }
                        _ if inner == c && chars.peek() == Some(&c) => {
                            chars.next();
                        }
                        _ if inner == c => break,
                        _ => {}
                    }
                }
                String::new()
            }
            '(' => {
                depth += 1;
                continue;
            }
            ')' => {
                depth = depth.saturating_sub(1);
                continue;
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(next);
                }
                word
            }
            _ if c.is_whitespace() => continue,
            sign => sign.to_string(),
        };
        found.push(Token { depth, text });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &str, clauses: &str) -> Ttl {
        of(&format!(
            "CREATE TABLE db.t (`a` DateTime, {columns}) ENGINE = MergeTree PARTITION BY toYYYYMMDD(a) ORDER BY (a, b) {clauses} \
             SETTINGS index_granularity = 8192"
        ))
    }

    #[test]
    fn deleting_ttls_are_distinguished_from_moving_ones() {
        for clauses in [
            "TTL a + toIntervalDay(3)",
            "TTL a + toIntervalDay(3) DELETE",
            "TTL a + toIntervalDay(3) WHERE b = 'TO DISK'",
            "TTL a + toIntervalDay(1) TO DISK 'slow', a + toIntervalDay(9)",
            "TTL a + toIntervalDay(1) GROUP BY a SET b = max(b)",
        ] {
            assert!(table("`b` UInt8", clauses).deletes_rows, "{clauses}");
        }
        for clauses in [
            "",
            "TTL a + toIntervalDay(1) TO DISK 'slow'",
            "TTL a + toIntervalDay(1) TO VOLUME 'cold', a + toIntervalDay(2) RECOMPRESS CODEC(ZSTD(9))",
        ] {
            assert_eq!(table("`b` UInt8", clauses), Ttl::default(), "{clauses}");
        }
    }

    #[test]
    fn column_ttls_are_found_and_names_and_comments_are_not() {
        let found = table("`b` String TTL a + toIntervalDay(1)", "");
        assert!(found.resets_columns && !found.deletes_rows);
        for columns in [
            "`TTL` String",
            "`b` String COMMENT 'TTL a, ENGINE = x'",
            "`b` String DEFAULT 'it''s \\' TTL'",
        ] {
            assert_eq!(table(columns, ""), Ttl::default(), "{columns}");
        }
    }
}
