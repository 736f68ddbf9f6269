//! One ClickHouse server as hot or cold: how it is reached, how its errors are told apart.

use std::time::Duration;

use bytes::Bytes;
use clickhouse::insert_formatted::InsertFormatted;
use clickhouse::query::{BytesCursor, Query};
use clickhouse::{Client, Compression};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::sql::{ident, table_name};
use crate::{TierCompression, TierConfig};
use mpsync_core::dataset::TierRole;
use mpsync_core::error::{Cause, Error, Result, chain};
use mpsync_net::Tls;

/// The settings that every insert sends.
///
/// Each default would lose something in silence: a column that the body does not carry becomes zeros, a field that no
/// column takes is skipped, a NULL becomes the column's default, and an acknowledged insert may still sit in a buffer
/// (`async_insert` is on by default since 26.x).
pub const STRICT_INSERT: [(&str, &str); 5] = [
    ("input_format_arrow_allow_missing_columns", "0"),
    ("input_format_parquet_allow_missing_columns", "0"),
    ("input_format_skip_unknown_fields", "0"),
    ("input_format_null_as_default", "0"),
    ("async_insert", "0"),
];

/// How long a result may stand still at least: a server may have to sort before its first row.
const RESULT_STANDS_STILL: Duration = Duration::from_mins(5);

/// A ClickHouse server that holds one tier. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Tier {
    role: TierRole,
    client: Client,
    database: String,
    endpoint: String,
    cluster: Option<String>,
    request_timeout: Duration,
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Tier({} at {}/{})",
            self.role, self.endpoint, self.database
        )
    }
}

impl Tier {
    /// A client for a tier. Nothing is sent yet.
    #[must_use]
    pub fn new(role: TierRole, config: &TierConfig) -> Self {
        let compression = match config.compression {
            TierCompression::None => Compression::None,
            TierCompression::Lz4 => Compression::Lz4,
            TierCompression::Zstd => Compression::zstd(),
        };
        let client = match &config.tls {
            Some(tls) => trusting(tls),
            None => Client::default(),
        };
        let mut client = client
            .with_url(&config.url)
            .with_user(&config.user)
            .with_password(config.password.reveal())
            .with_compression(compression)
            .with_product_info("mpsync", env!("CARGO_PKG_VERSION"));
        // A result must be exact or an error: never cut short, never a default for a type that does not fit.
        client = client.with_setting("result_overflow_mode", "throw");
        Self {
            role,
            client,
            database: config.database.clone(),
            endpoint: config.url.clone(),
            cluster: config.cluster.clone(),
            request_timeout: config.request_timeout,
        }
    }

    /// Hot or cold.
    #[must_use]
    pub fn role(&self) -> TierRole {
        self.role
    }

    /// The database of its tables.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Its address, without user and password.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The cluster for `ON CLUSTER`, where there is one.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// A table of this tier's database, quoted and qualified.
    #[must_use]
    pub fn table(&self, name: &str) -> String {
        table_name(&self.database, name)
    }

    /// A query. Text in it must come from [`super::ident`] and [`super::literal`]; values go in with
    /// [`Query::param`] and `{name:Type}`.
    pub fn query(&self, sql: &str) -> Query {
        tracing::trace!(tier = %self.role, sql, "query");
        self.client.query_raw(sql)
    }

    /// Runs a statement that has no result.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        self.execute_query(self.query(sql))
            .await
            .map_err(|e| e.context(first_words(sql)))
    }

    /// Runs a prepared statement that has no result, within the tier's request time-out.
    pub async fn execute_query(&self, query: Query) -> Result<()> {
        match tokio::time::timeout(self.request_timeout, query.execute()).await {
            Ok(done) => done.map_err(|e| self.error(e)),
            Err(_) => Err(self.transport(format!(
                "no answer within {} s",
                self.request_timeout.as_secs()
            ))),
        }
    }

    /// Starts a SELECT whose result comes as bytes in a format.
    ///
    /// The server can fail after it has begun to answer: only a cursor that ended without an error was complete.
    pub fn select(&self, query: Query, format: &str) -> Result<BytesCursor> {
        query.fetch_bytes(format).map_err(|e| self.error(e))
    }

    /// The next piece of a SELECT's result; `None` at its end. Not cancel-safe: a cancelled piece is lost.
    ///
    /// An error where the server sends nothing for five minutes, or for the tier's request time-out where that is longer: a
    /// result may take as long as it likes, but not stand still.
    pub async fn next_bytes(&self, cursor: &mut BytesCursor) -> Result<Option<Bytes>> {
        let idle = self.request_timeout.max(RESULT_STANDS_STILL);
        match tokio::time::timeout(idle, cursor.next()).await {
            Ok(piece) => piece.map_err(|e| self.error(e)),
            Err(_) => {
                Err(self.transport(format!("the result stood still for {} s", idle.as_secs())))
            }
        }
    }

    /// Starts an insert of pre-formatted bytes, with [`STRICT_INSERT`].
    ///
    /// Nothing has landed before [`Insert::end`] returned; dropping it aborts the insert.
    #[must_use]
    pub fn insert(&self, table: &str, columns: &[&str], format: &str) -> Insert {
        let columns = columns
            .iter()
            .map(|c| ident(c))
            .collect::<Vec<_>>()
            .join(", ");
        let sql = format!(
            "INSERT INTO {} ({columns}) FORMAT {format}",
            self.table(table)
        );
        let mut inner = self.client.insert_formatted_with(sql);
        for (name, value) in STRICT_INSERT {
            inner = inner.with_setting(name, value);
        }
        Insert {
            inner: inner.with_timeouts(Some(self.request_timeout), Some(self.request_timeout)),
            tier: self.clone(),
        }
    }

    /// Creates the tier's database if it is not there.
    pub async fn create_database(&self) -> Result<()> {
        self.execute(&format!(
            "CREATE DATABASE IF NOT EXISTS {}",
            ident(&self.database)
        ))
        .await
    }

    /// Asks for an answer; returns the server's version.
    pub async fn ping(&self) -> Result<String> {
        let asked = self.query("SELECT version()").fetch_one::<String>();
        match tokio::time::timeout(self.request_timeout, asked).await {
            Ok(version) => version.map_err(|e| {
                self.error(e)
                    .context(format!("asking {} for its version", self.role))
            }),
            Err(_) => Err(self.transport(format!(
                "no answer within {} s",
                self.request_timeout.as_secs()
            ))),
        }
    }

    /// The crate's error for one of the client's.
    #[must_use]
    pub fn error(&self, e: clickhouse::error::Error) -> Error {
        use clickhouse::error::Error as E;
        let at = format!("{} ClickHouse at {}", self.role, self.endpoint);
        match e {
            E::BadResponse(text) => match parse_exception(&text) {
                Some((code, message)) => server_error(code, message),
                None => Error::new(Cause::Transport(text)),
            }
            .context(at),
            E::TimedOut => self.transport("the request timed out".into()),
            E::Network(e) => self.transport(chain(e.as_ref())),
            other => Error::malformed(other.to_string()).context(at),
        }
    }

    fn transport(&self, text: String) -> Error {
        let hint = match text.contains("certificate") {
            true => {
                "check clickhouse_tls_ca_file, and that the server's certificate names this host"
            }
            false => "is the server up, and is the address in the configuration right?",
        };
        Error::new(Cause::Transport(text))
            .context(format!("{} ClickHouse at {}", self.role, self.endpoint))
            .with_hint(hint)
    }
}

/// A client whose connections are as it makes them by default, but trust other authorities.
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

/// An insert that is under way.
pub struct Insert {
    inner: InsertFormatted,
    tier: Tier,
}

impl Insert {
    /// Sends a piece of the body; waits when the server is behind. Not cancel-safe: a cancelled piece is lost.
    pub async fn send(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.send(bytes).await.map_err(|e| self.tier.error(e))
    }

    /// Adds a setting. Only before the first [`Insert::send`].
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.inner = self.inner.with_setting(name, value);
        self
    }

    /// Ends the body and waits for the server's answer: when it returns `Ok`, all rows are in.
    ///
    /// An error of [`Cause::Transport`] leaves it unknown whether they are.
    pub async fn end(self) -> Result<()> {
        self.inner.end().await.map_err(|e| self.tier.error(e))
    }
}

fn server_error(code: u32, message: String) -> Error {
    let e = Error::new(Cause::Server { code, message });
    match code {
        193 | 194 | 516 => e.with_hint(
            "check the user and the password of this tier in the configuration or the environment",
        ),
        81 => e.with_hint("`mpsync schema apply` creates the database and its tables"),
        243 => e.with_hint("the server's disk is full: free space there; nothing was lost"),
        497 => e.with_hint("this user lacks a right that mpsync needs"),
        _ => e,
    }
}

/// Code and text of `Code: 60. DB::Exception: … (version …)`.
fn parse_exception(text: &str) -> Option<(u32, String)> {
    let rest = &text[text.find("Code: ")? + "Code: ".len()..];
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let code = rest[..digits].parse().ok()?;
    let message = rest[digits..].trim_start_matches(['.', ' ']);
    let message = message.strip_prefix("DB::Exception: ").unwrap_or(message);
    let message = message.split(" (version ").next().unwrap_or(message);
    let message = message.split("Stack trace:").next().unwrap_or(message);
    Some((code, message.trim().to_owned()))
}

/// The beginning of a statement, for an error text.
fn first_words(sql: &str) -> String {
    let short: String = sql
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(120)
        .collect();
    format!("running `{short}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_exception_is_found_and_its_version_and_trace_are_not_repeated() {
        let text = "Code: 60. DB::Exception: Table db.t does not exist. (UNKNOWN_TABLE) (version 26.7.2.1 (official build))";
        assert_eq!(
            parse_exception(text),
            Some((60, "Table db.t does not exist. (UNKNOWN_TABLE)".into()))
        );
        assert_eq!(parse_exception("502 Bad Gateway"), None);
    }
}
