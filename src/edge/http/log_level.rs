//! `/api/v1/log-level`: how much is logged, and of what.

use std::fmt;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use headcount_core::span::Span;
use headcount_core::time::Wall;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::problem::Problem;
use super::views::Time;

/// The longest time for which a filter may be set. Who wants it for longer wants it in the configuration.
const MAX_FOR: Span = Span::from_secs(7 * 86_400);
/// The largest body, in bytes: a filter of the longest and its time.
const MAX_BODY: usize = 4_096;
/// A body must be complete by then, as a head must: a slow sender may not hold a connection for ever.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// Sets what is logged. Implemented by whoever owns the log.
pub trait LogLevels: Send + Sync {
    /// What is logged now.
    fn show(&self) -> LogLevel;

    /// Sets a filter, in the directives of `EnvFilter`, until the configuration is read again, or for a while.
    ///
    /// # Errors
    /// Which directive is wrong and why, in words for a person.
    fn set(&self, filter: &str, lasts: Option<Duration>) -> Result<LogLevel, String>;

    /// Returns to what the environment and the configuration say.
    fn reset(&self) -> LogLevel;
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel {
    /// The filter that counts.
    pub filter: String,
    /// Until when, where it was set for a while.
    pub until: Option<Wall>,
    /// What counts afterwards.
    pub then: Option<String>,
    /// What counts where nobody sets anything.
    pub at_start: String,
    /// Whether that comes from `RUST_LOG`, and not from the configuration.
    pub from_environment: bool,
    /// What is not written whatever the filter says, because it prints secrets: each target with the finest level that is.
    pub never_finer: String,
}

#[derive(Serialize)]
struct LogLevelView {
    filter: String,
    until: Option<Time>,
    then: Option<String>,
    at_start: String,
    at_start_from: &'static str,
    never_finer: String,
}

impl From<LogLevel> for LogLevelView {
    fn from(level: LogLevel) -> Self {
        Self {
            filter: level.filter,
            until: level.until.map(Time),
            then: level.then,
            at_start: level.at_start,
            at_start_from: if level.from_environment {
                "RUST_LOG"
            } else {
                "[log] level"
            },
            never_finer: level.never_finer,
        }
    }
}

/// What a client wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    filter: String,
    #[serde(rename = "for")]
    lasts: Option<Span>,
}

fn answer(level: LogLevel) -> HttpResponse {
    HttpResponse::Ok().json(LogLevelView::from(level))
}

pub(super) async fn show(shared: web::Data<Shared>) -> HttpResponse {
    answer(shared.log.show())
}

pub(super) async fn set(shared: web::Data<Shared>, body: web::Payload) -> Result<HttpResponse, Problem> {
    shared.needs_token("changing what is logged")?;
    let body = tokio::time::timeout(BODY_WITHIN, body.to_bytes_limited(MAX_BODY));
    let body = body.await.map_err(|_| {
        Problem::late(format_args!(
            "the body was not complete within {} s",
            BODY_WITHIN.as_secs()
        ))
    })?;
    let too_long = |error: &dyn fmt::Display| {
        Problem::bad_request(format_args!(
            "the body cannot be read ({error}); {MAX_BODY} bytes are the most"
        ))
    };
    let body = body
        .map_err(|error| too_long(&error))?
        .map_err(|error| too_long(&error))?;
    let wish: Wish = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad_request(format_args!(
            "the body is not what is expected here ({error}); send JSON such as \
             {{\"filter\": \"info,headcount_actors=debug\", \"for\": \"10m\"}}"
        ))
    })?;
    if let Some(lasts) = wish.lasts
        && (lasts.is_zero() || lasts > MAX_FOR)
    {
        let why =
            format_args!("`for` is {lasts}; expected up to {MAX_FOR}, or nothing, which lasts until the next reload");
        return Err(Problem::bad_request(why));
    }
    let level = shared
        .log
        .set(&wish.filter, wish.lasts.map(Span::duration))
        .map_err(Problem::bad_request)?;
    tracing::info!(filter = level.filter, "what is logged was changed over HTTP");
    Ok(answer(level))
}

pub(super) async fn reset(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    shared.needs_token("changing what is logged")?;
    let level = shared.log.reset();
    tracing::info!(filter = level.filter, "what is logged is again what is configured");
    Ok(answer(level))
}
