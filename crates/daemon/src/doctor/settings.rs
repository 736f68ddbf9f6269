//! Settings of a user's profile that change the meaning of mpsync's statements. Pure.

use super::diagnosis::Severity;

/// Returns how a changed setting affects mpsync, and why; `None` if it does not.
pub(crate) fn effect(name: &str, value: &str) -> Option<(Severity, &'static str)> {
    let is_off = matches!(value, "" | "0" | "false" | "{}" | "[]");
    match name {
        "limit" | "offset" if !is_off => {
            Some((Severity::Refused, "it cuts the results of all queries"))
        }
        "additional_table_filters" | "additional_result_filter" if !is_off => {
            Some((Severity::Refused, "it hides rows from all queries"))
        }
        _ if name.contains("overflow_mode") && matches!(value, "break" | "any") => Some((
            Severity::Refused,
            "at a limit, queries return a part of their result without an error",
        )),
        "readonly" if !is_off => Some((
            Severity::Warning,
            "the user cannot insert, or cannot send the settings that mpsync needs",
        )),
        "final" if !is_off => Some((
            Severity::Warning,
            "rows that an engine replaces are missing in all results",
        )),
        "use_query_cache" if !is_off => Some((
            Severity::Warning,
            "results may be older than the last insert",
        )),
        "async_insert" if !is_off => {
            Some((Severity::Note, "mpsync switches it off for its own inserts"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_shorten_results_are_refused() {
        for (name, value) in [
            ("limit", "500"),
            ("offset", "1"),
            ("read_overflow_mode", "break"),
            ("read_overflow_mode_leaf", "break"),
            ("result_overflow_mode", "break"),
            ("group_by_overflow_mode", "any"),
            ("timeout_overflow_mode", "break"),
            ("additional_table_filters", "{'db.t':'x = 1'}"),
            ("additional_result_filter", "x = 1"),
        ] {
            let severity = effect(name, value).map(|(severity, _)| severity);
            assert_eq!(severity, Some(Severity::Refused), "{name} = {value}");
        }
    }

    #[test]
    fn harmless_settings_are_accepted() {
        for (name, value) in [
            ("limit", "0"),
            ("result_overflow_mode", "throw"),
            ("max_rows_to_read", "100"),
            ("additional_table_filters", "{}"),
            ("max_threads", "2"),
            ("readonly", "0"),
        ] {
            assert_eq!(effect(name, value), None, "{name} = {value}");
        }
        for name in ["readonly", "final", "use_query_cache"] {
            let severity = effect(name, "1").map(|(severity, _)| severity);
            assert_eq!(severity, Some(Severity::Warning), "{name}");
        }
    }
}
