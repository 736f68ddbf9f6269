//! `/dead-letters`: the newest messages that could not be rows.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use axum::response::Response;

use super::problem::{Problem, Refusals};
use super::state::DaemonState;
use super::transfer_documents::{DeadLetterDocument, DeadLetterList, DeadLetterQuery, limit};
use mpsync_ingest::dead_letters::DeadLetterStore;

/// The newest dead letters.
#[utoipa::path(get, path = "/dead-letters", tag = "ingest", params(DeadLetterQuery), security(("token" = []), ()),
    responses((status = 200, description = "The newest first", body = DeadLetterList), Refusals))]
pub(super) async fn newest(
    Extract(state): Extract<DaemonState>,
    query: Result<Query<DeadLetterQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    if !state.0.mode.is_hot() {
        return Err(Problem::not_found("this daemon ingests nothing")
            .with_hint("ask the daemon that runs with --mode hot or both"));
    }
    let Query(query) = query?;
    let limit = limit(query.limit, DeadLetterQuery::LIMIT_MAX)?;
    let data_sources = Arc::clone(state.data_sources());
    let work = async move {
        let store = DeadLetterStore::open(&data_sources.config).await?;
        let letters = store.newest(limit).await?;
        Ok(DeadLetterList {
            total: store.total(),
            letters: letters.into_iter().map(DeadLetterDocument::from).collect(),
        })
    };
    state
        .data_sources()
        .dead_letters
        .ask(format!("{limit}"), work)
        .await
}
