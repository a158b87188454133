//! A stand-in for Slack: takes messages as Slack does, and shows what came and when.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{AUTHORIZATION, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use crate::stand_in::StandIn;

/// The token that the stand-in's API takes.
const TOKEN: &str = "xoxb-stand-in";
/// The only incoming webhook.
const WEBHOOK: &str = "/services/T0STANDIN/B0STANDIN/secret";

/// Which of Slack's ways a message took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// An incoming webhook.
    Webhook,
    /// `chat.postMessage`.
    Post,
    /// `chat.update`.
    Update,
}

/// What the stand-in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As Slack does for what is right; what is wrong is refused.
    Accept,
    /// 429, with so many seconds in `Retry-After`.
    TooMany(u32),
    /// 500.
    ServerError,
    /// None at all, the connection stays open.
    Hang,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which way it took.
    pub call: Call,
    /// When it had arrived.
    pub at: Instant,
    /// Its JSON.
    pub body: Value,
    /// Whether it was accepted; what was refused or left hanging has reached nobody.
    pub accepted: bool,
    /// The time stamp that names it, where it was posted with a token.
    pub ts: Option<String>,
}

impl Message {
    /// Its plain text, what a phone shows.
    pub fn text(&self) -> &str {
        self.body["text"].as_str().unwrap_or_default()
    }

    /// The time stamp of the message under which it is, if it is in a thread.
    pub fn thread(&self) -> Option<&str> {
        self.body["thread_ts"].as_str()
    }

    /// What its blocks and attachments say, one line for each text in them.
    pub fn rendered(&self) -> String {
        let mut lines = Vec::new();
        texts(&self.body["blocks"], &mut lines);
        texts(&self.body["attachments"], &mut lines);
        lines.join("\n")
    }
}

fn texts(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, lines)),
        Value::Object(fields) => {
            if let (Some("plain_text" | "mrkdwn"), Some(text)) = (
                fields.get("type").and_then(Value::as_str),
                fields.get("text").and_then(Value::as_str),
            ) {
                lines.extend(text.lines().map(dates_as_text));
            } else {
                fields.values().for_each(|field| texts(field, lines));
            }
        }
        _ => {}
    }
}

/// Slack shows `<!date^1700000000^{time}|12:00>` in the reader's own time; here its fallback stands, after the bar.
fn dates_as_text(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some((before, date)) = rest.split_once("<!date^") {
        let Some((inside, after)) = date.split_once('>') else {
            break;
        };
        shown += before;
        shown += inside.rsplit('|').next().unwrap_or(inside);
        rest = after;
    }
    shown + rest
}

#[derive(Debug, Default)]
struct Seen {
    messages: Vec<Message>,
    /// What the next requests get; then `Accept` again.
    answers: VecDeque<Answer>,
    /// How many messages [`SlackStandIn::next`] has gone past.
    read: usize,
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

/// A server on loopback that takes what is meant for Slack.
#[derive(Debug)]
pub struct SlackStandIn {
    shared: Arc<Shared>,
    server: StandIn,
}

impl SlackStandIn {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let state = web::Data::from(Arc::clone(&shared));
        let server = StandIn::start("the stand-in for Slack", move |app| {
            app.app_data(state.clone()).default_service(web::to(take));
        });
        SlackStandIn { shared, server }
    }

    /// The address that stands in for `https://slack.com/api/`, ending in a slash.
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/", self.server.port)
    }

    /// The URL of its incoming webhook.
    pub fn webhook_url(&self) -> String {
        format!("http://127.0.0.1:{}{WEBHOOK}", self.server.port)
    }

    /// A notifier of this configuration that uses the webhook.
    pub fn webhook_config(&self) -> String {
        format!(
            "[[notify]]\nkind = \"slack\"\nwebhook_url = \"{}\"\n",
            self.webhook_url()
        )
    }

    /// A notifier of this configuration that uses a bot token.
    pub fn token_config(&self) -> String {
        format!(
            "[[notify]]\nkind = \"slack\"\ntoken = \"{TOKEN}\"\nchannel = \"#ops\"\napi_url = \"{}\"\n",
            self.api_url()
        )
    }

    /// What the next requests get, in this order; those after them are accepted again.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.seen().answers.extend(answers);
    }

    /// All requests so far, accepted or not.
    pub fn requests(&self) -> Vec<Message> {
        self.shared.seen().messages.clone()
    }

    /// What people have been told so far: accepted messages that are not changes of an earlier one.
    pub fn told(&self) -> Vec<Message> {
        self.requests()
            .into_iter()
            .filter(|message| message.accepted && message.call != Call::Update)
            .collect()
    }

    /// The plain texts of what people have been told so far.
    pub fn texts(&self) -> Vec<String> {
        self.told().iter().map(|message| message.text().to_owned()).collect()
    }

    /// Waits for the next request that matches, after the last one that this returned; what is passed over is not
    /// looked at again.
    ///
    /// # Panics
    /// When none came in time; with what came instead.
    pub fn next(&self, what: &str, within: Duration, matches: impl Fn(&Message) -> bool) -> Message {
        let deadline = Instant::now() + within;
        let mut seen = self.shared.seen();
        loop {
            while seen.read < seen.messages.len() {
                let message = seen.messages[seen.read].clone();
                seen.read += 1;
                if matches(&message) {
                    return message;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let came: Vec<String> = seen
                    .messages
                    .iter()
                    .map(|message| format!("{:?} {}", message.call, message.text()))
                    .collect();
                drop(seen);
                panic!("Slack was not told {what} within {within:?}; it was told: {came:#?}");
            }
            seen = self
                .shared
                .came
                .wait_timeout(seen, left)
                .map_or_else(|error| error.into_inner().0, |(seen, _)| seen);
        }
    }

    /// Waits out the time, in which nobody must be told anything.
    ///
    /// # Panics
    /// As soon as somebody is told something, with what.
    pub fn silent_for(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut seen = self.shared.seen();
        let before = seen.messages.len();
        loop {
            let came: Vec<String> = seen.messages[before..]
                .iter()
                .map(|message| message.text().to_owned())
                .collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if !came.is_empty() {
                drop(seen);
                panic!("Slack was to be told nothing for {time:?}, and was told {came:#?}");
            }
            if left.is_zero() {
                return;
            }
            seen = self
                .shared
                .came
                .wait_timeout(seen, left)
                .map_or_else(|error| error.into_inner().0, |(seen, _)| seen);
        }
    }

    /// Waits for the next message to people whose plain text begins so.
    ///
    /// # Panics
    /// When none came in time.
    pub fn next_text(&self, begins: &str, within: Duration) -> Message {
        self.next(&format!("`{begins}…`"), within, |message| {
            message.accepted && message.call != Call::Update && message.text().starts_with(begins)
        })
    }
}

async fn take(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let call = match request.path() {
        WEBHOOK => Call::Webhook,
        "/api/chat.postMessage" => Call::Post,
        "/api/chat.update" => Call::Update,
        // What Slack says for a webhook that does not exist; for the API it would be `unknown_method`.
        _ => return HttpResponse::NotFound().body("no_service"),
    };
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return HttpResponse::BadRequest().body("invalid_payload");
    };
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let authorised = call == Call::Webhook || token == Some(&format!("Bearer {TOKEN}"));
    let (answer, refused, ts) = {
        let mut seen = shared.seen();
        let answer = seen.answers.pop_front().unwrap_or(Answer::Accept);
        let refused = if authorised {
            wrong(call, &body, &seen)
        } else {
            Some("not_authed")
        };
        let accepted = answer == Answer::Accept && refused.is_none();
        let ts = match call {
            Call::Post => Some(format!("1700000000.{:06}", seen.messages.len() + 1)),
            Call::Update => body["ts"].as_str().map(str::to_owned),
            Call::Webhook => None,
        };
        seen.messages.push(Message {
            call,
            at: Instant::now(),
            body,
            accepted,
            ts: ts.clone(),
        });
        shared.came.notify_all();
        (answer, refused, ts)
    };
    match (answer, call) {
        (Answer::Hang, _) => std::future::pending().await,
        (Answer::TooMany(seconds), _) => HttpResponse::TooManyRequests()
            .insert_header((RETRY_AFTER, seconds.to_string()))
            .json(json!({"ok": false, "error": "ratelimited"})),
        (Answer::ServerError, _) => HttpResponse::InternalServerError().body("fatal_error"),
        (Answer::Accept, Call::Webhook) => match refused {
            Some(error) => HttpResponse::BadRequest().body(error),
            None => HttpResponse::Ok().body("ok"),
        },
        (Answer::Accept, Call::Post | Call::Update) => HttpResponse::Ok().json(match refused {
            Some(error) => json!({"ok": false, "error": error}),
            None => json!({"ok": true, "channel": "C0STANDIN", "ts": ts}),
        }),
    }
}

/// Slack's word for what is wrong with a message, if something is.
fn wrong(call: Call, body: &Value, seen: &Seen) -> Option<&'static str> {
    let text = body["text"].as_str().unwrap_or_default();
    let exists = |ts: &str| {
        seen.messages
            .iter()
            .any(|m| m.call == Call::Post && m.accepted && m.ts.as_deref() == Some(ts))
    };
    if text.is_empty() {
        return Some("no_text");
    }
    if body["blocks"].as_array().is_some_and(|blocks| blocks.len() > 50) {
        return Some("invalid_blocks");
    }
    match call {
        Call::Webhook => None,
        Call::Post if !body["channel"].is_string() => Some("channel_not_found"),
        Call::Post => body["thread_ts"]
            .as_str()
            .filter(|ts| !exists(ts))
            .map(|_| "thread_not_found"),
        // The API wants the channel's id here, not its name.
        Call::Update if body["channel"].as_str() != Some("C0STANDIN") => Some("channel_not_found"),
        Call::Update => (!body["ts"].as_str().is_some_and(exists)).then_some("message_not_found"),
    }
}
