//! `engine:`: whether the embedded engine serves hot and cold.

use std::path::PathBuf;

use crate::reading::key::Choice;
use crate::reading::origin::Origin;
use crate::reading::reader::ConfigReader;
use crate::reading::section::Section;

/// Whether mpsync starts its embedded ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Embedded {
    /// If no key configures a server.
    Auto,
    Yes,
    No,
}

impl Choice for Embedded {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("true", Self::Yes),
        ("yes", Self::Yes),
        ("on", Self::Yes),
        ("false", Self::No),
        ("no", Self::No),
        ("off", Self::No),
    ];
}

/// The embedded engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Whether hot and cold are two databases of an engine that mpsync starts.
    pub embedded: bool,
    /// The folder of its data; `None` for a folder in the user's data folder.
    pub folder: Option<PathBuf>,
}

/// The keys that configure a server.
const SERVER_KEYS: [&str; 8] = [
    "clickhouse_host",
    "clickhouse_http_port",
    "clickhouse_user",
    "clickhouse_password",
    "clickhouse_password_file",
    "clickhouse_secure",
    "clickhouse_tls_ca_file",
    "clickhouse_cluster",
];

impl EngineConfig {
    pub(crate) fn read(reader: &mut ConfigReader) -> Self {
        let server = server(reader);
        let mut s = Section::of(reader, "engine");
        let embedded = s.key("embedded").choice(Embedded::Auto);
        if let (Embedded::Yes, Some((key, origin))) = (embedded, &server) {
            s.wrong(
                "embedded",
                format!("the embedded engine replaces both servers, but {origin} sets {key}"),
            );
        }
        Self {
            embedded: match embedded {
                Embedded::Auto => server.is_none(),
                Embedded::Yes => true,
                Embedded::No => false,
            },
            folder: s.key("folder").optional_path(),
        }
    }
}

/// Returns the first key that configures a server, with its origin.
fn server(reader: &mut ConfigReader) -> Option<(String, Origin)> {
    ["hot_storage", "cold_storage"]
        .into_iter()
        .find_map(|name| {
            let section = Section::of(reader, name);
            SERVER_KEYS
                .into_iter()
                .find_map(|key| Some((format!("{name}.{key}"), section.origin_of(key)?)))
        })
}
