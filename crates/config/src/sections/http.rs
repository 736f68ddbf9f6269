//! `http:`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use mpsync_net::Certificate;
use mpsync_net::Secret;

/// The port of a daemon's HTTP for the hot side.
const HOT_PORT: u16 = 8085;
/// The same for the cold side.
const COLD_PORT: u16 = 8086;
/// A token of fewer characters can be guessed.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// How a daemon is asked over HTTP, and by whom.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where it listens for the hot side; port 0 takes a free one.
    pub hot_listen: SocketAddr,
    /// Where it listens for the cold side.
    pub cold_listen: SocketAddr,
    /// The token for what changes something, where it is said itself.
    pub token: Option<Secret>,
    /// The file with the token otherwise; made where it is not there.
    pub token_file: PathBuf,
    /// Names by which it is reached, beside its addresses.
    pub allow_hosts: Vec<String>,
    /// Whether looking needs the token too.
    pub protect_reads: bool,
    /// The certificate that it shows; without one nothing is encrypted.
    pub certificate: Option<Certificate>,
    /// Connections at once; further ones are closed.
    pub max_connections: usize,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// How long a TLS handshake may take, and the head of a request; an idle connection is closed after it.
    pub head_timeout: Duration,
    /// How long a request may take, its body included.
    pub request_timeout: Duration,
}

impl HttpConfig {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let (token, token_file) = token(s);
        let http = Self {
            hot_listen: listen(s, "hot_listen", HOT_PORT),
            cold_listen: listen(s, "cold_listen", COLD_PORT),
            token,
            token_file,
            allow_hosts: s.key("allow_hosts").texts(),
            protect_reads: s.key("protect_reads").flag(false),
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
                "a host's name stands for itself, without scheme, port and path",
            );
        }
        for (name, address) in [
            ("hot_listen", http.hot_listen),
            ("cold_listen", http.cold_listen),
        ] {
            if !address.ip().is_loopback() && !s.is_set("tls_cert_file") {
                s.warn(
                    name,
                    "other machines can ask, and what they are told travels unencrypted, the token too: \
                     say tls_cert_file and tls_key_file, or let a proxy that speaks TLS stand before it",
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

/// The token, and the file for it where it is not said.
fn token(s: &mut Section<'_>) -> (Option<Secret>, PathBuf) {
    let token = s.key("token").secret_text();
    let file = s.key("token_file").path("mpsync-token");
    if let Some(token) = &token {
        let token = token.reveal();
        if s.is_set("token_file") {
            s.wrong("token_file", "say token or token_file, not both");
        }
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            s.wrong(
                "token",
                "it must be letters, digits and signs of ASCII without blanks: it travels in a header",
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
            s.wrong("tls_cert_file", "without tls_key_file it is of no use");
            None
        }
        (None, Some(_)) => {
            s.wrong("tls_key_file", "without tls_cert_file it is of no use");
            None
        }
    }
}

fn is_host(name: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(is_sign)
}
