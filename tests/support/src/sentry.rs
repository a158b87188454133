//! A stand-in for Sentry: takes envelopes as Sentry does, and keeps their bytes.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

use crate::stand_in::StandIn;

/// The only project, and its key.
const PROJECT: &str = "7";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What the stand-in does with all that comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Takes it.
    #[default]
    Accept,
    /// 429, with so many seconds in `Retry-After`.
    TooMany(u32),
    /// Another status, and nothing of it is kept.
    Refuse(u16),
    /// Answers nothing, the connection stays open.
    Hang,
}

#[derive(Debug, Default)]
struct Seen {
    envelopes: Vec<Vec<u8>>,
    refused: Vec<String>,
    requests: usize,
    mood: Mood,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    came: Condvar,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server on loopback that takes what is meant for Sentry.
#[derive(Debug)]
pub struct SentryStandIn {
    shared: Arc<Shared>,
    server: StandIn,
}

impl SentryStandIn {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let state = web::Data::from(Arc::clone(&shared));
        let server = StandIn::start("the stand-in for Sentry", move |app| {
            app.app_data(state.clone())
                .app_data(web::PayloadConfig::new(4 << 20))
                .default_service(web::to(take));
        });
        SentryStandIn { shared, server }
    }

    /// The project's DSN.
    pub fn dsn(&self) -> String {
        format!("http://{KEY}@127.0.0.1:{}/{PROJECT}", self.server.port)
    }

    /// The key in it, which is nobody's business.
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// What it does from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.shared.seen().mood = mood;
    }

    /// The bytes of all envelopes that it took.
    pub fn envelopes(&self) -> Vec<Vec<u8>> {
        self.shared.seen().envelopes.clone()
    }

    /// How many requests came, taken or not.
    pub fn requests(&self) -> usize {
        self.shared.seen().requests
    }

    /// Waits until a request has come, taken or not.
    ///
    /// # Panics
    /// When none came in time.
    pub fn wait_request(&self, within: Duration) {
        let seen = self.shared.seen();
        let (seen, _) = self
            .shared
            .came
            .wait_timeout_while(seen, within, |seen| seen.requests == 0)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(seen.requests > 0, "Sentry got no request within {within:?}");
    }

    /// The events and traces in what it took, by a look at the lines alone.
    pub fn items(&self) -> Vec<Value> {
        let envelopes = self.envelopes();
        let lines = envelopes
            .iter()
            .flat_map(|envelope| envelope.split(|byte| *byte == b'\n'));
        lines
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .filter(|item| item.get("timestamp").is_some())
            .collect()
    }

    /// Waits for an event or a trace that matches.
    ///
    /// # Panics
    /// When none came in time; with what came instead.
    pub fn wait(&self, what: &str, within: Duration, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = self.items().into_iter().find(&matches) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "Sentry got no {what} within {within:?}; it got {:#?}",
                self.items()
            );
            let seen = self.shared.seen();
            drop(
                self.shared
                    .came
                    .wait_timeout(seen, left.min(Duration::from_millis(200))),
            );
        }
    }

    /// Writes each envelope into a file of its own, for another to read.
    ///
    /// # Panics
    /// When that fails, or something came that Sentry would not have taken.
    pub fn write_into(&self, folder: &Path) {
        let seen = self.shared.seen();
        assert!(seen.refused.is_empty(), "not for Sentry: {:#?}", seen.refused);
        for (number, envelope) in seen.envelopes.iter().enumerate() {
            std::fs::write(folder.join(format!("{number:05}")), envelope).expect("write an envelope");
        }
    }
}

async fn take(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let auth = request
        .headers()
        .get("x-sentry-auth")
        .and_then(|value| value.to_str().ok());
    let known = auth.is_some_and(|auth| auth.starts_with("Sentry ") && auth.contains(&format!("sentry_key={KEY}")));
    let mood = {
        let mut seen = shared.seen();
        seen.requests += 1;
        if request.path() != format!("/api/{PROJECT}/envelope/") || !known {
            seen.refused.push(format!("{} {}", request.method(), request.path()));
            return HttpResponse::Forbidden().finish();
        }
        if seen.mood == Mood::Accept {
            seen.envelopes.push(body.to_vec());
        }
        seen.mood
    };
    shared.came.notify_all();
    match mood {
        Mood::Accept => HttpResponse::Ok().json(serde_json::json!({"id": null})),
        Mood::TooMany(seconds) => HttpResponse::TooManyRequests()
            .insert_header(("Retry-After", seconds.to_string()))
            .finish(),
        Mood::Refuse(status) => {
            HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT)).finish()
        }
        Mood::Hang => std::future::pending().await,
    }
}
