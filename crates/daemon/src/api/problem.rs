//! Refusals: every one is a JSON document that says what is wrong and what to do.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};

use utoipa::openapi::{self, Content, RefOr, ResponseBuilder};

use super::documents::Refusal;
use mpsync_core::error::{Cause, Error};

/// What is answered instead of what was asked for.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    refusal: Refusal,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let refusal = Refusal {
            error: error.into(),
            hint: None,
        };
        Self { status, refusal }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.refusal.hint = Some(hint.into());
        self
    }

    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn unavailable(error: impl Into<String>) -> Self {
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

/// What failed inside is told as it is: the crate's errors hold no secrets.
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

/// The refusals that any route may answer with, for the interface's description.
pub(super) struct Refusals;

impl utoipa::IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let all = [
            (
                StatusCode::BAD_REQUEST,
                "The request cannot be read, or asks for what cannot be",
            ),
            (StatusCode::UNAUTHORIZED, "It needs the token"),
            (StatusCode::FORBIDDEN, "A header names a foreign host"),
            (
                StatusCode::NOT_FOUND,
                "There is no such thing, or this daemon's mode does not run that side",
            ),
            (
                StatusCode::METHOD_NOT_ALLOWED,
                "The route does not take this method",
            ),
            (
                StatusCode::REQUEST_TIMEOUT,
                "The request took too long to arrive",
            ),
            (StatusCode::CONFLICT, "It cannot be done as things stand"),
            (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not `application/json`",
            ),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "What it asks does not answer",
            ),
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
