//! Refusals: JSON documents with the error and a hint.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};

use utoipa::openapi::{self, Content, RefOr, ResponseBuilder};

use super::documents::Refusal;
use mpsync_core::error::{Cause, Error};

/// A refusal of a request.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    refusal: Refusal,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let refusal = Refusal {
            error: error.into(),
            hint: None,
        };
        Self { status, refusal }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.refusal.hint = Some(hint.into());
        self
    }

    pub(crate) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(crate) fn unavailable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(self.refusal)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// Internal errors are returned unchanged: their texts contain no secrets.
impl From<Error> for Problem {
    fn from(e: Error) -> Self {
        let status = match e.cause() {
            Cause::Usage(_) => StatusCode::BAD_REQUEST,
            Cause::Busy(_) => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Self::new(status, e.message());
        match e.hint() {
            Some(hint) => problem.with_hint(hint),
            None => problem,
        }
    }
}

/// The possible refusals of any route, for the description of the API.
pub(crate) struct Refusals;

impl utoipa::IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let all = [
            (
                StatusCode::BAD_REQUEST,
                "The request is malformed or impossible",
            ),
            (StatusCode::UNAUTHORIZED, "The request requires the token"),
            (StatusCode::FORBIDDEN, "A header names a foreign host"),
            (
                StatusCode::NOT_FOUND,
                "It does not exist, or this daemon does not run that side",
            ),
            (
                StatusCode::METHOD_NOT_ALLOWED,
                "The route does not support this method",
            ),
            (
                StatusCode::REQUEST_TIMEOUT,
                "The request took too long to arrive",
            ),
            (StatusCode::CONFLICT, "The current state does not permit it"),
            (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not `application/json`",
            ),
            (StatusCode::SERVICE_UNAVAILABLE, "A store does not answer"),
        ];
        let refusal = || Content::new(Some(openapi::Ref::from_schema_name("Refusal")));
        all.into_iter()
            .map(|(status, description)| {
                let response = ResponseBuilder::new()
                    .description(description)
                    .content("application/json", refusal())
                    .build();
                (status.as_u16().to_string(), response.into())
            })
            .collect()
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = match &rejection {
            JsonRejection::MissingJsonContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            JsonRejection::BytesRejection(BytesRejection::FailedToBufferBody(_)) => {
                rejection.status()
            }
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}
