//! `/dead-letters`: the newest messages that could not be rows.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use axum::response::Response;

use super::problem::{Problem, Refusals};
use super::state::State;
use super::transfer_documents::{LetterDocument, LetterQuery, Letters, limit};
use mpsync_ingest::letters::LetterStore;

/// The newest dead letters.
#[utoipa::path(get, path = "/dead-letters", tag = "ingest", params(LetterQuery), security(("token" = []), ()),
    responses((status = 200, description = "The newest first", body = Letters), Refusals))]
pub(super) async fn newest(
    Extract(state): Extract<State>,
    query: Result<Query<LetterQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    if !state.0.mode.is_hot() {
        return Err(Problem::not_found("this daemon ingests nothing")
            .hint("ask the daemon that runs with --mode hot or both"));
    }
    let Query(query) = query?;
    let limit = limit(query.limit, LetterQuery::LIMIT_MAX)?;
    let places = Arc::clone(state.places());
    let work = async move {
        let store = LetterStore::open(&places.config).await?;
        let letters = store.newest(limit).await?;
        Ok(Letters {
            total: store.total(),
            letters: letters.into_iter().map(LetterDocument::from).collect(),
        })
    };
    state.places().letters.ask(format!("{limit}"), work).await
}
