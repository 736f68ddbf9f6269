//! `nats:`

use std::path::PathBuf;
use std::time::Duration;

use crate::reading::section::Section;
use mpsync_net::{Secret, is_loopback};

/// The authentication at NATS.
#[derive(Debug, Clone, Default)]
pub enum NatsAuth {
    /// No authentication.
    #[default]
    None,
    /// User and password.
    UserPassword(String, Secret),
    /// A token.
    Token(Secret),
    /// A file with the seed of an nkey.
    Nkey(PathBuf),
    /// A `.creds` file.
    Credentials(PathBuf),
}

/// The connection to NATS.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// One or several URLs, separated by commas: `nats://host:4222`, `tls://host:4222`.
    pub url: String,
    /// The number of attempts to reconnect; `None` for no limit.
    pub max_reconnect_attempts: Option<usize>,
    /// The JetStream stream of market data.
    pub stream: String,
    /// The authentication.
    pub auth: NatsAuth,
    /// A file of certificate authorities to trust instead of the system's; requires TLS.
    pub tls_ca_file: Option<PathBuf>,
    /// How long JetStream remembers message ids to reject duplicates, for a stream that mpsync creates.
    pub duplicate_window: Duration,
}

impl NatsConfig {
    pub(crate) fn read(s: &mut Section<'_>) -> Self {
        let nats = Self {
            url: s.key("url").text("nats://127.0.0.1:4222"),
            max_reconnect_attempts: usize::try_from(
                s.key("max_reconnect_attempts").integer(-1, -1..=i64::MAX),
            )
            .ok(),
            stream: s.key("stream").text_that(
                "MARKET_DATA",
                "a stream's name, without dots and blanks",
                is_stream,
            ),
            auth: auth(s),
            tls_ca_file: s.key("tls_ca_file").optional_path(),
            duplicate_window: s
                .key("duplicate_window_seconds")
                .seconds(120.0, 0.0..=31_536_000.0),
        };
        let is_plain = |server: &str| {
            let (scheme, rest) = server
                .trim()
                .split_once("://")
                .unwrap_or(("nats", server.trim()));
            let host = rest.rsplit('@').next().unwrap_or(rest);
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            scheme == "nats" && !is_loopback(host)
        };
        let has_login = !matches!(nats.auth, NatsAuth::None) || nats.url.contains('@');
        if has_login && nats.tls_ca_file.is_none() && nats.url.split(',').any(is_plain) {
            s.insecure(
                "url",
                "the login travels to another machine unencrypted: use tls://",
            );
        }
        nats
    }
}

/// Returns whether JetStream accepts the name for a stream.
pub(crate) fn is_stream(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c))
}

fn auth(s: &mut Section<'_>) -> NatsAuth {
    let user = s.key("user").optional_text();
    let password = s.secret("password");
    let token = s.secret("token");
    let nkey = s.key("nkey_seed_file").optional_path();
    let credentials = s.key("credentials_file").optional_path();
    match (user, password, token, nkey, credentials) {
        (None, None, None, None, None) => NatsAuth::None,
        (Some(user), Some(password), None, None, None) => NatsAuth::UserPassword(user, password),
        (None, None, Some(token), None, None) => NatsAuth::Token(token),
        (None, None, None, Some(file), None) => NatsAuth::Nkey(file),
        (None, None, None, None, Some(file)) => NatsAuth::Credentials(file),
        _ => {
            s.wrong(
                "user",
                "set one of user with password, token, nkey_seed_file, or credentials_file",
            );
            NatsAuth::None
        }
    }
}
