//! The queries that run, by the ids that their clients gave them.
//!
//! The library gives every query an id of its own and takes none. So a statement that asks for a query by its client's id, to cancel
//! it or to look at it in `system.processes`, is given the engine's id in its place.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::execute::quoted;
use super::ffi::Connection;
use super::lexer::{Kind, Tokens};

/// The clients' ids of what runs, by tag.
#[derive(Default)]
pub(super) struct Running {
    ids: Mutex<HashMap<String, String>>,
}

impl Running {
    pub(super) fn begin(&self, tag: &str, query_id: &str) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tag.to_owned(), query_id.to_owned());
    }

    pub(super) fn end(&self, tag: &str) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(tag);
    }

    /// Whether a query of this tag runs.
    pub(super) fn knows(&self, tag: &str) -> bool {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(tag)
    }

    fn tag_of(&self, query_id: &str) -> Option<String> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter()
            .find(|(_, id)| *id == query_id)
            .map(|(tag, _)| tag.clone())
    }

    /// The statement with the engine's ids, where it is about running queries. Blocks.
    pub(super) fn translate(&self, connection: &mut Connection, text: &[u8]) -> Vec<u8> {
        let tokens = Tokens::new(text);
        let about_queries = tokens.is_word(0, "KILL")
            || (0..tokens.list.len()).any(|i| tokens.is_word(i, "processes"));
        let mut out = text.to_vec();
        if !about_queries {
            return out;
        }
        // From the end, so that what is replaced does not move what is still to be replaced.
        for token in tokens.list.iter().rev().filter(|t| t.kind == Kind::Text) {
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

/// The id that the engine gave the query of this tag.
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
