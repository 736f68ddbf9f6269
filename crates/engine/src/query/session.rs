//! Sessions: connections that outlive a request, with their settings, current database and temporary tables.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use crate::exception::{Exception, code};
use crate::ffi::Connection;
use crate::http::request::SessionWish;

/// The longest time that a session may outlive its last request, as on a server.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// The most sessions; each is a connection of about 100 KiB.
const SESSIONS_MAX: usize = 1000;

struct SessionEntry {
    connection: Arc<tokio::sync::Mutex<Connection>>,
    expires: Instant,
}

impl SessionEntry {
    /// Whether it is in use (its lock is held) or has not expired.
    fn lives(&self, now: Instant) -> bool {
        self.expires > now || self.connection.try_lock().is_err()
    }
}

/// The sessions of an engine, by id.
#[derive(Default)]
pub(crate) struct Sessions {
    entries: Mutex<HashMap<String, SessionEntry>>,
}

/// The connection of one request: its own, or its session's.
pub(crate) enum ConnectionLease {
    Own(Connection),
    Session(OwnedMutexGuard<Connection>),
}

impl ConnectionLease {
    pub(crate) fn connection(&mut self) -> &mut Connection {
        match self {
            Self::Own(connection) => connection,
            Self::Session(guard) => guard,
        }
    }

    pub(crate) fn is_session(&self) -> bool {
        matches!(self, Self::Session(_))
    }
}

impl Sessions {
    /// Returns the connection for a request, opened by `connect` if necessary. Blocks.
    pub(crate) fn lease(
        &self,
        wish: Option<&SessionWish>,
        connect: impl Fn() -> Result<Connection, Exception>,
    ) -> Result<ConnectionLease, Exception> {
        let Some(wish) = wish else {
            return connect().map(ConnectionLease::Own);
        };
        let lifetime = Duration::from_secs(wish.timeout_seconds);
        if lifetime > TIMEOUT_MAX {
            return Err(Exception::bad_arguments(format!(
                "Session timeout '{}' is larger than max_session_timeout: {}",
                wish.timeout_seconds,
                TIMEOUT_MAX.as_secs()
            )));
        }
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, e| e.lives(now));
        if !entries.contains_key(&wish.id) {
            if wish.must_exist {
                let message = format!("Session {} not found", wish.id.escape_default());
                return Err(Exception::new(
                    code::SESSION_NOT_FOUND,
                    "SESSION_NOT_FOUND",
                    message,
                ));
            }
            if entries.len() >= SESSIONS_MAX {
                return Err(Exception::internal("too many sessions"));
            }
            let connection = Arc::new(tokio::sync::Mutex::new(connect()?));
            entries.insert(
                wish.id.clone(),
                SessionEntry {
                    connection,
                    expires: now + lifetime,
                },
            );
        }
        let Some(entry) = entries.get_mut(&wish.id) else {
            return Err(Exception::internal("the session was removed"));
        };
        entry.expires = now + lifetime;
        let guard = Arc::clone(&entry.connection)
            .try_lock_owned()
            .map_err(|_| {
                let message = format!(
                    "Session {} is locked by a concurrent client",
                    wish.id.escape_default()
                );
                Exception::new(code::SESSION_IS_LOCKED, "SESSION_IS_LOCKED", message)
            })?;
        if wish.close {
            entries.remove(&wish.id);
        }
        Ok(ConnectionLease::Session(guard))
    }

    /// Closes expired sessions. Blocks.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, e| e.lives(now));
    }

    /// Closes all sessions; one in use closes when its request ends.
    pub(crate) fn clear(&self) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
