//! The bearer token.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::{Error, web};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::Shared;
use super::problem::Problem;

/// Lets a request pass where no token is configured, or where it presents the right one.
pub(super) async fn require_token(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let expected = request
        .app_data::<web::Data<Shared>>()
        .and_then(|shared| shared.token.as_ref());
    if let Some(expected) = expected {
        let presented = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| bearer(value.as_bytes()));
        match presented {
            None => {
                return Err(Problem::unauthorized(
                    "send `Authorization: Bearer <token>`, with `token` under [server] in the daemon's configuration",
                )
                .into());
            }
            // In constant time, so that a token cannot be guessed byte by byte; only its length could be.
            Some(token) if bool::from(token.ct_eq(expected.expose_secret().as_bytes())) => {}
            Some(_) => {
                return Err(Problem::unauthorized(
                    "this is not the token; the right one is `token` under [server] in the daemon's configuration",
                )
                .into());
            }
        }
    }
    next.call(request).await
}

/// The token of an `Authorization` header; the scheme's name may be in any case (RFC 9110).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
