//! `http:`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::reading::section::Section;
use mpsync_net::Certificate;
use mpsync_net::Secret;

/// The port of the HTTP server for ingest.
const HOT_PORT: u16 = 8085;
/// The port of the HTTP server for transfers.
const COLD_PORT: u16 = 8086;
/// The minimum length of a token: a shorter one can be guessed.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// The HTTP server of a daemon, and access to it.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// The address for ingest; port 0 selects a free port.
    pub hot_listen: SocketAddr,
    /// The address for transfers.
    pub cold_listen: SocketAddr,
    /// The token of write requests, if it is configured itself.
    pub token: Option<Secret>,
    /// The file of the token otherwise; created if it does not exist.
    pub token_file: PathBuf,
    /// The names of the server, in addition to its addresses.
    pub allow_hosts: Vec<String>,
    /// Whether read requests require the token as well.
    pub require_token_for_reads: bool,
    /// The certificate of the server; `None` for unencrypted HTTP.
    pub certificate: Option<Certificate>,
    /// The maximum number of connections to each address.
    pub max_connections: usize,
    /// The maximum size of a request's body, in bytes.
    pub max_body_bytes: usize,
    /// How long a TLS handshake and the head of a request may take; an idle connection is closed after it.
    pub head_timeout: Duration,
    /// How long a request may take, including its body.
    pub request_timeout: Duration,
}

impl HttpConfig {
    pub(crate) fn read(s: &mut Section<'_>) -> Self {
        let (token, token_file) = token(s);
        let http = Self {
            hot_listen: listen(s, "hot_listen", HOT_PORT),
            cold_listen: listen(s, "cold_listen", COLD_PORT),
            token,
            token_file,
            allow_hosts: s.key("allow_hosts").texts(),
            require_token_for_reads: s.key("require_token_for_reads").flag(false),
            certificate: certificate(s),
            max_connections: s.key("max_connections").integer(512, 1..=100_000),
            max_body_bytes: usize::try_from(s.key("max_body_bytes").bytes(64 << 10, 1..=1 << 30))
                .unwrap_or(usize::MAX),
            head_timeout: s
                .key("head_timeout_seconds")
                .seconds(10.0, 0.001..=86_400.0),
            request_timeout: s
                .key("request_timeout_seconds")
                .seconds(30.0, 0.001..=86_400.0),
        };
        if http.allow_hosts.iter().any(|host| !is_host(host)) {
            s.wrong(
                "allow_hosts",
                "an entry must be a host name without scheme, port and path",
            );
        }
        for (name, address) in [
            ("hot_listen", http.hot_listen),
            ("cold_listen", http.cold_listen),
        ] {
            if !address.ip().is_loopback() && !s.is_set("tls_cert_file") {
                s.warn(
                    name,
                    "other machines have access, and responses and the token travel unencrypted: set tls_cert_file and \
                     tls_key_file, or use a reverse proxy with TLS",
                );
            }
        }
        http
    }
}

fn listen(s: &mut Section<'_>, name: &str, port: u16) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let text = s.key(name).text_that(
        &default.to_string(),
        "an address with its port, such as 127.0.0.1:8085 or [::]:8085",
        |text| text.parse::<SocketAddr>().is_ok(),
    );
    text.parse().unwrap_or(default)
}

/// Reads the token, and the file of a token that is not configured.
fn token(s: &mut Section<'_>) -> (Option<Secret>, PathBuf) {
    let token = s.key("token").secret_text();
    let file = s.key("token_file").path("mpsync-token");
    if let Some(token) = &token {
        let token = token.reveal();
        if s.is_set("token_file") {
            s.wrong("token_file", "set token or token_file, not both");
        }
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            s.wrong(
                "token",
                "it must consist of printable ASCII characters without blanks, since it is sent in a header",
            );
        } else if token.len() < TOKEN_CHARACTERS_MIN {
            s.insecure("token", "it is short enough to be guessed");
        }
    }
    (token, file)
}

fn certificate(s: &mut Section<'_>) -> Option<Certificate> {
    let certificate = s.key("tls_cert_file").optional_path();
    let key = s.key("tls_key_file").optional_path();
    match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Certificate::from_files(&certificate, &key)
            .map_err(|e| s.wrong("tls_cert_file", e.to_string()))
            .ok(),
        (Some(_), None) => {
            s.wrong("tls_cert_file", "it has no effect without tls_key_file");
            None
        }
        (None, Some(_)) => {
            s.wrong("tls_key_file", "it has no effect without tls_cert_file");
            None
        }
    }
}

fn is_host(name: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(is_sign)
}
