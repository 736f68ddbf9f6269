//! The settings that a server knows, asked once: a setting that it does not know is left out, not tried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clickhouse::{Client, Row};
use mpsync_core::error::{Cause, Error};
use serde::Deserialize;

use super::kind::{StatementKind, decided_settings};

/// How long an answer is used. A server that was upgraded in the meantime is noticed earlier, by the connection that broke.
const FRESH_FOR: Duration = Duration::from_mins(10);

/// The settings of the first question. All supported servers know them: without them a profile could cut the answer itself.
const FIRST_QUESTION: [(&str, &str); 14] = [
    ("limit", "0"),
    ("offset", "0"),
    ("additional_table_filters", "{}"),
    ("additional_result_filter", ""),
    ("read_overflow_mode", "throw"),
    ("read_overflow_mode_leaf", "throw"),
    ("result_overflow_mode", "throw"),
    ("timeout_overflow_mode", "throw"),
    // The table has more rows than a small limit allows, and an answer that is refused would refuse every statement.
    ("max_rows_to_read", "0"),
    ("max_rows_to_read_leaf", "0"),
    ("max_bytes_to_read", "0"),
    ("max_bytes_to_read_leaf", "0"),
    ("max_result_rows", "0"),
    ("max_result_bytes", "0"),
];

#[derive(Row, Deserialize)]
struct SettingRow {
    name: String,
    value: String,
    readonly: u8,
}

/// A setting as a server reports it for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownSetting {
    value: String,
    is_constant: bool,
}

/// The settings of one server that some kind of statement decides on.
#[derive(Debug, Default)]
pub(crate) struct ServerSettings(BTreeMap<String, KnownSetting>);

impl ServerSettings {
    /// Asks the server.
    async fn ask(client: &Client) -> clickhouse::error::Result<Self> {
        let names: Vec<&str> = decided_settings().collect();
        let question = client
            .query_raw(
                "SELECT name, value, toUInt8(readonly) AS readonly FROM system.settings \
                 WHERE has({names:Array(String)}, name)",
            )
            .param("names", names);
        let question = FIRST_QUESTION
            .into_iter()
            .fold(question, |question, (name, value)| {
                question.with_setting(name, value)
            });
        let rows = question.fetch_all::<SettingRow>().await?;
        let is_known = |wanted: &str| rows.iter().any(|row| row.name == wanted);
        // The server has just accepted these: an answer without one of them is not whole.
        let sent = FIRST_QUESTION.iter().map(|(name, _)| *name);
        if let Some(lost) = sent
            .filter(|name| decided_settings().any(|decided| decided == *name))
            .find(|name| !is_known(name))
        {
            return Err(clickhouse::error::Error::Custom(format!(
                "the server's list of settings lacks `{lost}`: it was cut short"
            )));
        }
        let known = rows.into_iter().map(|row| {
            let setting = KnownSetting {
                value: row.value,
                is_constant: row.readonly != 0,
            };
            (row.name, setting)
        });
        Ok(Self(known.collect()))
    }

    /// Returns the settings to send with a statement of this kind.
    ///
    /// # Errors
    ///
    /// The user's profile fixes one of them at another value: the statement would mean something else.
    pub(crate) fn of(
        &self,
        kind: StatementKind,
    ) -> Result<impl Iterator<Item = (&'static str, &'static str)>, Error> {
        for (name, wanted) in kind.settings() {
            if let Some(known) = self.0.get(name)
                && known.is_constant
                && !is_same(&known.value, wanted)
            {
                return Err(refused(name, &known.value, wanted));
            }
        }
        Ok(kind
            .settings()
            .filter(|(name, _)| self.0.contains_key(*name)))
    }
}

/// Tells whether two values of a setting are the same: servers write a flag as `0` or as `false`.
fn is_same(value: &str, wanted: &str) -> bool {
    let flag = |text: &str| match text {
        "false" => "0".to_owned(),
        "true" => "1".to_owned(),
        other => other.to_owned(),
    };
    flag(value) == flag(wanted)
}

fn refused(name: &str, value: &str, wanted: &str) -> Error {
    Error::new(Cause::Config(format!(
        "the profile of the ClickHouse user fixes the setting `{name}` at `{value}`, but the statement is exact only with `{wanted}`"
    )))
    .with_hint(format!(
        "set `{name}` to `{wanted}` in the user's settings profile, or remove its `CONST` or `readonly` constraint"
    ))
}

/// The settings of a tier's server, shared by all clones of its client.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingsCache(Arc<Mutex<Option<Answer>>>);

/// An answer of the server, and when it was asked.
#[derive(Debug)]
struct Answer {
    asked: Instant,
    settings: Arc<ServerSettings>,
}

impl SettingsCache {
    /// Returns the server's settings, asked at most once in ten minutes.
    ///
    /// # Cancel safety
    ///
    /// Nothing is kept of a question that was not answered. Callers that come together may ask together.
    pub(crate) async fn get(
        &self,
        client: &Client,
    ) -> clickhouse::error::Result<Arc<ServerSettings>> {
        if let Some(answer) = &*self.lock()
            && answer.asked.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(&answer.settings));
        }
        let settings = Arc::new(ServerSettings::ask(client).await?);
        *self.lock() = Some(Answer {
            asked: Instant::now(),
            settings: Arc::clone(&settings),
        });
        Ok(settings)
    }

    /// Forgets the answer: the server may be another one now.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(settings: &[(&str, &str, bool)]) -> ServerSettings {
        let known = settings.iter().map(|(name, value, is_constant)| {
            let setting = KnownSetting {
                value: (*value).to_owned(),
                is_constant: *is_constant,
            };
            ((*name).to_owned(), setting)
        });
        ServerSettings(known.collect())
    }

    #[test]
    fn unknown_settings_are_left_out() {
        let server = server(&[("limit", "500", false), ("final", "0", false)]);
        let sent: Vec<_> = server.of(StatementKind::WholeRead).unwrap().collect();
        assert_eq!(sent, [("limit", "0"), ("final", "0")]);
    }

    #[test]
    fn a_setting_that_the_profile_fixes_is_refused_by_name() {
        let e = server(&[("limit", "500", true)])
            .of(StatementKind::Insert)
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains("`limit` at `500`") && e.contains("hint"), "{e}");
        let harmless = server(&[
            ("final", "false", true),
            ("apply_deleted_mask", "true", true),
        ]);
        assert_eq!(harmless.of(StatementKind::Question).unwrap().count(), 2);
    }
}
