//! The connection to one server: its client, its known settings, and the classification of its errors.

use std::time::Duration;

use clickhouse::{Client, Compression};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::exception::{UNKNOWN_SETTING, parse_exception, server_error};
use super::options::{TierCompression, TierConfig};
use super::statements::{SettingsCache, StatementKind};
use mpsync_core::dataset::TierRole;
use mpsync_core::error::{Cause, Error, Result, chain};
use mpsync_net::Tls;

/// The connection to a tier's server. Cheap to clone; clones share the sockets and what is known of the server.
#[derive(Clone)]
pub(super) struct Connection {
    role: TierRole,
    client: Client,
    endpoint: String,
    request_timeout: Duration,
    settings: SettingsCache,
}

impl Connection {
    pub(super) fn new(role: TierRole, config: &TierConfig) -> Self {
        let compression = match config.compression {
            TierCompression::None => Compression::None,
            TierCompression::Lz4 => Compression::Lz4,
            TierCompression::Zstd => Compression::zstd(),
        };
        let client = match &config.tls {
            Some(tls) => trusting(tls),
            None => Client::default(),
        };
        let client = client
            .with_url(&config.url)
            .with_user(&config.user)
            .with_password(config.password.reveal())
            .with_compression(compression)
            .with_product_info("mpsync", env!("CARGO_PKG_VERSION"));
        Self {
            role,
            client,
            endpoint: config.url.clone(),
            request_timeout: config.request_timeout,
            settings: SettingsCache::default(),
        }
    }

    pub(super) fn role(&self) -> TierRole {
        self.role
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Returns the settings that a statement of this kind carries on this server.
    ///
    /// # Errors
    ///
    /// The server cannot be asked, or the user's profile fixes one of the settings at another value; [`Connection::error`]
    /// gives the latter as it is.
    pub(super) async fn settings_of(
        &self,
        kind: StatementKind,
    ) -> clickhouse::error::Result<Vec<(&'static str, &'static str)>> {
        let asked = tokio::time::timeout(self.request_timeout, self.settings.get(&self.client));
        let known = asked
            .await
            .map_err(|_| clickhouse::error::Error::TimedOut)??;
        match known.of(kind) {
            Ok(settings) => Ok(settings.collect()),
            Err(e) => {
                // A profile that is corrected counts with the next statement.
                self.settings.forget();
                Err(clickhouse::error::Error::Other(Box::new(e)))
            }
        }
    }

    /// Waits for an answer within the request time-out.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.request_timeout, work).await {
            Ok(done) => done.map_err(|e| self.error(e)),
            Err(_) => Err(self.transport(
                format!("no answer within {} s", self.request_timeout.as_secs()),
                false,
            )),
        }
    }

    /// Returns the project's error for one of the client library's.
    pub(super) fn error(&self, e: clickhouse::error::Error) -> Error {
        use clickhouse::error::Error as E;
        let at = format!("{} ClickHouse at {}", self.role, self.endpoint);
        match e {
            E::BadResponse(text) => match parse_exception(&text) {
                Some((code, message)) => {
                    if code == UNKNOWN_SETTING {
                        // Another version answers now.
                        self.settings.forget();
                    }
                    server_error(code, message)
                }
                None => Error::new(Cause::Transport(text)),
            }
            .context(at),
            E::TimedOut => self.transport("the request timed out".into(), false),
            E::Network(e) => {
                let of_certificate = is_certificate_error(e.as_ref());
                self.transport(chain(e.as_ref()), of_certificate)
            }
            E::Other(e) => match e.downcast::<Error>() {
                Ok(own) => own.context(at),
                Err(other) => Error::malformed(other.to_string()).context(at),
            },
            other => Error::malformed(other.to_string()).context(at),
        }
    }

    /// Returns the error of a connection that broke or gave no answer.
    pub(super) fn transport(&self, text: String, of_certificate: bool) -> Error {
        self.settings.forget();
        let hint = if of_certificate {
            "check clickhouse_tls_ca_file, and that the server's certificate names this host"
        } else {
            "is the server up, and is the address in the configuration right?"
        };
        Error::new(Cause::Transport(text))
            .context(format!("{} ClickHouse at {}", self.role, self.endpoint))
            .with_hint(hint)
    }
}

/// Tells whether a connection failed over a certificate: I/O errors, one within the other, wrap the error of TLS, and their
/// `source` skips what they wrap.
fn is_certificate_error(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(e) = error.downcast_ref::<rustls::Error>() {
        return matches!(e, rustls::Error::InvalidCertificate(_));
    }
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match (wrapped, error.source()) {
        (Some(inner), _) => is_certificate_error(inner),
        (None, Some(source)) => is_certificate_error(source),
        (None, None) => false,
    }
}

/// Returns a client with the library's own kind of connections, but with other authorities to trust.
fn trusting(tls: &Tls) -> Client {
    let mut http = HttpConnector::new();
    http.set_keepalive(Some(Duration::from_mins(1)));
    http.enforce_http(false);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls.client())
        .https_only()
        .enable_http1()
        .wrap_connector(http);
    // ClickHouse closes idle connections after three seconds.
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(2))
        .build(connector);
    Client::with_http_client(client)
}

#[cfg(test)]
mod tests {
    use std::io::{Error as IoError, ErrorKind};

    use super::*;

    #[test]
    fn a_certificate_error_is_found_below_several_io_errors() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
        let wrapped = IoError::other(IoError::new(ErrorKind::InvalidData, tls));
        assert!(is_certificate_error(&wrapped));
        assert!(!is_certificate_error(&IoError::other(IoError::new(
            ErrorKind::InvalidData,
            rustls::Error::DecryptError,
        ))));
        assert!(!is_certificate_error(&IoError::from(
            ErrorKind::ConnectionRefused
        )));
    }
}
