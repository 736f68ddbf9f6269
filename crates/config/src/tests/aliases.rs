//! Earlier names of keys, and defaults that follow other keys.

use super::{load, refused};

#[test]
fn earlier_names_of_keys_work_and_the_current_name_is_displayed() {
    let yaml = "\
ingest: {filters: [a], filter_name: okx}
sync: {batch_hours: 5}
http: {protect_reads: true}
archive: {encryption_old_key_files: []}
";
    let config = load(yaml, &[]).unwrap();
    assert_eq!(config.sync.max_hours_per_run, 5);
    assert_eq!(config.ingest.shard_name.as_deref(), Some("okx"));
    assert!(config.http.require_token_for_reads);
    assert!(config.settings.warnings().is_empty());
    let origin = |key| config.settings.origin(key).to_string();
    assert_eq!(origin("sync.max_hours_per_run"), "/etc/mpsync/c.yaml:2:21");
    assert_eq!(
        origin("archive.decryption_key_files"),
        "/etc/mpsync/c.yaml:4:37"
    );
    let names = config.settings.all().iter().map(|s| s.key.as_str());
    let earlier = ["batch_hours", "filter_name", "protect_reads", "old_key"];
    for key in names {
        assert!(!earlier.iter().any(|name| key.contains(name)), "{key}");
    }
    // A stronger source overrides a weaker one, whichever name each uses.
    for (yaml, variable) in [
        (
            "sync: {batch_hours: 5}\n",
            "MPSYNC__SYNC__MAX_HOURS_PER_RUN",
        ),
        (
            "sync: {max_hours_per_run: 5}\n",
            "MPSYNC__SYNC__BATCH_HOURS",
        ),
    ] {
        let config = load(yaml, &[(variable, "7")]).unwrap();
        assert_eq!(config.sync.max_hours_per_run, 7, "{variable}");
    }
    let text = refused("sync: {batch_hours: many}\n", &[]);
    assert!(
        text.contains("c.yaml:1:21: sync.max_hours_per_run"),
        "{text}"
    );
}

#[test]
fn a_key_that_is_set_under_both_names_is_a_mistake() {
    let text = refused("sync:\n  max_hours_per_run: 5\n  batch_hours: 5\n", &[]);
    assert!(
        text.contains(
            "c.yaml:3:3: sync.batch_hours: this is the earlier name of sync.max_hours_per_run"
        ) && text.contains("c.yaml:2:3 sets"),
        "{text}"
    );
    load("sync: {max_hours_per_run: , batch_hours: 5}\n", &[]).unwrap();
    let (alias, name) = ("MPSYNC__INGEST__FILTER_NAME", "MPSYNC__INGEST__SHARD_NAME");
    for environment in [[(alias, "a"), (name, "a")], [(name, "a"), (alias, "a")]] {
        let text = refused("", &environment);
        assert!(
            text.contains("environment variable MPSYNC__INGEST__FILTER_NAME: ingest.filter_name")
                && text.contains("MPSYNC__INGEST__SHARD_NAME sets"),
            "{text}"
        );
    }
}

#[test]
fn retention_follows_cleanup_unless_it_is_set() {
    for (yaml, retention) in [
        ("", false),
        ("sync: {cleanup_enabled: true}", true),
        (
            "sync: {cleanup_enabled: true, retention_enabled: false}",
            false,
        ),
        ("sync: {retention_enabled: true}", true),
    ] {
        let config = load(yaml, &[]).unwrap();
        assert_eq!(config.sync.retention_enabled, retention, "{yaml}");
    }
}
