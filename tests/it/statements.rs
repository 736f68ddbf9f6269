//! Settings travel with the statement: no profile of a server's user changes what a statement means.

use std::collections::BTreeSet;

use mpsync_clickhouse::{StatementKind, Tier, decided_settings};
use mpsync_config::Config;
use mpsync_core::dataset::TierRole;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::profile::{Profile, Settings};
use crate::support::trades::{check_trades, trade};
use crate::support::transfer;

/// Names of settings that could cut a result, change which rows count, drop an insert or refuse a helper table.
const DANGEROUS: &str =
    "limit|offset|overflow_mode|additional_|query_cache|final|apply_|dedup|size_to_drop|suspicious";

/// Settings whose names look dangerous and which no kind decides on, by the reason.
const HARMLESS: &[(&str, &[&str])] = &[
    (
        "a delimiter of a text format; statements use RowBinary, Arrow and Parquet",
        &[
            "format_csv_delimiter",
            "format_custom_field_delimiter",
            "format_custom_result_after_delimiter",
            "format_custom_result_before_delimiter",
            "format_custom_row_after_delimiter",
            "format_custom_row_before_delimiter",
            "format_custom_row_between_delimiter",
            "format_template_rows_between_delimiter",
            "input_format_csv_allow_whitespace_or_tab_as_delimiter",
            "input_format_hive_text_collection_items_delimiter",
            "input_format_hive_text_fields_delimiter",
            "input_format_hive_text_map_keys_delimiter",
            "output_format_pretty_max_value_width_apply_for_single_value",
        ],
    ),
    (
        "how a result is computed, not which: a choice of plan, of threads, or of what is prefetched",
        &[
            "allow_limit_by_partitions_independently",
            "apply_patch_parts_join_cache_buckets",
            "defer_partition_pruning_after_final",
            "distributed_cache_pool_behaviour_on_limit",
            "distributed_push_down_limit",
            "enable_optimize_predicate_expression_to_final_subquery",
            "filesystem_cache_skip_download_if_exceeds_per_query_cache_write_limit",
            "filesystem_prefetches_limit",
            "input_format_parquet_use_offset_index",
            "join_runtime_filter_exact_values_limit",
            "load_balancing_first_offset",
            "max_limit_for_ann_queries",
            "max_limit_for_vector_search_queries",
            "optimize_aggregation_in_order_limit",
            "optimize_injective_functions_in_limit_by",
            "optimize_limit_by_function_keys",
            "optimize_limit_by_in_order",
            "optimize_skip_unused_shards_limit",
            "optimize_trivial_group_by_limit_query",
            "query_plan_max_limit_for_join_lazy_indexing",
            "query_plan_max_limit_for_lazy_materialization",
            "query_plan_max_limit_for_top_k_optimization",
            "query_plan_optimize_join_order_limit",
            "query_plan_push_down_limit",
            "query_plan_push_limit_by_into_sort",
            "s3_path_filter_limit",
            "skip_download_if_exceeds_query_cache",
            "text_index_posting_list_apply_mode",
            "exact_rows_before_limit",
        ],
    ),
    (
        "only queries with FINAL, which `final = 0` rules out",
        &[
            "analyzer_compatibility_apply_final_to_all_joined_tables",
            "apply_prewhere_after_final",
            "apply_row_policy_after_final",
            "do_not_merge_across_partitions_select_final",
            "enable_automatic_decision_for_merging_across_partitions_for_final",
            "enable_vertical_final",
            "max_bytes_for_lazy_final",
            "max_final_threads",
            "max_rows_for_lazy_final",
            "min_filtered_ratio_for_lazy_final",
            "optimize_move_to_prewhere_if_final",
            "query_plan_optimize_lazy_final",
            "split_intersecting_parts_ranges_into_layers_final",
            "split_parts_ranges_into_intersecting_and_non_intersecting_final",
            "use_skip_indexes_if_final",
            "use_skip_indexes_if_final_exact_mode",
        ],
    ),
    (
        "only with the query cache, which `use_query_cache = 0` rules out",
        &[
            "allow_experimental_query_cache",
            "enable_reads_from_query_cache",
            "enable_writes_to_query_cache",
            "query_cache_compress_entries",
            "query_cache_for_subqueries",
            "query_cache_max_entries",
            "query_cache_max_size_in_bytes",
            "query_cache_min_query_duration",
            "query_cache_min_query_runs",
            "query_cache_nondeterministic_function_handling",
            "query_cache_share_between_users",
            "query_cache_squash_partial_results",
            "query_cache_store_results_of_queries_with_nondeterministic_functions",
            "query_cache_system_table_handling",
            "query_cache_tag",
            "query_cache_ttl",
        ],
    ),
    (
        "only asynchronous inserts or deduplication, which every insert rules out",
        &[
            "async_insert_deduplicate",
            "throw_if_deduplication_in_dependent_materialized_views_enabled_with_async_insert",
            "update_insert_deduplication_token_in_dependent_materialized_views",
            "allow_experimental_query_deduplication",
        ],
    ),
    (
        "only parallel replicas, which `enable_parallel_replicas = 0` rules out",
        &["parallel_replica_offset"],
    ),
    (
        "an insert that is split into other blocks, or projections that are written at another time, has the same rows",
        &[
            "use_strict_insert_block_limits",
            "finalize_projection_parts_synchronously",
        ],
    ),
    (
        "a client's own setting, or a stricter check of types that exist",
        &[
            "apply_settings_from_server",
            "validate_experimental_and_suspicious_types_inside_nested_types",
        ],
    ),
    (
        "Kafka tables are not read",
        &[
            "allow_experimental_kafka_offsets_storage_in_keeper",
            "kafka_disable_num_consumers_limit",
        ],
    ),
];

fn tier(port: u16) -> Tier {
    let settings = [
        (
            "MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT".to_owned(),
            port.to_string(),
        ),
        (
            "MPSYNC__HOT_STORAGE__CLICKHOUSE_DATABASE".to_owned(),
            "default".to_owned(),
        ),
    ];
    let config = Config::load(None, settings).expect("a good configuration");
    Tier::new(TierRole::Hot, &config.hot)
}

#[tokio::test]
async fn every_dangerous_setting_of_the_server_is_decided() {
    let engine = ClickHouse::start().await;
    let tier = tier(engine.port());
    let known: BTreeSet<String> = tier
        .ask("SELECT name FROM system.settings WHERE match(name, {pattern:String})")
        .param("pattern", DANGEROUS)
        .fetch_all::<String>()
        .await
        .expect("the settings")
        .into_iter()
        .collect();
    assert!(known.len() > 100, "{known:?}");
    let decided: BTreeSet<&str> = decided_settings().collect();
    let harmless: BTreeSet<&str> = HARMLESS
        .iter()
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    assert!(decided.is_disjoint(&harmless));
    let undecided: Vec<_> = known
        .iter()
        .filter(|name| !decided.contains(name.as_str()) && !harmless.contains(name.as_str()))
        .collect();
    assert_eq!(
        undecided,
        Vec::<&String>::new(),
        "decide on them, in kind.rs or here"
    );
}

#[tokio::test]
async fn a_server_takes_the_settings_of_every_kind_and_reads_them_back() {
    let engine = ClickHouse::start().await;
    let tier = tier(engine.port());
    for kind in [
        StatementKind::WholeRead,
        StatementKind::Question,
        StatementKind::Insert,
        StatementKind::HelperTable,
        StatementKind::Command,
    ] {
        let names: Vec<&str> = kind.settings().map(|(name, _)| name).collect();
        let found = tier
            .statement(
                kind,
                "SELECT name, value FROM system.settings WHERE has({names:Array(String)}, name)",
            )
            .param("names", names)
            .fetch_all::<(String, String)>()
            .await
            .expect("the server takes them");
        for (name, value) in found {
            let wanted = kind
                .settings()
                .find(|(n, _)| *n == name)
                .expect("asked for")
                .1;
            let flag = value.replace("true", "1").replace("false", "0");
            assert_eq!(flag, wanted, "{kind:?}: {name}");
        }
    }
    // The engine fixes this one for its users.
    let refused = tier
        .ask("SELECT 1")
        .with_setting("additional_result_filter", "1 = 0")
        .fetch_one::<u8>()
        .await
        .map_err(|e| tier.error(e))
        .expect_err("the engine refuses it");
    assert_eq!(refused.server_code(), Some(497));
    assert!(
        refused.to_string().contains("additional_result_filter"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_helper_table_of_any_size_and_type_is_made_and_dropped() {
    const SMALL: Settings = &[
        ("max_table_size_to_drop", "1"),
        ("max_partition_size_to_drop", "1"),
    ];
    let engine = ClickHouse::start().await;
    let direct = tier(engine.port());
    let create = |name: &str| {
        format!(
            "CREATE TABLE default.{name} (a UInt64, b LowCardinality(UInt8), c FixedString(1000)) \
             ENGINE = MergeTree ORDER BY a"
        )
    };
    let refused = direct
        .command(&create("other"))
        .await
        .expect_err("suspicious types");
    assert_eq!(refused.server_code(), Some(455), "{refused}");
    direct.execute(&create("odd")).await.expect("made");
    direct
        .execute("INSERT INTO default.odd SELECT number, 1, 'x' FROM numbers(1000)")
        .await
        .expect("filled");
    let profile = Profile::start(engine.port(), SMALL);
    let limited = tier(profile.port);
    let refused = limited
        .command("DROP TABLE default.odd")
        .await
        .expect_err("too large");
    assert_eq!(refused.server_code(), Some(359), "{refused}");
    limited
        .execute("ALTER TABLE default.odd DROP PARTITION tuple()")
        .await
        .expect("dropped");
    direct
        .execute("INSERT INTO default.odd SELECT number, 1, 'x' FROM numbers(1000)")
        .await
        .expect("filled");
    limited.drop_table("odd").await.expect("dropped");
}

/// Profiles that make each read shorter, each insert shorter, or refuse.
const PROFILES: [Settings; 5] = [
    &[("limit", "500")],
    &[("offset", "1")],
    &[
        ("max_rows_to_read_leaf", "1000"),
        ("read_overflow_mode_leaf", "break"),
    ],
    &[
        ("max_bytes_to_read_leaf", "20000"),
        ("read_overflow_mode_leaf", "break"),
    ],
    &[
        ("max_result_rows", "700"),
        ("result_overflow_mode", "break"),
    ],
];

#[test]
fn a_transfer_under_a_profile_that_cuts_reads_is_exact_or_refused() {
    const ROWS: u64 = 4_000;
    let mut outcomes = Vec::new();
    for settings in PROFILES {
        let world = transfer::World::new();
        world.insert_trades("trades", "2026-01-01 05", 1, ROWS);
        let before = world.state("hot.trades");
        let profile = Profile::start(world.port(), settings);
        let output = world
            .command(&["sync", "--dataset", "trades", "--cleanup"])
            .env(
                "MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT",
                profile.port.to_string(),
            )
            .env(
                "MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT",
                profile.port.to_string(),
            )
            .output()
            .expect("the program runs");
        let text = transfer::output_text(&output);
        assert!(profile.requests() > 0);
        if output.status.success() {
            assert_eq!(world.state("cold.trades"), before, "{settings:?}: {text}");
            assert_eq!(
                world.number("SELECT count() FROM hot.trades"),
                0,
                "{settings:?}: {text}"
            );
            world.succeed(&["verify", "--deep", "--against", "cold"]);
        } else {
            // Refused: a limit of the profile that the message names, and nothing has left hot.
            assert!(text.contains("settings profile"), "{settings:?}: {text}");
            assert_eq!(world.state("hot.trades"), before, "{settings:?}: {text}");
        }
        outcomes.push((settings[0].0, output.status.success()));
    }
    assert!(
        outcomes.starts_with(&[("limit", true), ("offset", true)]),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn ingest_and_its_recovery_under_a_profile_that_cuts_them_lose_and_double_nothing() {
    const HALF: u64 = 3_000;
    let mut world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..HALF).map(trade)).await;
    world.drain("trades").await;
    // Without its consumer the next session has to ask hot for what it holds.
    let stream = jetstream
        .get_stream("MARKET_DATA")
        .await
        .expect("the stream");
    let names: Vec<String> = {
        use futures_util::TryStreamExt as _;
        stream.consumer_names().try_collect().await.expect("names")
    };
    assert!(!names.is_empty());
    for name in names {
        stream.delete_consumer(&name).await.expect("deleted");
    }
    publish(&jetstream, (HALF..2 * HALF).map(trade)).await;
    let direct = world.clickhouse.port();
    let profile = Profile::start(direct, PROFILES[0]);
    world.set(
        "MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT",
        &profile.port.to_string(),
    );
    world.drain("trades").await;
    world.set(
        "MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT",
        &direct.to_string(),
    );
    assert!(profile.requests() > 0);
    check_trades(&world, 2 * HALF).await;
}
