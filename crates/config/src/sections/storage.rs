//! `hot_storage:` and `cold_storage:`

use mpsync_clickhouse::{TierCompression, TierConfig};
use mpsync_net::{Secret, Tls, is_loopback};

use crate::reading::key::Choice;
use crate::reading::section::Section;

impl Choice for TierCompression {
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("lz4", Self::Lz4),
        ("zstd", Self::Zstd),
    ];
}

/// Reads a tier's section.
pub(crate) fn read(s: &mut Section<'_>, database: &str, retention_days: u32) -> TierConfig {
    let secure = s.key("clickhouse_secure").flag(false);
    let host = s
        .key("clickhouse_host")
        .text_that("127.0.0.1", "a host name", |host| {
            !host.is_empty() && !host.contains(['/', '@', '?', ' '])
        });
    let port = s
        .key("clickhouse_http_port")
        .integer(if secure { 8443 } else { 8123 }, 1..=u16::MAX);
    let tier = TierConfig {
        url: format!("{}://{host}:{port}", if secure { "https" } else { "http" }),
        tls: tls(s, secure),
        user: s.key("clickhouse_user").text("default"),
        password: s.secret("clickhouse_password").unwrap_or_default(),
        database: s
            .key("clickhouse_database")
            .text_that(database, "a name", |name| !name.is_empty()),
        cluster: s.key("clickhouse_cluster").optional_text(),
        compression: s.key("compression").choice(TierCompression::None),
        request_timeout: s
            .key("request_timeout_seconds")
            .seconds(60.0, 0.001..=86_400.0),
        retention_days: s
            .key("retention_days")
            .live()
            .integer(retention_days, 0..=u32::MAX),
        batch_rows: s
            .key("batch_size")
            .live()
            .integer(50_000, 1..=4_294_967_295),
        flush_interval: s
            .key("flush_interval")
            .live()
            .seconds(1.0, 0.001..=86_400.0),
    };
    if !is_loopback(&host) {
        if tier.password == Secret::default() {
            s.insecure(
                "clickhouse_host",
                "the ClickHouse server of another machine is used without a password",
            );
        } else if !secure {
            s.insecure(
                "clickhouse_secure",
                "the password travels to another machine unencrypted",
            );
        }
    }
    tier
}

fn tls(s: &mut Section<'_>, secure: bool) -> Option<Tls> {
    let file = s.key("clickhouse_tls_ca_file").optional_path()?;
    if !secure {
        s.wrong(
            "clickhouse_tls_ca_file",
            "it has no effect without clickhouse_secure",
        );
        return None;
    }
    Tls::from_ca_file(&file)
        .map_err(|e| s.wrong("clickhouse_tls_ca_file", e.to_string()))
        .ok()
}
