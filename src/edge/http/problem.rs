//! Errors as RFC 9457 problem details.

use std::fmt;

use actix_web::error::QueryPayloadError;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use headcount_actors::ports::StoreError;
use serde::Serialize;

/// One problem, as the client sees it. `type` is left out, which means `about:blank`: the status says it all.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    #[serde(skip)]
    allow: &'static str,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, detail: impl fmt::Display) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.to_string(),
            allow: "",
        }
    }

    pub(super) fn bad_request(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn query(error: &QueryPayloadError) -> Self {
        match error {
            QueryPayloadError::Deserialize(why) => {
                Self::bad_request(format_args!("the query of the address cannot be read: {why}"))
            }
            other => Self::bad_request(other),
        }
    }

    pub(super) fn unauthorized(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(super) fn not_found(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn forbidden(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// The client took too long to say what it wants.
    pub(super) fn late(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// `allow` lists the methods that are possible, such as `GET, HEAD`.
    pub(super) fn method_not_allowed(method: &Method, allow: &'static str) -> Self {
        let possible = match allow.rsplit_once(", ") {
            Some((others, last)) => format!("{others} and {last} are"),
            None => format!("{allow} is"),
        };
        let detail = format_args!("{method} is not possible here; {possible}");
        Self {
            allow,
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        }
    }

    pub(super) fn store(error: &StoreError) -> Self {
        // Who has to see to a store that goes on failing hears of it from those who write to it.
        tracing::warn!(%error, "the store failed while a client asked: the client was told so, and may ask again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    /// There is no room for the moment.
    pub(super) fn busy(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(super) fn internal(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status).json(self);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"headcount\""),
                );
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static(self.allow));
            }
            _ => {}
        }
        response
    }
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

/// There is no such page.
pub(super) async fn no_page(request: HttpRequest) -> Problem {
    Problem::not_found(format_args!("there is no page {}; GET / lists them", request.path()))
}
