//! Elasticsearch's API by a stand-in, and a proxy before it that fails in Elasticsearch's ways.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use crate::mongodb::servers;
use crate::process::{Process, command};
use crate::stand_in::StandIn;

const READY_WITHIN: Duration = Duration::from_secs(60);
/// So long may the stand-in take for one request, and a real one, which makes an index in seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// The status of a request that is larger than the server takes.
const TOO_LARGE: u16 = 413;
/// More than any bulk request of Headcount's, in bytes.
const MAX_BODY: usize = 64 << 20;

/// An address at which Elasticsearch's API is spoken, and what tests ask there.
#[derive(Debug)]
pub struct ElasticApi {
    url: String,
}

impl ElasticApi {
    pub(crate) fn at(url: String) -> Self {
        Self { url }
    }

    /// Its address, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An index as Headcount's `sinks` name it.
    pub fn sink(&self, index: &str) -> String {
        format!("elasticsearch+{}/{index}", self.url)
    }

    /// Sends any request, and returns the answer with its status.
    ///
    /// # Panics
    /// When nothing comes back, or something that is not JSON.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = send(method, &format!("{}/{path}", self.url), body);
        let (status, text) = answer.unwrap_or_else(|| panic!("{method} {path}: no answer"));
        let said = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}"));
        (status, said)
    }

    /// Makes an index with a mapping.
    ///
    /// # Panics
    /// When it is refused.
    pub fn create_index(&self, index: &str, mappings: &Value) {
        let (status, said) = self.ask("PUT", index, &json!({"mappings": mappings}));
        assert!(status < 300, "{index}: {status} {said}");
    }

    /// Whether an index could be made, or was there.
    pub(crate) fn try_create(&self, index: &str) -> bool {
        let answer = send("PUT", &format!("{}/{index}", self.url), String::new());
        answer.is_some_and(|(status, text)| status == 200 || text.contains("resource_already_exists_exception"))
    }

    /// All documents of an index that a search finds with their `_id`s, at most 10,000.
    ///
    /// # Panics
    /// When it does not answer as Elasticsearch does.
    pub fn documents(&self, index: &str) -> Vec<(String, Value)> {
        // A real one has no shard yet for a moment after the index was made.
        let (status, found) = self.ask("GET", &format!("{index}/_search?size=10000"), &Value::Null);
        if matches!(status, 404 | 503) {
            return Vec::new();
        }
        assert_eq!(status, 200, "{index}: {found}");
        let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
        hits.into_iter()
            .map(|hit| {
                (
                    hit["_id"].as_str().unwrap_or_default().to_owned(),
                    hit["_source"].clone(),
                )
            })
            .collect()
    }
}

/// A server in memory that speaks Elasticsearch's API, without its refreshes: a write shows at once.
#[derive(Debug)]
pub struct ElasticStandIn {
    api: ElasticApi,
    process: Process,
}

impl ElasticStandIn {
    /// Starts one on a free port of loopback.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        let mut server = command(servers().join("osmem_server/bin/osmem-server"));
        server.args(["-addr", "127.0.0.1:0", "-no-ja", "-no-stdin-watch"]);
        let process = Process::start("osmem", &mut server);
        let line = process.wait_line("http://127.0.0.1:", READY_WITHIN);
        let from = line.find("http://").expect("it was waited for");
        let url = line[from..]
            .split(|c: char| c.is_whitespace() || c == '"')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned();
        ElasticStandIn {
            api: ElasticApi::at(url),
            process,
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Deref for ElasticStandIn {
    type Target = ElasticApi;

    fn deref(&self) -> &ElasticApi {
        &self.api
    }
}

/// How the proxy answers a bulk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElasticFault {
    /// As what is behind it does.
    None,
    /// With this status for the whole request, which is not passed on.
    Whole(u16),
    /// With 413 where it has more bytes; it is passed on otherwise.
    TooLarge(usize),
    /// With this status for one item in so many; the others are passed on.
    Items {
        /// The status of each item that fails.
        status: u16,
        /// One in so many fails.
        every: usize,
    },
    /// It is passed on and carried out; the answer is lost, and the connection closed.
    AnswerLost,
}

#[derive(Debug, Default)]
struct Plan {
    next: VecDeque<ElasticFault>,
    always: Option<ElasticFault>,
    bulks: usize,
    failed: usize,
}

/// A server on loopback that passes requests on, and fails bulk requests where it is told to.
#[derive(Debug)]
pub struct ElasticProxy {
    plan: Arc<Mutex<Plan>>,
    server: StandIn,
}

struct Behind {
    plan: Arc<Mutex<Plan>>,
    upstream: String,
}

impl ElasticProxy {
    /// Starts one before a server.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(upstream: &str) -> Self {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let behind = web::Data::new(Behind {
            plan: Arc::clone(&plan),
            upstream: upstream.to_owned(),
        });
        let server = StandIn::start("the proxy", move |app| {
            app.app_data(behind.clone())
                .app_data(web::PayloadConfig::new(MAX_BODY))
                .default_service(web::to(pass));
        });
        ElasticProxy { plan, server }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An index behind it as Headcount's `sinks` name it.
    pub fn sink(&self, index: &str) -> String {
        format!("elasticsearch+http://127.0.0.1:{}/{index}", self.server.port)
    }

    /// What the next bulk requests get, in this order; those after them as before.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = ElasticFault>) {
        self.plan().next.extend(faults);
    }

    /// What every bulk request gets from now on that has nothing of its own.
    pub fn fail_always(&self, fault: Option<ElasticFault>) {
        self.plan().always = fault;
    }

    /// How many bulk requests came, and how many of them were made to fail, in part or whole.
    pub fn bulks(&self) -> (usize, usize) {
        let plan = self.plan();
        (plan.bulks, plan.failed)
    }
}

async fn pass(request: HttpRequest, body: web::Bytes, behind: web::Data<Behind>) -> HttpResponse {
    let method = request.method().as_str().to_owned();
    let url = format!("{}{}", behind.upstream, request.uri());
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut fault = ElasticFault::None;
    if request.path().ends_with("/_bulk") {
        let mut plan = behind.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.bulks += 1;
        fault = plan.next.pop_front().or(plan.always).unwrap_or(ElasticFault::None);
        fault = match fault {
            ElasticFault::TooLarge(most) if body.len() > most => ElasticFault::Whole(TOO_LARGE),
            ElasticFault::TooLarge(_) => ElasticFault::None,
            other => other,
        };
        plan.failed += usize::from(fault != ElasticFault::None);
    }
    let sent = match fault {
        ElasticFault::Whole(status) => return failed(status),
        ElasticFault::Items { status, every } => web::block(move || send_some(&url, &body, status, every)).await,
        ElasticFault::None | ElasticFault::TooLarge(_) | ElasticFault::AnswerLost => {
            web::block(move || send(&method, &url, body)).await
        }
    };
    match sent {
        Ok(Some(_)) if fault == ElasticFault::AnswerLost => {
            // Neither status nor body: the client sees a connection that ends.
            let ends = futures_util::stream::once(async { Err::<web::Bytes, _>(std::io::Error::other("lost")) });
            HttpResponse::Ok().streaming(ends)
        }
        Ok(Some((status, body))) => HttpResponse::build(StatusCode::from_u16(status).expect("a status"))
            .insert_header(("content-type", "application/json"))
            .insert_header(("x-elastic-product", "Elasticsearch"))
            .body(body),
        _ => HttpResponse::BadGateway().finish(),
    }
}

fn failed(status: u16) -> HttpResponse {
    let error = json!({"error": {"type": "made_up", "reason": "the proxy was told to fail"}, "status": status});
    HttpResponse::build(StatusCode::from_u16(status).expect("a status")).json(error)
}

/// Passes some items of a bulk request on, and puts its own answers between those that come back.
fn send_some(url: &str, body: &str, status: u16, every: usize) -> Option<(u16, String)> {
    let lines: Vec<&str> = body.lines().collect();
    let fails = |index: usize| index.is_multiple_of(every.max(1));
    let items: Vec<&[&str]> = lines.chunks(2).collect();
    let passed: Vec<String> = items
        .iter()
        .enumerate()
        .filter(|(index, _)| !fails(*index))
        .map(|(_, item)| format!("{}\n", item.join("\n")))
        .collect();
    let mut answers = Vec::new();
    if !passed.is_empty() {
        let (code, text) = send("POST", url, passed.concat())?;
        if code >= 300 {
            return Some((code, text));
        }
        answers = serde_json::from_str::<Value>(&text).ok()?["items"].as_array()?.clone();
    }
    let mut answers = answers.into_iter();
    let merged: Vec<Value> = items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            if !fails(index) {
                return answers.next().unwrap_or(Value::Null);
            }
            let head: Value = item.first().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
            let error = json!({"type": "es_rejected_execution_exception", "reason": "the proxy was told to fail"});
            json!({"index": {"_index": head["index"]["_index"], "_id": head["index"]["_id"], "status": status, "error": error}})
        })
        .collect();
    Some((200, json!({"took": 1, "errors": true, "items": merged}).to_string()))
}

fn send(method: &str, url: &str, body: String) -> Option<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(ANSWER_WITHIN))
        .build()
        .into();
    let kind = if url.contains("/_bulk") {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let sent = match method {
        "GET" => agent.get(url).call(),
        "HEAD" => agent.head(url).call(),
        "DELETE" => agent.delete(url).call(),
        "PUT" => agent.put(url).header("content-type", kind).send(body),
        _ => agent.post(url).header("content-type", kind).send(body),
    };
    let mut answer = sent.ok()?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(MAX_BODY as u64)
        .read_to_string()
        .ok()?;
    Some((answer.status().as_u16(), text))
}
