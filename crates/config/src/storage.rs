//! `hot_storage:` and `cold_storage:`

use std::time::Duration;

use super::key::Choice;
use super::reader::Section;
use super::secret::Secret;
use super::{Tls, is_loopback};

/// How bodies are compressed between mpsync and a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierCompression {
    /// Not at all: best on one machine and on fast networks.
    #[default]
    None,
    /// Cheap, for networks of a gigabit and less.
    Lz4,
    /// For slow networks.
    Zstd,
}

impl Choice for TierCompression {
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("lz4", Self::Lz4),
        ("zstd", Self::Zstd),
    ];
}

/// How a tier's ClickHouse is reached and how long it keeps data.
#[derive(Debug, Clone)]
pub struct TierConfig {
    /// `http://host:port` or `https://host:port`, without user and password.
    pub url: String,
    /// For `https`: authorities to trust instead of the system's.
    pub tls: Option<Tls>,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The database of the tier's tables.
    pub database: String,
    /// The cluster for `ON CLUSTER` and Replicated tables, where there is one.
    pub cluster: Option<String>,
    /// How bodies are compressed.
    pub compression: TierCompression,
    /// How long to wait for an answer.
    pub request_timeout: Duration,
    /// For how many days rows stay at least.
    pub retention_days: u32,
    /// Rows of an insert at most.
    pub batch_rows: usize,
    /// How old the oldest row of an unfinished batch may get.
    pub flush_interval: Duration,
}

impl TierConfig {
    pub(super) fn read(s: &mut Section<'_>, database: &str, retention_days: u32) -> Self {
        let secure = s.key("clickhouse_secure").flag(false);
        let host = s
            .key("clickhouse_host")
            .text_that("127.0.0.1", "a host name", |host| {
                !host.is_empty() && !host.contains(['/', '@', '?', ' '])
            });
        let port = s
            .key("clickhouse_http_port")
            .integer(if secure { 8443 } else { 8123 }, 1..=u16::MAX);
        let tier = Self {
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
                    "another machine's ClickHouse is asked without a password",
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
}

fn tls(s: &mut Section<'_>, secure: bool) -> Option<Tls> {
    let file = s.key("clickhouse_tls_ca_file").optional_path()?;
    if !secure {
        s.wrong(
            "clickhouse_tls_ca_file",
            "without clickhouse_secure nothing is encrypted",
        );
        return None;
    }
    Tls::from_ca_file(&file)
        .map_err(|e| s.wrong("clickhouse_tls_ca_file", e.to_string()))
        .ok()
}
