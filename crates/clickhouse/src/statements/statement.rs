//! A statement as one value: text, bound parameters, kind and settings.

use bytes::Bytes;
use clickhouse::query::{BytesCursor, Query, RowCursor};
use clickhouse::{RowOwned, RowRead};
use serde::Serialize;

use super::kind::StatementKind;
use crate::connection::Connection;

/// The errors of the client library, as the fetching methods return them; [`Tier::error`](crate::Tier::error) makes them the project's.
type Result<T> = clickhouse::error::Result<T>;

/// A statement that was not sent yet: text, bound parameters, kind, and the settings of this statement alone.
///
/// The settings of its kind are added when it is sent, as far as the server knows them; one that the caller has set itself
/// stays.
#[must_use]
pub struct Statement {
    connection: Connection,
    kind: StatementKind,
    query: Query,
    own: Vec<String>,
}

impl Statement {
    pub(crate) fn new(connection: &Connection, kind: StatementKind, query: Query) -> Self {
        Self {
            connection: connection.clone(),
            kind,
            query,
            own: Vec::new(),
        }
    }

    /// Binds a value to `{name:Type}` in the text.
    pub fn param(mut self, name: &str, value: impl Serialize) -> Self {
        self.query = self.query.param(name, value);
        self
    }

    /// Adds a setting, which takes precedence over that of the kind.
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.own.push(name.clone());
        self.query = self.query.with_setting(name, value);
        self
    }

    /// Returns the query with all settings.
    async fn prepare(self) -> Result<Query> {
        let settings = self.connection.settings_of(self.kind).await?;
        let others = settings
            .into_iter()
            .filter(|(name, _)| !self.own.iter().any(|own| own == name));
        Ok(others.fold(self.query, |query, (name, value)| {
            query.with_setting(name, value)
        }))
    }

    /// Runs a statement that has no result.
    pub async fn execute(self) -> Result<()> {
        self.prepare().await?.execute().await
    }

    /// Returns the only row of the result; an error if there is none.
    pub async fn fetch_one<T: RowOwned + RowRead>(self) -> Result<T> {
        self.prepare().await?.fetch_one().await
    }

    /// Returns the first row of the result, if there is one.
    pub async fn fetch_optional<T: RowOwned + RowRead>(self) -> Result<Option<T>> {
        self.prepare().await?.fetch_optional().await
    }

    /// Returns all rows of the result.
    pub async fn fetch_all<T: RowOwned + RowRead>(self) -> Result<Vec<T>> {
        self.prepare().await?.fetch_all().await
    }

    /// Returns the rows of the result one by one. It is sent with the first of them.
    pub fn fetch<T: RowOwned + RowRead>(self) -> Result<ResultRows<T>> {
        Ok(ResultRows(State::Unsent(Box::new(self))))
    }

    /// Returns the result as bytes in a format. It is sent with the first of them.
    pub(crate) fn fetch_bytes(self, format: &str) -> ResultBytes {
        ResultBytes {
            state: State::Unsent(Box::new(self)),
            format: format.to_owned(),
        }
    }
}

/// A result that is sent for when it is first read.
enum State<C> {
    Unsent(Box<Statement>),
    Running(C),
    /// Sending was cancelled or has failed.
    Lost,
}

impl<C> State<C> {
    async fn cursor(&mut self, start: impl FnOnce(Query) -> Result<C>) -> Result<&mut C> {
        if let Self::Unsent(_) = self
            && let Self::Unsent(statement) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Running(start(statement.prepare().await?)?);
        }
        match self {
            Self::Running(cursor) => Ok(cursor),
            _ => Err(clickhouse::error::Error::Custom(
                "the statement was not sent".to_owned(),
            )),
        }
    }
}

/// The rows of a running statement.
#[must_use]
pub struct ResultRows<T>(State<RowCursor<T>>);

impl<T: RowOwned + RowRead> ResultRows<T> {
    /// Returns the next row; `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: a cancelled row is lost.
    pub async fn next(&mut self) -> Result<Option<T>> {
        self.0.cursor(Query::fetch).await?.next().await
    }
}

/// The bytes of a running statement's result.
#[must_use]
pub struct ResultBytes {
    state: State<BytesCursor>,
    format: String,
}

impl ResultBytes {
    /// Returns the next piece; `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: a cancelled piece is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let format = &self.format;
        let start = |query: Query| query.fetch_bytes(format);
        self.state.cursor(start).await?.next().await
    }

    /// Returns the whole result.
    pub async fn collect(mut self) -> Result<Bytes> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}
