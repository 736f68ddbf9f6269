//! Insecure settings, and logins in addresses.

use super::{load, refused};

#[test]
fn what_is_insecure_is_passed_over_warned_of_or_refused() {
    let yaml = "hot_storage: {clickhouse_host: db}\nnats: {url: 'nats://u:p@n:4222'}\n";
    let warnings = |environment: &[(&str, &str)]| {
        let config = load(yaml, environment).unwrap();
        config
            .settings
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert!(warnings(&[]).is_empty());
    let staging = warnings(&[("ENVIRONMENT", "staging")]);
    assert_eq!(staging.len(), 2, "{staging:?}");
    let allowed = [
        ("ENVIRONMENT", "production"),
        ("MPSYNC__ALLOW_INSECURE", "true"),
    ];
    assert_eq!(warnings(&allowed), staging);
    let text = refused(yaml, &[("ENVIRONMENT", "production")]);
    assert!(
        text.contains("c.yaml:1:32: hot_storage.clickhouse_host"),
        "{text}"
    );
    assert!(text.contains("nats.url") && !text.contains("u:p"), "{text}");
}

#[test]
fn logins_in_addresses_are_never_displayed() {
    for yaml in [
        "hot_storage: {clickhouse_host: 'user:secretpw@h'}\n",
        "hot_storage: {clickhouse_host: 'secretpw@h'}\n",
        "http: {hot_listen: 'user:secretpw@h:1'}\n",
        "archive: {url: 's3://user:secretpw@b'}\n",
        "archive: {url: 's3://b', s3_endpoint: 'user:secretpw@h'}\n",
        "logging: {otlp_endpoint: 'user:secretpw@h'}\n",
        "http: {allow_hosts: ['user:secretpw@h']}\n",
    ] {
        let text = refused(yaml, &[]);
        assert!(!text.contains("secretpw"), "{text}");
    }
    for url in [
        "user:secretpw@n:4222",
        "secretpw@n",
        "nats://user:secretpw@n,tls://secretpw@m",
    ] {
        let config = load(&format!("nats: {{url: '{url}'}}\n"), &[]).unwrap();
        let text = format!("{:?} {config:?}", config.settings.all());
        assert!(!text.contains("secretpw"), "{text}");
    }
}
