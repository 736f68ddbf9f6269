//! Path patterns of ClickHouse's `file()`. Pure.

use globset::{GlobBuilder, GlobMatcher};

use crate::exception::Exception;

/// The most numbers of a range such as `{1..9}`.
const RANGE_MAX: u64 = 1000;

/// Whether a path is a pattern.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '{'])
}

/// Compiles a pattern of ClickHouse: `*` and `?` within a name, `**` across folders, `{a,b}`, `{1..9}`. Brackets are
/// literal.
pub(crate) fn matcher(pattern: &str) -> Result<GlobMatcher, Exception> {
    let invalid = |e: &dyn std::fmt::Display| {
        Exception::bad_arguments(format!("file(): invalid pattern {pattern}: {e}"))
    };
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '[']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('[') {
            text.push_str("[[]");
            rest = &rest[1..];
            continue;
        }
        let end = rest
            .find('}')
            .ok_or_else(|| invalid(&"a brace is not closed"))?;
        match numbers(&rest[1..end]) {
            Some(numbers) => text.extend(["{", &numbers.join(","), "}"]),
            None => text.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    let glob = GlobBuilder::new(&text)
        .literal_separator(true)
        .build()
        .map_err(|e| invalid(&e))?;
    Ok(glob.compile_matcher())
}

/// Returns the numbers of `1..9` or `01..09`, with as many digits as the first.
fn numbers(range: &str) -> Option<Vec<String>> {
    let (from, to) = range.split_once("..")?;
    let (first, last): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    let width = if from.starts_with('0') { from.len() } else { 0 };
    (first <= last && last - first < RANGE_MAX)
        .then(|| (first..=last).map(|n| format!("{n:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_clickhouse() {
        let is = |pattern: &str, path: &str| matcher(pattern).expect(pattern).is_match(path);
        assert!(is("d={01..12}/*.parquet", "d=07/a.parquet"));
        assert!(!is("d={01..12}/*.parquet", "d=7/a.parquet"));
        assert!(!is("*.csv", "a/b.csv"));
        assert!(is("a/**/b.csv", "a/x/y/b.csv"));
        assert!(is("[a].csv*", "[a].csv.gz"));
        assert!(matcher("{a,b").is_err());
    }
}
