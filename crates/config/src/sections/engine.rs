//! `engine:`: whether hot and cold are kept by the embedded engine.

use std::path::PathBuf;

use super::key::Choice;
use super::reader::ConfigReader;
use super::source::Origin;

/// Whether mpsync starts a ClickHouse of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Embedded {
    /// Where nothing says how a server is reached.
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
    /// Whether hot and cold are two databases of an engine that mpsync starts itself.
    pub embedded: bool,
    /// The folder of its data; `None` for the user's data folder.
    pub folder: Option<PathBuf>,
}

/// What says that there is a server to be reached.
const OF_A_SERVER: [&str; 8] = [
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
    pub(super) fn read(reader: &mut ConfigReader) -> Self {
        let server = server(reader);
        let mut s = reader.section("engine");
        let embedded = s.key("embedded").choice(Embedded::Auto);
        if let (Embedded::Yes, Some((key, origin))) = (embedded, &server) {
            s.wrong(
                "embedded",
                format!(
                    "the embedded engine takes the place of both servers, but {origin} says {key}"
                ),
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

/// The first key that says how a server is reached, and who said it.
fn server(reader: &mut ConfigReader) -> Option<(String, Origin)> {
    ["hot_storage", "cold_storage"]
        .into_iter()
        .find_map(|name| {
            let section = reader.section(name);
            OF_A_SERVER
                .into_iter()
                .find_map(|key| Some((format!("{name}.{key}"), section.origin_of(key)?)))
        })
}
