//! What a page answers where it has nothing to show.

use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

use super::pages::shell;
use crate::{engine::EngineStopped, results::html::escaped, store::StoreError};

/// Why there is no page, in a sentence.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    sentence: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    /// Nothing is there.
    pub(super) fn nowhere(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<EngineStopped> for Refused {
    fn from(error: EngineStopped) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<tonic::Status> for Refused {
    fn from(status: tonic::Status) -> Self {
        let code = match status.code() {
            tonic::Code::NotFound => StatusCode::NOT_FOUND,
            tonic::Code::InvalidArgument => StatusCode::BAD_REQUEST,
            tonic::Code::FailedPrecondition => StatusCode::CONFLICT,
            tonic::Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(code, status.message())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let reason = self.status.canonical_reason().unwrap_or("Not possible");
        let body = format!(
            "<h1>{reason}</h1>\n<p>{}</p>\n<p><a href=\"/\">All sweeps</a></p>\n",
            escaped(&self.sentence)
        );
        (self.status, Html(shell(reason, None, "", &body))).into_response()
    }
}
