//! `/openapi.json`: the description of the API, from the types of its requests and responses.

use std::sync::LazyLock;

use axum::response::{IntoResponse as _, Response};
use hyper::header::CONTENT_TYPE;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, PathItem, RefOr, ResponseBuilder, ResponsesBuilder, Schema};
use utoipa::{Modify, OpenApi};

use super::documents::Refusal;
use super::problem::{Problem, Refusals};
use super::{dead_letters, exposition, status, transfers};
use crate::page::routes as page;

#[derive(OpenApi)]
#[openapi(
    info(title = "mpsync", description = "The state of the daemon, and requests to it. Times are RFC 3339 in UTC, durations are seconds, rows and \
        bytes are integers. Write requests require the bearer token."),
    paths(
        status::health, status::ready, status::stats, status::ask_sync,
        transfers::windows, transfers::list, transfers::show, transfers::create, transfers::cancel, transfers::retry,
        dead_letters::newest, exposition::metrics, document,
    ),
    components(schemas(Refusal)),
    tags((name = "daemon", description = "State of the daemon"), (name = "ingest", description = "From NATS into hot"),
        (name = "transfers", description = "From hot to the archive and to cold"), (name = "page", description = "The operator's page")),
    modifiers(&BearerToken, &PageFiles, &WholeDocuments),
)]
struct Description;

/// The bearer token.
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The text in the daemon's token file"))
            .build();
        description
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The files of the page.
struct PageFiles;

impl Modify for PageFiles {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        for (path, content_type) in page::files() {
            let essence = content_type.split(';').next().unwrap_or(content_type);
            let text = ContentBuilder::new()
                .schema(Some(utoipa::schema!(String)))
                .build();
            let response = ResponseBuilder::new()
                .description("The file")
                .content(essence, text);
            let operation = OperationBuilder::new()
                .tag("page")
                .operation_id(Some(format!("page{}", path.replace('/', "_"))))
                .summary(Some("A file of the page"))
                .responses(
                    ResponsesBuilder::new()
                        .responses_from_into_responses::<Refusals>()
                        .response("200", response)
                        .build(),
                );
            let item = PathItem::new(HttpMethod::Get, operation);
            description.paths.paths.insert(path.to_owned(), item);
        }
    }
}

/// Makes all fields of responses required: a field without a value is null. Only requests may omit fields.
struct WholeDocuments;

/// The bodies of requests.
const REQUESTS: [&str; 2] = ["SyncRequest", "NewTask"];

impl Modify for WholeDocuments {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let schemas = &mut description.components.get_or_insert_default().schemas;
        for (_, schema) in schemas
            .iter_mut()
            .filter(|(name, _)| !REQUESTS.contains(&name.as_str()))
        {
            require_all(schema);
        }
    }
}

fn require_all(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            object.required = object.properties.keys().cloned().collect();
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(require_all),
        _ => {}
    }
}

static JSON: LazyLock<Result<String, String>> = LazyLock::new(|| {
    Description::openapi()
        .to_pretty_json()
        .map_err(|e| e.to_string())
});

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "daemon", security(("token" = []), ()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), Refusals))]
pub(crate) async fn document() -> Result<Response, Problem> {
    let json = JSON.as_ref().map_err(Problem::unavailable)?;
    Ok(([(CONTENT_TYPE, "application/json")], json.as_str()).into_response())
}

#[cfg(test)]
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
