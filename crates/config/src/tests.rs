//! Configurations from all sources.

mod aliases;
mod http;
mod security;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use mpsync_core::error::{Error, Result};

use crate::reading::raw::{RawConfig, RawNode};
use crate::reading::yaml;
use crate::*;

fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<Config> {
    let file = Path::new("/etc/mpsync/c.yaml");
    let mut problems = Problems::default();
    let raw = yaml::read(yaml, &Arc::from(file), &mut problems);
    let mut raw = crate::reading::aliases::rename(raw, &mut problems);
    raw.overlay_environment(environment.iter().copied(), &mut problems);
    Config::from_raw(raw, file.parent().unwrap(), problems)
}

fn refused(yaml: &str, environment: &[(&str, &str)]) -> String {
    let e = load(yaml, environment).unwrap_err();
    assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Usage);
    e.to_string()
}

#[test]
fn keys_of_the_replaced_system_work_unchanged() {
    let yaml = "
nats:
  url: nats://n:4222
  max_reconnect_attempts: 5
hot_storage:
  clickhouse_host: h
  clickhouse_http_port: 8123
  clickhouse_user: u
  clickhouse_password: 0123
  clickhouse_database: d
  retention_days: 3
  batch_size: 1000
  flush_interval: 2
cold_storage:
  clickhouse_host: c
  clickhouse_http_port: 8124
  clickhouse_user: u
  clickhouse_password: ''
  clickhouse_database: e
  retention_days: 365
  batch_size: 5000
  flush_interval: 5.0
sync:
  interval_hours: 6
  batch_hours: 24
  cleanup_enabled: yes
  cleanup_delay_hours: 2
";
    let config = load(
        yaml,
        &[("LOG_LEVEL", "WARNING"), ("ENVIRONMENT", "staging")],
    )
    .unwrap();
    assert_eq!(config.hot.url, "http://h:8123");
    assert_eq!(config.hot.password.reveal(), "0123");
    assert_eq!(config.hot.batch_rows, 1000);
    assert_eq!(config.hot.flush_interval, Duration::from_secs(2));
    assert_eq!(config.cold.url, "http://c:8124");
    assert_eq!(config.cold.retention_days, 365);
    assert_eq!(config.nats.max_reconnect_attempts, Some(5));
    assert_eq!(
        config.sync.schedule,
        SyncSchedule::Every(Duration::from_hours(6))
    );
    assert!(config.sync.cleanup_enabled);
    assert_eq!(config.logging.filter, "warn");
    assert_eq!(config.environment, Environment::Staging);
    assert!(!format!("{config:?}").contains("0123"));
}

#[test]
fn garbage_collection_interval_can_be_set_and_switched_off() {
    let interval = |yaml: &str| load(yaml, &[]).unwrap().sync.gc_interval;
    assert_eq!(interval(""), Some(Duration::from_hours(24)));
    let half = interval("sync: {gc_interval_hours: 0.5}");
    assert_eq!(half, Some(Duration::from_mins(30)));
    assert_eq!(interval("sync: {gc_interval_hours: 0}"), None);
    let text = refused("sync: {gc_interval_hours: -1}", &[]);
    assert!(text.contains("sync.gc_interval_hours"), "{text}");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let yaml = "\
environment: moon
nats:
  url: {host: n}
  max_reconnect_attempts: many
  user: u
  urls: nats://n
hot_storage:
  clickhouse_hots: h
  clickhouse_http_port: 70000
  clickhouse_password: [secret]
  clickhouse_password_file: /nowhere/password
  retention_days: -1
  retention_days: 5
  flush_interval: 0
cold_storage: text
archiv:
  path: x
archive:
  zstd_level: 23
  interval_hours: 1
ingest:
  batch_bytes: 1G
  shards: 2
  shard_index: 2
  batches:
    trades: {batch_szie: 5}
    orderbooks: {batch_size: none}
sync:
  cleanup_enabled: maybe
  interval_hours: 1e999
logging: {level: loud}
";
    let environment = [
        ("MPSYNC__HOT_STORAGE__BATCH_SIZE", "0"),
        ("MPSYNC__SYNC__MAXHOURSPERRUN", "1"),
        ("MPSYNC__INGEST__FILTERS", "[a"),
        ("LOG_LEVEL", ""),
    ];
    insta::assert_snapshot!(refused(yaml, &environment));
}

#[test]
fn invalid_yaml_is_reported_with_its_place_and_without_secrets() {
    let yaml = "hot_storage:\n  clickhouse_password: *hidden\n  clickhouse_user: !who x\n";
    let text = refused(yaml, &[]);
    assert!(
        text.contains("c.yaml:2:24") && text.contains("c.yaml:3:"),
        "{text}"
    );
    assert!(!text.contains("hidden"), "{text}");
    let text = refused("nats:\n  url: [a\nhot_storage: {}\n", &[]);
    assert!(
        text.contains("invalid YAML") && text.contains("c.yaml:3"),
        "{text}"
    );
    let text = refused("- a\n", &[]);
    assert!(text.contains("sections"), "{text}");
}

#[test]
fn stronger_sources_override_and_origins_are_recorded() {
    let yaml = "hot_storage:\n  clickhouse_host: file\n  batch_size: 7\nlogging: {level: debug}\n";
    let environment = [
        ("MPSYNC__HOT_STORAGE__CLICKHOUSE_HOST", "env"),
        ("MPSYNC__HOT_STORAGE__CLICKHOUSE_PASSWORD", "a: b # 'c'"),
        ("MPSYNC__INGEST__BATCHES", "{trades: {batch_size: 5}}"),
        ("MPSYNC__INGEST__BATCHES__ORDERBOOKS__FLUSH_INTERVAL", "3"),
        ("MPSYNC__INGEST__FILTERS", "*.okx.>, *.deribit.>"),
        ("MPSYNC__LOGGING__LEVEL", "trace"),
        ("LOG_LEVEL", "ERROR"),
    ];
    let config = load(yaml, &environment).unwrap();
    assert_eq!(config.hot.url, "http://env:8123");
    assert_eq!(config.hot.batch_rows, 7);
    assert_eq!(config.hot.password.reveal(), "a: b # 'c'");
    assert_eq!(config.batch_limits("trades").rows, 5);
    assert_eq!(
        config.batch_limits("orderbooks").flush_interval,
        Duration::from_secs(3)
    );
    assert_eq!(config.ingest.filters, ["*.okx.>", "*.deribit.>"]);
    assert_eq!(config.logging.filter, "trace");
    let from = |key| config.settings.origin(key).to_string();
    assert_eq!(from("hot_storage.batch_size"), "/etc/mpsync/c.yaml:3:15");
    assert_eq!(
        from("hot_storage.clickhouse_host"),
        "environment variable MPSYNC__HOT_STORAGE__CLICKHOUSE_HOST"
    );
    assert_eq!(from("sync.max_hours_per_run"), "default");
    let shown = format!("{:?}", config.settings.all());
    assert!(shown.contains("***") && !shown.contains("a: b"), "{shown}");
}

#[test]
fn a_flag_is_stronger_than_the_environment() {
    let sources = Sources {
        file: None,
        flags: vec![Flag {
            name: "--log",
            key: "logging.level",
            value: "DEBUG".to_owned(),
        }],
    };
    let environment = [("LOG_LEVEL".to_owned(), "ERROR".to_owned())];
    let config = sources.load(environment).unwrap();
    assert_eq!(config.logging.filter, "debug");
    assert_eq!(
        config.settings.origin("logging.level"),
        Origin::Flag("--log")
    );
}

#[test]
fn paths_of_the_file_are_beside_it_and_others_are_not() {
    let yaml = "archive: {path: a}\ndatasets: {files: [x.yaml, /y.yaml]}\n";
    let config = load(yaml, &[("MPSYNC__INGEST__DEAD_LETTER_FOLDER", "d")]).unwrap();
    assert_eq!(
        config.archive.place.folder(),
        Some(Path::new("/etc/mpsync/a"))
    );
    assert_eq!(
        config.ingest.dead_letter_folder.as_deref(),
        Some(Path::new("d"))
    );
    let files = [Path::new("/etc/mpsync/x.yaml"), Path::new("/y.yaml")];
    assert_eq!(config.dataset_files, files);
    let off = load("ingest: {dead_letter_folder: ''}\n", &[]).unwrap();
    assert_eq!(off.ingest.dead_letter_folder, None);
}

#[test]
fn interval_and_cron_expression_contradict_each_other() {
    let yaml = "sync:\n  interval_hours: 2\n  cron: '15 * * * *'\n";
    let text = refused(yaml, &[]);
    assert!(
        text.contains("c.yaml:3:9: sync.cron") && text.contains("c.yaml:2:19 sets interval_hours"),
        "{text}"
    );
    let text = refused(
        "sync: {interval_hours: 2}\n",
        &[("MPSYNC__SYNC__CRON", "0 3 * * *")],
    );
    assert!(text.contains("MPSYNC__SYNC__CRON"), "{text}");
    let config = load("sync: {cron: '0 3 * * *'}\n", &[]).unwrap();
    assert_eq!(config.sync.schedule.to_string(), "cron 0 3 * * * (UTC)");
    let text = refused("sync: {cron: '0 0 30 2 *'}\n", &[]);
    assert!(text.contains("matches some time"), "{text}");
}

#[test]
fn engine_is_embedded_unless_a_server_is_configured() {
    let embedded = |yaml: &str| load(yaml, &[]).unwrap().engine.embedded;
    assert!(embedded(""));
    assert!(embedded(
        "hot_storage: {retention_days: 5}\narchive: {path: a}\n"
    ));
    assert!(embedded("engine: {embedded: true, folder: x}\n"));
    assert!(!embedded("engine: {embedded: false}\n"));
    assert!(!embedded("cold_storage: {clickhouse_host: db}\n"));
    assert!(!embedded("hot_storage: {clickhouse_password: p}\n"));
    let environment = [("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", "8124")];
    assert!(!load("", &environment).unwrap().engine.embedded);
    let text = refused("engine: {embedded: yes}\n", &environment);
    assert!(
        text.contains("c.yaml:1:20: engine.embedded")
            && text.contains("CLICKHOUSE_HTTP_PORT sets cold_storage.clickhouse_http_port"),
        "{text}"
    );
}

#[test]
fn archive_retention_below_cold_retention_is_refused() {
    let text = refused("archive: {retention_days: 100}\n", &[]);
    assert!(
        text.contains("c.yaml:1:27: archive.retention_days") && text.contains("which is 365"),
        "{text}"
    );
    for yaml in [
        "archive: {retention_days: 0}\n",
        "archive: {retention_days: 365}\n",
        "archive: {retention_days: 100}\ncold_storage: {retention_days: 0}\n",
    ] {
        load(yaml, &[]).unwrap();
    }
}

#[test]
fn identical_tiers_are_refused() {
    let yaml = "hot_storage: {clickhouse_database: x}\ncold_storage: {clickhouse_database: x}\n";
    assert!(refused(yaml, &[]).contains("the only copy"));
}

#[test]
fn reload_applies_live_keys_and_rejects_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    let write = |yaml: &str| std::fs::write(&file, yaml).unwrap();
    write("hot_storage: {batch_size: 5, clickhouse_host: a}\n");
    let sources = Sources {
        file: Some(file.clone()),
        flags: Vec::new(),
    };
    let live = LiveConfig::load(sources, Vec::new()).unwrap();
    let mut watch = live.watch();
    let reload = || live.reload(|_| Ok(()));
    assert_eq!(reload().unwrap(), Reloaded::default());
    assert!(!watch.has_changed().unwrap());
    write("hot_storage: {batch_size: 6, clickhouse_host: b}\nsync: {cleanup_enabled: true}\n");
    let done = reload().unwrap();
    assert_eq!(
        done.changed,
        ["hot_storage.batch_size", "sync.cleanup_enabled"]
    );
    assert_eq!(done.kept, ["hot_storage.clickhouse_host"]);
    let now = watch.borrow_and_update().clone();
    assert_eq!(
        (now.hot.batch_rows, now.hot.url.as_str()),
        (6, "http://a:8123")
    );
    assert!(now.sync.cleanup_enabled);
    write("hot_storage: {batch_size: 0, clickhouse_hots: b}\nsync: {cleanup_enabled: false}\n");
    let text = reload().unwrap_err().to_string();
    assert!(text.contains("2 mistakes"), "{text}");
    let _ = live.reload(|_| Err(Error::config("no"))).unwrap_err();
    assert!(!watch.has_changed().unwrap() && live.now().sync.cleanup_enabled);
    write("");
    assert_eq!(
        reload().unwrap().changed,
        ["hot_storage.batch_size", "sync.cleanup_enabled"]
    );
    assert_eq!(live.now().hot.batch_rows, 50_000);
}

/// Returns the example's text with the commented-out keys enabled, and those keys.
fn with_commented_keys(example: &str) -> (String, Vec<String>) {
    let (mut text, mut commented, mut section) = (String::new(), Vec::new(), String::new());
    for line in example.lines() {
        if let Some((name, _)) = line.split_once(':')
            && !line.starts_with([' ', '#'])
        {
            name.clone_into(&mut section);
        }
        let key = line
            .strip_prefix("  # ")
            .and_then(|rest| rest.split_once(": "));
        match key {
            Some((key, value))
                if key
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') =>
            {
                commented.push(format!("{section}.{key}"));
                text.extend(["  ", key, ": ", value, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    (text, commented)
}

#[test]
fn example_names_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config/tiered_storage_config.yaml.example");
    let example = std::fs::read_to_string(path).unwrap();
    let (text, commented) = with_commented_keys(&example);
    let read = |text: &str| {
        let mut problems = Problems::default();
        let raw = yaml::read(text, &Arc::from(Path::new("e")), &mut problems);
        assert!(problems.is_empty(), "{:?}", problems.into_sorted());
        raw
    };
    let raw = read(&text);
    let values_of = |raw: RawConfig| {
        let config = Config::from_raw(raw, Path::new(""), Problems::default()).unwrap();
        let all = config.settings.all().iter();
        all.map(|s| (s.key.clone(), s.value.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let defaults = values_of(RawConfig::default());
    let values = values_of(read(&example));
    let mut wrong = Vec::new();
    for (key, default) in &defaults {
        // The keys of the tiers are explained once; only defaults that differ are repeated.
        let twin = key.replace("cold_storage.", "hot_storage.");
        if !raw.values.contains_key(key) && (twin == *key || defaults[&twin] != *default) {
            wrong.push(format!("{key} is not named; its default is {default}"));
        }
        if values.get(key) != Some(default) {
            wrong.push(format!(
                "{key}: the example has {:?}, the default is {default}",
                values.get(key)
            ));
        }
        if commented.contains(key) && !default.is_null() {
            wrong.push(format!(
                "{key} is commented out, but has the default {default}"
            ));
        }
    }
    for (key, raw_value) in &raw.values {
        if !defaults.contains_key(key) && raw_value.value != RawNode::Null {
            wrong.push(format!("{key} is unknown"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_panics(yaml in "[a-z_: \\n{}\\[\\],&*!'\"#|>~.0-9-]{0,200}", value in ".{0,40}") {
        let _ = load(&yaml, &[("MPSYNC__INGEST__BATCHES", &value), ("MPSYNC__INGEST__FILTERS", &value)]);
    }

    #[test]
    fn no_value_panics_or_exposes_a_secret(
        key in prop::sample::select(vec![
            "nats.url", "nats.max_reconnect_attempts", "hot_storage.clickhouse_http_port", "hot_storage.flush_interval",
            "archive.chunk_bytes", "sync.interval_hours", "ingest.batches", "ingest.filters", "logging.level",
        ]),
        value in "[-+0-9a-zA-Z.:_/@\\[\\]{}, ]{0,30}",
    ) {
        let name = format!("MPSYNC__{}", key.to_uppercase().replace('.', "__"));
        let secret = [("MPSYNC__HOT_STORAGE__CLICKHOUSE_PASSWORD", "hunter2"), (name.as_str(), value.as_str())];
        let raw = match load("", &secret) {
            Ok(config) => format!("{config:?} {:?}", config.settings.all()),
            Err(e) => e.to_string(),
        };
        prop_assert!(!raw.contains("hunter2"));
    }
}
