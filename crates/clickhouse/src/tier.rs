//! The client of one tier: a ClickHouse server that holds hot or cold.

use std::time::Duration;

use bytes::Bytes;

use super::connection::Connection;
use super::statements::{Insert, ResultBytes, Statement, StatementKind, ident, table_name};
use crate::TierConfig;
use mpsync_core::dataset::TierRole;
use mpsync_core::error::{Error, Result};

/// The shortest time after which a result that does not go on is an error: a server may have to sort before its first row.
const RESULT_STANDS_STILL: Duration = Duration::from_mins(5);

/// A ClickHouse server that holds one tier. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Tier {
    connection: Connection,
    database: String,
    cluster: Option<String>,
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Tier({} at {}/{})",
            self.role(),
            self.endpoint(),
            self.database
        )
    }
}

impl Tier {
    /// Returns a client for a tier. Nothing is sent yet.
    #[must_use]
    pub fn new(role: TierRole, config: &TierConfig) -> Self {
        Self {
            connection: Connection::new(role, config),
            database: config.database.clone(),
            cluster: config.cluster.clone(),
        }
    }

    /// Returns whether it is hot or cold.
    #[must_use]
    pub fn role(&self) -> TierRole {
        self.connection.role()
    }

    /// Returns the database of its tables.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns its address, without user and password.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.connection.endpoint()
    }

    /// Returns the cluster for `ON CLUSTER`, if there is one.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Returns the name of a table in this tier's database, quoted and qualified.
    #[must_use]
    pub fn table(&self, name: &str) -> String {
        table_name(&self.database, name)
    }

    /// Returns a read whose result must be whole. Text in it must come from [`super::ident`] and [`super::literal`]; values are
    /// bound with [`Statement::param`] to `{name:Type}`.
    pub fn query(&self, sql: &str) -> Statement {
        self.statement(StatementKind::WholeRead, sql)
    }

    /// Returns a question to the server about itself.
    pub fn ask(&self, sql: &str) -> Statement {
        self.statement(StatementKind::Question, sql)
    }

    /// Returns a statement of any kind. Nothing is sent yet.
    pub fn statement(&self, kind: StatementKind, sql: &str) -> Statement {
        tracing::trace!(tier = %self.role(), sql, ?kind, "statement");
        Statement::new(
            &self.connection,
            kind,
            self.connection.client().query_raw(sql),
        )
    }

    /// Runs a statement without a result on a helper table, or one that removes proven rows: it passes the server's drop
    /// limits. [`Tier::command`] runs others.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        self.execute_query(self.statement(StatementKind::HelperTable, sql))
            .await
            .map_err(|e| e.context(first_words(sql)))
    }

    /// Runs a statement without a result on a table that is not a helper table.
    pub async fn command(&self, sql: &str) -> Result<()> {
        self.execute_query(self.statement(StatementKind::Command, sql))
            .await
            .map_err(|e| e.context(first_words(sql)))
    }

    /// Runs a prepared statement without a result, within the tier's request time-out.
    pub async fn execute_query(&self, statement: Statement) -> Result<()> {
        self.connection.in_time(statement.execute()).await
    }

    /// Returns the result of a SELECT as bytes in a format. It is sent with the first [`Tier::next_bytes`].
    ///
    /// The server can fail after it has begun to answer: only a result that ended without an error was whole.
    pub fn select(&self, statement: Statement, format: &str) -> Result<ResultBytes> {
        Ok(statement.fetch_bytes(format))
    }

    /// Returns the next piece of a SELECT's result; `None` at its end.
    ///
    /// # Errors
    ///
    /// Among others, if the server sends nothing for five minutes, or for the tier's request time-out if that is longer: a
    /// result may take as long as it likes, but it must go on.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: a cancelled piece is lost.
    pub async fn next_bytes(&self, result: &mut ResultBytes) -> Result<Option<Bytes>> {
        let idle = self.connection.request_timeout().max(RESULT_STANDS_STILL);
        match tokio::time::timeout(idle, result.next()).await {
            Ok(piece) => piece.map_err(|e| self.error(e)),
            Err(_) => Err(self.connection.transport(
                format!("the result stood still for {} s", idle.as_secs()),
                false,
            )),
        }
    }

    /// Returns an insert of pre-formatted bytes; it is sent with the first of them.
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
        Insert::new(&self.connection, sql)
    }

    /// Creates the tier's database if it does not exist.
    pub async fn create_database(&self) -> Result<()> {
        self.command(&format!(
            "CREATE DATABASE IF NOT EXISTS {}",
            ident(&self.database)
        ))
        .await
    }

    /// Asks for an answer; returns the server's version.
    pub async fn ping(&self) -> Result<String> {
        self.connection
            .in_time(self.ask("SELECT version()").fetch_one::<String>())
            .await
            .map_err(|e| e.context(format!("asking {} for its version", self.role())))
    }

    /// Returns the project's error for one of the client library's.
    #[must_use]
    pub fn error(&self, e: clickhouse::error::Error) -> Error {
        self.connection.error(e)
    }
}

/// Returns the beginning of a statement, for an error text.
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
