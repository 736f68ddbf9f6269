//! The kinds of statements, and the settings that each of them carries.
//!
//! A profile of the server's user can change the meaning of any statement: `limit = 500` cuts the answer of a read, and the rows that
//! a materialized view passes on from an insert, with nothing but the right exit code to show for it. So no statement leaves a
//! meaning to the profile: the kind of a statement decides, in the table below, all settings that could change its meaning.

/// The purpose of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// A read whose result must be whole: rows that are archived, counted, compared or believed to be held.
    WholeRead,
    /// A question to the server about itself, such as the names of tables or the state of a mutation.
    Question,
    /// An insert, with the views behind its table.
    Insert,
    /// A statement that makes, fills, moves or drops a helper table (gate, staging, set aside), or removes rows that were
    /// proven.
    HelperTable,
    /// Any other statement without a result, such as the creation of a dataset's own table.
    Command,
}

impl StatementKind {
    const fn bit(self) -> u8 {
        match self {
            Self::WholeRead => 1,
            Self::Question => 2,
            Self::Insert => 4,
            Self::HelperTable => 8,
            Self::Command => 16,
        }
    }

    /// Returns the settings that a statement of this kind carries, with their values.
    pub fn settings(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        DECIDED
            .iter()
            .filter(move |decided| decided.kinds & self.bit() != 0)
            .map(|decided| (decided.name, decided.value))
    }
}

/// A setting, its value, and the kinds that carry it.
struct DecidedSetting {
    name: &'static str,
    value: &'static str,
    kinds: u8,
}

const fn carried(kinds: u8, name: &'static str, value: &'static str) -> DecidedSetting {
    DecidedSetting { name, value, kinds }
}

const INSERT: u8 = StatementKind::Insert.bit();
const HELPER: u8 = StatementKind::HelperTable.bit();
const READS: u8 = StatementKind::WholeRead.bit() | StatementKind::Question.bit();
/// Every kind: an insert runs the SELECT of the view behind its gate, an `ALTER … DELETE` the one of its condition.
const ALL: u8 = READS | INSERT | HELPER | StatementKind::Command.bit();

/// Every setting that a kind decides on. A server is sent those of them that it knows.
const DECIDED: &[DecidedSetting] = &[
    // Rows that are cut off. On 26.7 `limit = 5` lets 5 of 100 rows of an insert through a gate.
    carried(ALL, "limit", "0"),
    carried(ALL, "offset", "0"),
    carried(ALL, "additional_table_filters", "{}"),
    carried(ALL, "additional_result_filter", ""),
    // A result beyond a limit of the profile is an error, never the end of the result. The limits themselves stay the
    // operator's.
    carried(ALL, "read_overflow_mode", "throw"),
    carried(ALL, "read_overflow_mode_leaf", "throw"),
    carried(ALL, "result_overflow_mode", "throw"),
    carried(ALL, "timeout_overflow_mode", "throw"),
    carried(ALL, "timeout_overflow_mode_leaf", "throw"),
    carried(ALL, "group_by_overflow_mode", "throw"),
    carried(ALL, "sort_overflow_mode", "throw"),
    carried(ALL, "distinct_overflow_mode", "throw"),
    carried(ALL, "set_overflow_mode", "throw"),
    carried(ALL, "join_overflow_mode", "throw"),
    carried(ALL, "transfer_overflow_mode", "throw"),
    carried(ALL, "partial_result_on_first_cancel", "0"),
    carried(ALL, "skip_unavailable_shards", "0"),
    // Which rows of a table count as its rows.
    carried(ALL, "final", "0"),
    carried(ALL, "apply_deleted_mask", "1"),
    carried(ALL, "apply_patch_parts", "1"),
    carried(ALL, "apply_mutations_on_fly", "0"),
    carried(ALL, "ignore_cold_parts_seconds", "0"),
    carried(ALL, "enable_parallel_replicas", "0"),
    carried(
        ALL,
        "allow_experimental_parallel_reading_from_replicas",
        "0",
    ),
    // Results that are not computed from the rows of now.
    carried(ALL, "use_query_cache", "0"),
    carried(ALL, "optimize_trivial_approximate_count_query", "0"),
    // The meaning of expressions.
    carried(ALL, "join_use_nulls", "0"),
    carried(ALL, "group_by_use_nulls", "0"),
    carried(ALL, "transform_null_in", "0"),
    carried(ALL, "aggregate_functions_null_for_empty", "0"),
    carried(ALL, "any_join_distinct_right_table_keys", "0"),
    carried(ALL, "cast_keep_nullable", "0"),
    carried(ALL, "count_distinct_implementation", "uniqExact"),
    carried(ALL, "decimal_check_overflow", "1"),
    carried(ALL, "extremes", "0"),
    carried(ALL, "prefer_column_name_to_alias", "0"),
    // With progress in headers the status line comes before the result, and an error after it is part of the body.
    carried(ALL, "send_progress_in_http_headers", "0"),
    // An insert: a column that the body lacks, a field that no column takes, a row that cannot be read, a NULL that becomes a
    // default, a buffer that the acknowledgement does not wait for, a view that fails or is gone, an insert that is dropped for
    // being like an earlier one. Each default of the server loses something in silence (`async_insert` is on since 26.x).
    carried(INSERT, "input_format_arrow_allow_missing_columns", "0"),
    carried(INSERT, "input_format_parquet_allow_missing_columns", "0"),
    carried(INSERT, "input_format_skip_unknown_fields", "0"),
    carried(INSERT, "input_format_null_as_default", "0"),
    carried(INSERT, "input_format_allow_errors_num", "0"),
    carried(INSERT, "input_format_allow_errors_ratio", "0"),
    carried(INSERT, "async_insert", "0"),
    carried(INSERT, "wait_for_async_insert", "1"),
    carried(INSERT, "materialized_views_ignore_errors", "0"),
    carried(
        INSERT,
        "ignore_materialized_views_with_dropped_target_table",
        "0",
    ),
    carried(INSERT, "insert_deduplicate", "0"),
    // Since 26.2 it overrides `insert_deduplicate`.
    carried(INSERT, "deduplicate_insert", "disable"),
    carried(
        INSERT,
        "deduplicate_blocks_in_dependent_materialized_views",
        "0",
    ),
    carried(INSERT, "insert_deduplication_token", ""),
    // A helper table of any size must be dropped in the end; the limit protects tables, and the rows dropped here were proven.
    // A copy has the types, keys and codecs of a table that exists: nothing in it is suspicious any more.
    carried(HELPER, "max_table_size_to_drop", "0"),
    carried(HELPER, "max_partition_size_to_drop", "0"),
    carried(HELPER, "ignore_drop_queries_probability", "0"),
    carried(HELPER, "data_type_default_nullable", "0"),
    carried(HELPER, "allow_suspicious_codecs", "1"),
    carried(HELPER, "allow_suspicious_fixed_string_types", "1"),
    carried(HELPER, "allow_suspicious_indices", "1"),
    carried(HELPER, "allow_suspicious_low_cardinality_types", "1"),
    carried(HELPER, "allow_suspicious_primary_key", "1"),
    carried(HELPER, "allow_suspicious_ttl_expressions", "1"),
    carried(HELPER, "allow_suspicious_types_in_group_by", "1"),
    carried(HELPER, "allow_suspicious_types_in_order_by", "1"),
    carried(HELPER, "allow_suspicious_variant_types", "1"),
    carried(HELPER, "insert_select_deduplicate", "0"),
    carried(HELPER, "deduplicate_insert_select", "disable"),
];

/// Returns the names of all settings that some kind decides on.
pub fn decided_settings() -> impl Iterator<Item = &'static str> {
    DECIDED.iter().map(|decided| decided.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_decides_on_cut_results() {
        for kind in [
            StatementKind::WholeRead,
            StatementKind::Question,
            StatementKind::Insert,
            StatementKind::HelperTable,
            StatementKind::Command,
        ] {
            let settings: Vec<_> = kind.settings().collect();
            for decided in [
                ("limit", "0"),
                ("offset", "0"),
                ("read_overflow_mode_leaf", "throw"),
                ("additional_result_filter", ""),
            ] {
                assert!(settings.contains(&decided), "{kind:?}: {decided:?}");
            }
        }
    }

    #[test]
    fn only_helper_tables_pass_the_drop_limit_and_only_inserts_are_strict() {
        let carries = |kind: StatementKind, name| kind.settings().any(|(n, _)| n == name);
        assert!(carries(
            StatementKind::HelperTable,
            "max_table_size_to_drop"
        ));
        assert!(!carries(StatementKind::Command, "max_table_size_to_drop"));
        assert!(carries(StatementKind::Insert, "deduplicate_insert"));
        assert!(!carries(StatementKind::WholeRead, "deduplicate_insert"));
    }

    #[test]
    fn no_setting_is_decided_twice() {
        let names: BTreeSet<_> = decided_settings().collect();
        assert_eq!(names.len(), DECIDED.len());
    }
}
