//! Tests only: makes an actor panic from outside.

use std::sync::Arc;

use actix_web::{HttpResponse, web};

use super::Shared;
use super::problem::Problem;

/// Makes the actor of that name panic; false if there is none.
pub type Provoke = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// `POST /test/panic/{actor}`.
pub(super) async fn panic(actor: web::Path<String>, shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    if (shared.provoke)(&actor) {
        Ok(HttpResponse::Accepted().finish())
    } else {
        Err(Problem::not_found(format!("no actor {actor}")))
    }
}
