//! An insert whose body the caller has formatted.

use bytes::Bytes;
use clickhouse::insert_formatted::InsertFormatted;

use super::kind::StatementKind;
use crate::connection::Connection;
use mpsync_core::error::Result;

/// An insert under way. It carries the settings of [`StatementKind::Insert`].
pub struct Insert {
    connection: Connection,
    sql: String,
    own: Vec<(String, String)>,
    running: Option<InsertFormatted>,
}

impl Insert {
    pub(crate) fn new(connection: &Connection, sql: String) -> Self {
        Self {
            connection: connection.clone(),
            sql,
            own: Vec::new(),
            running: None,
        }
    }

    /// Adds a setting, which takes precedence over that of the kind. Only before the first [`Insert::send`].
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.own.push((name.to_owned(), value.to_owned()));
        self
    }

    async fn running(&mut self) -> clickhouse::error::Result<&mut InsertFormatted> {
        if self.running.is_none() {
            let settings = self.connection.settings_of(StatementKind::Insert).await?;
            let mut insert = self
                .connection
                .client()
                .insert_formatted_with(self.sql.clone());
            for (name, value) in settings {
                insert = insert.with_setting(name, value);
            }
            for (name, value) in &self.own {
                insert = insert.with_setting(name, value);
            }
            let timeout = Some(self.connection.request_timeout());
            self.running = Some(insert.with_timeouts(timeout, timeout));
        }
        self.running
            .as_mut()
            .ok_or_else(|| clickhouse::error::Error::Custom("the insert was not begun".to_owned()))
    }

    /// Sends a piece of the body; waits when the server is behind.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: a cancelled piece is lost.
    pub async fn send(&mut self, bytes: Bytes) -> Result<()> {
        let sent = match self.running().await {
            Ok(insert) => insert.send(bytes).await,
            Err(e) => Err(e),
        };
        sent.map_err(|e| self.connection.error(e))
    }

    /// Ends the body and waits for the server's answer: when it returns `Ok`, all rows are in.
    ///
    /// # Errors
    ///
    /// After [`Cause::Transport`](mpsync_core::error::Cause::Transport) it is unknown whether they are.
    pub async fn end(mut self) -> Result<()> {
        let begun = self.running().await.map(drop);
        let ended = match (begun, self.running.take()) {
            (Ok(()), Some(insert)) => insert.end().await,
            (begun, _) => begun,
        };
        ended.map_err(|e| self.connection.error(e))
    }
}
