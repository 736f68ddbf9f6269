//! `/dead-letters`: the newest messages that could not be converted to rows.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use axum::response::Response;

use super::data_sources::ApiState;
use super::problem::{Problem, Refusals};
use super::transfer_documents::{DeadLetterDocument, DeadLetterList, DeadLetterQuery, limit};
use mpsync_ingest::dead_letters::DeadLetterStore;

/// The newest dead letters.
#[utoipa::path(get, path = "/dead-letters", tag = "ingest", params(DeadLetterQuery), security(("token" = []), ()),
    responses((status = 200, description = "The newest first", body = DeadLetterList), Refusals))]
pub(crate) async fn newest(
    Extract(state): Extract<ApiState>,
    query: Result<Query<DeadLetterQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    if !state.daemon.mode().is_hot() {
        return Err(Problem::not_found("this daemon does not ingest")
            .with_hint("send the request to the daemon that runs with --mode hot or both"));
    }
    let Query(query) = query?;
    let limit = limit(query.limit, DeadLetterQuery::LIMIT_MAX)?;
    let data_sources = Arc::clone(&state.sources);
    let work = async move {
        let store = DeadLetterStore::open(&data_sources.config).await?;
        let letters = store.newest(limit).await?;
        Ok(DeadLetterList {
            total: store.total(),
            letters: letters.into_iter().map(DeadLetterDocument::from).collect(),
        })
    };
    state
        .sources
        .dead_letters
        .ask(format!("{limit}"), work)
        .await
}
