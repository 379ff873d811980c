//! Metrics: requests to the API, by what became of them.

use axum::http::{Method, StatusCode};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Nobody knows who asked.
    Unauthenticated,
    /// Known, and not allowed; or not by a client of ours.
    Forbidden,
    /// It makes no sense, or does not fit.
    Refused,
    /// Ours to answer for.
    Failed,
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthenticated,
            403 => Self::Forbidden,
            500.. => Self::Failed,
            400.. => Self::Refused,
            _ => Self::Done,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// Whether somebody was kept out.
    pub(super) fn is_shut_out(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::Forbidden)
    }

    pub(super) fn count(self, method: &Method) {
        // A client may send any word as its method.
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        metrics::counter!(
            "couplet_admin_requests_total",
            "method" => method, "outcome" => self.word()
        )
        .increment(1);
    }
}
