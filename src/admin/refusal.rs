//! Refusal: why the server does not do what it was asked, and how that looks in HTTP.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why the server does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The request makes no sense: an address or a password that cannot be one.
    #[error("{0}")]
    Malformed(String),
    /// There is no such account or domain.
    #[error("{0}")]
    Unknown(String),
    /// The account exists already, or the folder is not empty.
    #[error("{0}")]
    Conflict(String),
    /// The token is not for this.
    #[error("{0}")]
    Forbidden(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}

/// What went wrong.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// For people.
    pub(crate) error: String,
}

/// An answer that says what is wrong.
pub(super) fn problem(status: StatusCode, text: &str) -> Response {
    let problem = Problem {
        error: text.to_owned(),
    };
    (status, Json(problem)).into_response()
}

// === impl Refusal ===

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = problem(status, &self.to_string());
        if status == StatusCode::FORBIDDEN {
            // RFC 6750 §3.1.
            let challenge = "Bearer realm=\"couplet\", error=\"insufficient_scope\"";
            let challenge = header::HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
