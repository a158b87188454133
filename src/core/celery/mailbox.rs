//! The other end of [`super::control`]: what a worker is asked, and how it answers.

use serde_json::{Map, Value, json};

use super::compression::unpack;
use super::envelope::unbase64;
use super::fields::MAX_NAME;
use super::format::Format;
use super::publication::{Keep, Publication, To};
use super::raw::Malformed;

use super::value;
use crate::glob::Glob;

/// The largest request, in bytes. Celery's own are under 1 KiB, but for a `revoke` or a `hello` with many ids.
const MAX_REQUEST: usize = 1 << 20;

/// A request as it came from the broker.
#[derive(Clone, Debug)]
pub enum RawRequest<'a> {
    /// From RabbitMQ.
    Amqp {
        /// `content_type`; empty when absent.
        content_type: &'a str,
        /// The headers.
        headers: Map<String, Value>,
        /// The body as it came.
        body: &'a [u8],
    },
    /// From Redis: the payload of the PUBLISH.
    Redis {
        /// The whole payload.
        payload: &'a [u8],
    },
}

/// What this worker is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The command, such as `ping`.
    pub method: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// Where the answer goes; none if nobody waits for one.
    pub answer_to: Option<Where>,
    /// The sender's logical clock.
    pub clock: u64,
}

/// Where an answer goes, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Where {
    /// By which way.
    pub to: To,
    /// Goes back in the header; null where the request bore none.
    pub ticket: Value,
}

/// Reads a request. None if it is for others than `hostname`.
///
/// # Errors
/// [`Malformed`], as for events.
pub fn read_request(raw: RawRequest<'_>, hostname: &str) -> Result<Option<Command>, Malformed> {
    let (headers, body) = match raw {
        RawRequest::Amqp {
            content_type,
            headers,
            body,
        } => {
            if body.len() > MAX_REQUEST {
                return Err(Malformed::TooLarge);
            }
            let body = read_body(content_type, &headers, body)?;
            (headers, body)
        }
        RawRequest::Redis { payload } => from_redis(payload)?,
    };
    let Value::Object(mut body) = body else {
        return Err(Malformed::Shape);
    };
    if !is_for(&body, hostname) {
        return Ok(None);
    }
    let method = match body.remove("method") {
        Some(Value::String(method)) if (1..=MAX_NAME).contains(&method.len()) => method,
        _ => return Err(Malformed::Shape),
    };
    let arguments = match body.remove("arguments") {
        Some(Value::Object(arguments)) => arguments,
        _ => Map::new(),
    };
    let ticket = body.remove("ticket").unwrap_or_default();
    let answer_to = body.get("reply_to").and_then(|reply_to| {
        let text = |key: &str| reply_to.get(key)?.as_str().filter(|text| text.len() <= MAX_NAME);
        let to = To::exchange(text("exchange")?, text("routing_key")?);
        Some(Where { to, ticket })
    });
    Ok(Some(Command {
        method,
        arguments,
        answer_to,
        clock: headers.get("clock").and_then(Value::as_u64).unwrap_or(0),
    }))
}

/// The answer of `hostname`.
pub fn answer(to: Where, hostname: &str, clock: u64, body: &Value) -> Publication {
    let mut headers = Map::new();
    headers.insert("ticket".into(), to.ticket);
    headers.insert("clock".into(), clock.into());
    Publication {
        to: to.to,
        headers,
        correlation_id: None,
        reply_to: None,
        keep: Keep::Transient,
        priority: 0,
        body: json!({hostname: body}).to_string().into_bytes(),
    }
}

fn from_redis(payload: &[u8]) -> Result<(Map<String, Value>, Value), Malformed> {
    if payload.len() > MAX_REQUEST {
        return Err(Malformed::TooLarge);
    }
    let envelope = value::parse(Format::Json, payload).map_err(|_| Malformed::Envelope)?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let headers = match envelope.get("headers") {
        Some(Value::Object(headers)) => headers.clone(),
        _ => Map::new(),
    };
    let encoding = text(
        envelope
            .get("properties")
            .and_then(|properties| properties.get("body_encoding")),
    );
    let mut scratch = Vec::new();
    let body = text(envelope.get("body"));
    let body = unbase64(&body, &encoding, &mut scratch)?;
    let body = read_body(&text(envelope.get("content-type")), &headers, body)?;
    Ok((headers, body))
}

fn read_body(content_type: &str, headers: &Map<String, Value>, body: &[u8]) -> Result<Value, Malformed> {
    let compression = headers.get("compression").and_then(Value::as_str).unwrap_or_default();
    let mut unpacked = Vec::new();
    let body = unpack(compression, body, &mut unpacked, MAX_REQUEST)?;
    value::parse(Format::of(content_type)?, body)
}

/// Whether this worker is meant. A destination that is a text is searched for the name, as Python's `in` does. A matcher
/// other than `glob` (`pcre`) is one that Headcount does not have, and it then keeps silent, as others may be meant.
fn is_for(body: &Map<String, Value>, hostname: &str) -> bool {
    match body.get("destination") {
        Some(Value::Array(names)) if !names.is_empty() => return names.iter().any(|name| name == hostname),
        Some(Value::String(names)) if !names.is_empty() => return names.contains(hostname),
        _ => {}
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("pattern"), text("matcher")) {
        (Some(pattern), Some("glob")) => Glob::fnmatch(pattern).is_ok_and(|pattern| pattern.matches(hostname)),
        (Some(_), Some(_)) => false,
        _ => true,
    }
}
