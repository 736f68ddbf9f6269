//! Subject patterns. Pure.

/// Whether every subject that matches `narrow` matches `wide`; both may hold wildcards.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(own), Some(token)) if own == token => {}
            _ => return false,
        }
    }
}

/// Whether some subject matches both; both may hold wildcards.
#[must_use]
pub fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// The pattern of the subjects that match both; `None` where there is none. Both may hold wildcards.
#[must_use]
pub fn intersection(one: &str, other: &str) -> Option<String> {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    let mut shared: Vec<&str> = Vec::new();
    loop {
        match (one.next(), other.next()) {
            (None, None) => return Some(shared.join(".")),
            (Some(">"), Some(token)) => {
                shared.push(token);
                shared.extend(other);
                return Some(shared.join("."));
            }
            (Some(token), Some(">")) => {
                shared.push(token);
                shared.extend(one);
                return Some(shared.join("."));
            }
            (Some(a), Some(b)) if a == b || b == "*" => shared.push(a),
            (Some("*"), Some(b)) => shared.push(b),
            _ => return None,
        }
    }
}

/// Whether a text is a pattern of subjects: tokens without spaces, `*` for one, `>` for the rest.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        let is_last = tokens.peek().is_none();
        let is_wildcard = token == "*" || (token == ">" && is_last);
        let is_name = !token.is_empty()
            && !token.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c));
        if !is_wildcard && !is_name {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_covers_what_it_matches_and_overlaps_what_it_shares() {
        let table = [
            ("trade.>", "trade.binance.spot.BTC-USDT", true, true),
            ("trade.>", "trade.*.spot.>", true, true),
            ("trade.>", "trade", false, false),
            ("trade.*.spot.*", "trade.>", false, true),
            ("*.binance.>", "trade.>", false, true),
            ("trade.binance.>", "trade.okx.>", false, false),
            (">", "trade.>", true, true),
            ("trade.*", "trade.a.b", false, false),
        ];
        for (wide, narrow, covered, shared) in table {
            assert_eq!(covers(wide, narrow), covered, "{wide} covers {narrow}");
            assert_eq!(overlaps(wide, narrow), shared, "{wide} overlaps {narrow}");
        }
    }

    #[test]
    fn an_intersection_is_what_both_patterns_match() {
        let table = [
            ("trade.>", "*.okx.>", Some("trade.okx.>")),
            ("trade.*.spot.*", "trade.okx.>", Some("trade.okx.spot.*")),
            ("trade.>", ">", Some("trade.>")),
            ("trade.*", "trade.a.b", None),
            ("trade.okx.>", "trade.binance.>", None),
            ("trade.>", "trade", None),
            ("a.*.c", "a.b.*", Some("a.b.c")),
        ];
        for (one, other, both) in table {
            assert_eq!(intersection(one, other).as_deref(), both);
            assert_eq!(intersection(other, one).as_deref(), both);
            assert_eq!(overlaps(one, other), both.is_some());
        }
        for good in [">", "a", "a.*.b", "*.okx.>"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "a.", ".a", "a.>.b", "a b", "a*", "a..b"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
