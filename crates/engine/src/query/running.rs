//! Running queries by the ids of their clients.
//!
//! The library assigns query ids and accepts none. A statement that refers to a query by its client's id, to cancel it
//! or to find it in `system.processes`, therefore gets the engine's id in its place.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ffi::Connection;
use crate::files::sandbox_dir::NewFile;
use crate::statement::lexer::quoted;
use crate::statement::lexer::{TokenKind, Tokens};

/// A running query.
struct RunningQuery {
    /// The id that its client chose.
    id: String,
    /// The files that it has written, which get their names when it has succeeded.
    written: Vec<NewFile>,
}

/// The running queries, by tag.
#[derive(Default)]
pub(crate) struct RunningQueries {
    queries: Mutex<HashMap<String, RunningQuery>>,
}

impl RunningQueries {
    fn queries(&self) -> MutexGuard<'_, HashMap<String, RunningQuery>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, tag: &str, query_id: &str) {
        let query = RunningQuery {
            id: query_id.to_owned(),
            written: Vec::new(),
        };
        self.queries().insert(tag.to_owned(), query);
    }

    /// Removes a query; its files that have no name yet are deleted.
    pub(crate) fn end(&self, tag: &str) {
        self.queries().remove(tag);
    }

    /// Whether a query with this tag runs.
    pub(crate) fn knows(&self, tag: &str) -> bool {
        self.queries().contains_key(tag)
    }

    /// Stores a file until its query has succeeded. The engine completes a file even if the query fails, so only the
    /// query's outcome tells whether it is whole. Returns false if the query has ended already.
    pub(crate) fn store(&self, tag: &str, file: NewFile) -> bool {
        match self.queries().get_mut(tag) {
            Some(query) => {
                query.written.push(file);
                true
            }
            None => false,
        }
    }

    /// Removes and returns the files that a query has written.
    pub(crate) fn take_written(&self, tag: &str) -> Vec<NewFile> {
        self.queries()
            .get_mut(tag)
            .map(|query| std::mem::take(&mut query.written))
            .unwrap_or_default()
    }

    fn tag_of(&self, query_id: &str) -> Option<String> {
        self.queries()
            .iter()
            .find(|(_, query)| query.id == query_id)
            .map(|(tag, _)| tag.clone())
    }

    /// Returns the statement with the engine's ids, if it is about running queries. Blocks.
    pub(crate) fn translate(&self, connection: &mut Connection, text: &[u8]) -> Vec<u8> {
        let tokens = Tokens::new(text);
        let about_queries = tokens.is_word(0, "KILL")
            || (0..tokens.list.len()).any(|i| tokens.is_word(i, "processes"));
        let mut out = text.to_vec();
        if !about_queries {
            return out;
        }
        // From the end, so that a replacement does not shift earlier ones.
        for token in tokens
            .list
            .iter()
            .rev()
            .filter(|t| t.kind == TokenKind::Text)
        {
            let literal = String::from_utf8_lossy(tokens.bytes(token)).into_owned();
            let Some(tag) = self.tag_of(literal.trim_matches('\'')) else {
                continue;
            };
            if let Some(id) = engine_id(connection, &tag) {
                out.splice(token.start..token.end, quoted(&id).into_bytes());
            }
        }
        out
    }
}

/// Returns the engine's id of the query with this tag.
fn engine_id(connection: &mut Connection, tag: &str) -> Option<String> {
    let pattern = quoted(&format!("%/* mpsync:{tag} */%"));
    let sql = format!(
        "SELECT query_id FROM system.processes WHERE query LIKE {pattern} AND query_id != queryID() LIMIT 1"
    );
    let answer = connection.query(sql.as_bytes(), "RawBLOB", &[]).ok()?;
    String::from_utf8(answer.body)
        .ok()
        .filter(|id| !id.is_empty())
}
