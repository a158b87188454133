//! A stand-in for an OTLP collector: takes requests as they come, answers what it is told to, and gives the bytes to whoever
//! reads them. It understands none of them: that is for an independent reader (`tests/apps/otlp_read.py`).

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

use crate::celery::run_script;
use crate::reaper;
use crate::stand_in::StandIn;
use crate::wait::poll_until;

/// What the stand-in answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtlpAnswer {
    /// 200 and an empty answer: all is taken.
    Accept,
    /// This status, with so many seconds in `Retry-After`.
    Status(u16, Option<u32>),
    /// 200 and something that is no answer.
    Garbage,
    /// None at all, the connection stays open.
    Hang,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct OtlpRequest {
    /// Its path, such as `/v1/traces`.
    pub path: String,
    /// When it had arrived.
    pub at: Instant,
    /// Its headers, names in small letters.
    pub headers: Vec<(String, String)>,
    /// Its body, unpacked.
    pub body: Vec<u8>,
    /// Whether it was answered with 200.
    pub accepted: bool,
}

impl OtlpRequest {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<OtlpRequest>,
    /// What the next requests get.
    next: VecDeque<OtlpAnswer>,
    /// What all others get.
    always: Option<OtlpAnswer>,
}

type Shared = Mutex<Seen>;

fn seen(shared: &Shared) -> MutexGuard<'_, Seen> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server on loopback that takes what is meant for a collector.
#[derive(Debug)]
pub struct OtlpStandIn {
    shared: Arc<Shared>,
    server: StandIn,
}

impl OtlpStandIn {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let state = web::Data::from(Arc::clone(&shared));
        let server = StandIn::start("the stand-in for a collector", move |app| {
            app.app_data(state.clone())
                .app_data(web::PayloadConfig::new(64 << 20))
                .default_service(web::to(take));
        });
        Self { shared, server }
    }

    /// Its address, without a path.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    /// What the next requests get, in this order.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = OtlpAnswer>) {
        seen(&self.shared).next.extend(answers);
    }

    /// What all requests get that [`OtlpStandIn::answer_next`] says nothing of.
    pub fn answer(&self, answer: OtlpAnswer) {
        seen(&self.shared).always = Some(answer);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<OtlpRequest> {
        seen(&self.shared).requests.clone()
    }

    /// Waits for a request.
    ///
    /// # Panics
    /// When none came in time.
    pub fn wait(&self, what: &str, within: Duration, matches: impl Fn(&OtlpRequest) -> bool) -> OtlpRequest {
        let found = poll_until(within, || self.requests().into_iter().find(|request| matches(request)));
        found.unwrap_or_else(|| {
            let came: Vec<_> = self.requests().into_iter().map(|request| request.path).collect();
            panic!("the collector was not sent {what} within {within:?}; it was sent {came:?}")
        })
    }

    /// What all accepted requests say, read with OpenTelemetry's own definitions for Python:
    /// `{"spans": […], "metrics": […], "logs": […]}`.
    pub fn read(&self) -> Value {
        let directory = reaper::directory("otlp");
        let requests = self.requests();
        for (number, request) in requests.iter().filter(|request| request.accepted).enumerate() {
            let signal = request.path.rsplit('/').next().unwrap_or_default();
            let file = directory.path().join(format!("{number:06}.{signal}"));
            std::fs::write(file, &request.body).expect("write a request");
        }
        // It speaks to no broker.
        run_script(
            "redis://127.0.0.1:1/",
            "otlp_read.py",
            &[&directory.path().display().to_string()],
        );
        let read = std::fs::read(directory.path().join("read.json")).expect("what was read");
        serde_json::from_slice(&read).expect("it is JSON")
    }
}

/// The payload as it was sent: what is packed is unpacked here, so that bytes that cannot be are seen.
async fn take(request: HttpRequest, payload: web::Payload, shared: web::Data<Shared>) -> HttpResponse {
    let Ok(body) = payload.to_bytes().await else {
        return HttpResponse::BadRequest().finish();
    };
    let header = |(name, value): (
        &actix_web::http::header::HeaderName,
        &actix_web::http::header::HeaderValue,
    )| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    let headers: Vec<_> = request.headers().iter().map(header).collect();
    let packed = headers
        .iter()
        .any(|(name, value)| name == "content-encoding" && value == "gzip");
    let mut plain = Vec::new();
    let readable = if packed {
        flate2::read::GzDecoder::new(body.as_ref())
            .read_to_end(&mut plain)
            .is_ok()
    } else {
        plain.extend_from_slice(&body);
        true
    };
    let known = matches!(request.path(), "/v1/traces" | "/v1/metrics" | "/v1/logs");
    let answer = {
        let mut seen = seen(&shared);
        let always = seen.always.clone().unwrap_or(OtlpAnswer::Accept);
        let answer = match (known, readable) {
            (false, _) => OtlpAnswer::Status(404, None),
            (_, false) => OtlpAnswer::Status(400, None),
            _ => seen.next.pop_front().unwrap_or(always),
        };
        seen.requests.push(OtlpRequest {
            path: request.path().to_owned(),
            at: Instant::now(),
            headers,
            body: plain,
            accepted: matches!(answer, OtlpAnswer::Accept | OtlpAnswer::Garbage),
        });
        answer
    };
    match answer {
        OtlpAnswer::Accept => HttpResponse::Ok().content_type("application/x-protobuf").finish(),
        OtlpAnswer::Garbage => HttpResponse::Ok().body(vec![0xff; 100_000]),
        OtlpAnswer::Status(status, after) => {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).expect("a status"));
            if let Some(after) = after {
                answer.insert_header((RETRY_AFTER, after.to_string()));
            }
            answer.finish()
        }
        OtlpAnswer::Hang => std::future::pending().await,
    }
}
