//! Requests to workers: the message that kombu's mailbox sends, for each broker.
//!
//! Randomness and time are the caller's: whoever asks brings the ticket and the tag.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Where the replies are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReplyTo<'a> {
    /// The reply exchange, such as `reply.celery.pidbox`; empty for the default exchange, where `routing_key` is then
    /// the name of a queue (which works on both brokers and needs no binding).
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
}

/// A request to workers, before it is addressed to a broker. It is always JSON: a worker whose `accept_content` has no
/// `json` (it has by default) does not answer.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The command: `ping`, `stats`, `active_queues`, `active`, `add_consumer`, …
    pub method: &'a str,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// Whom to ask; none asks everybody.
    pub destination: Option<&'a [&'a str]>,
    /// Comes back in the header of every reply.
    pub ticket: &'a str,
    /// Where to reply; none asks for no reply.
    pub reply_to: Option<ReplyTo<'a>>,
}

/// The header `clock` of a request: workers raise their own logical clock to it, so the smallest is sent, which raises
/// nobody's.
pub const CLOCK: i32 = 1;

/// The property `delivery_mode` of a request: 2, as kombu sends it. The mailboxes live in memory all the same.
pub const DELIVERY_MODE: u8 = 2;

/// The content type of a request.
pub const CONTENT_TYPE: &str = "application/json";

/// The content encoding of a request.
pub const CONTENT_ENCODING: &str = "utf-8";

/// Headers of a request that must be set on RabbitMQ with these very types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headers {
    /// `clock`, a 32-bit integer.
    pub clock: i32,
    /// `expires`, a double: seconds since the Unix epoch. Workers ignore it; later clients may not.
    pub expires: f64,
}

/// The headers of a request that nobody needs after `expires` (seconds since the Unix epoch).
pub const fn headers(expires: f64) -> Headers {
    Headers { clock: CLOCK, expires }
}

/// The body of a request, the same on both brokers.
pub fn body(request: &Request<'_>) -> Vec<u8> {
    let mut body = json!({
        "method": request.method,
        "arguments": request.arguments,
        "destination": request.destination,
        "pattern": null,
        "matcher": null,
    });
    if let (Some(reply_to), Some(object)) = (request.reply_to, body.as_object_mut()) {
        object.insert("ticket".into(), json!(request.ticket));
        object.insert("reply_to".into(), json!(reply_to));
    }
    body.to_string().into_bytes()
}

/// The whole payload of the PUBLISH on Redis.
///
/// `control_exchange` is [`super::WireSettings::control_exchange`], such as `celery.pidbox`.
///
/// `delivery_tag` is any string that no other message bears, such as a new UUID. It can never be left out: without it
/// every worker drops its connection, and gevent workers stay deaf to commands.
pub fn redis_payload(request: &Request<'_>, control_exchange: &str, delivery_tag: &str, expires: f64) -> Vec<u8> {
    json!({
        "body": STANDARD.encode(body(request)),
        "content-encoding": CONTENT_ENCODING,
        "content-type": CONTENT_TYPE,
        "headers": {"clock": CLOCK, "expires": expires},
        "properties": {
            "delivery_mode": DELIVERY_MODE,
            "delivery_info": {"exchange": control_exchange, "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": delivery_tag,
        },
    })
    .to_string()
    .into_bytes()
}
