//! Requests to workers as RabbitMQ carries them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headcount_actors::ports::BrokerError;
use headcount_core::celery::control::{self, ReplyTo, Request};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value};

use super::short::short;

/// The body of a request, answered to `reply_queue`.
pub(super) fn body(
    (method, arguments): (&str, Map<String, Value>),
    destination: Option<&[&str]>,
    ticket: &str,
    reply_queue: &str,
) -> Vec<u8> {
    // The default exchange: its routing key is the queue's name, so that no binding is needed.
    let reply_to = ReplyTo {
        exchange: "",
        routing_key: reply_queue,
    };
    control::body(&Request {
        method,
        arguments,
        destination,
        ticket,
        reply_to: Some(reply_to),
    })
}

/// The properties of a request that nobody waits for after `timeout`: the broker drops it then, so that a frozen
/// worker's mailbox does not fill with our pings.
pub(super) fn properties(timeout: Duration) -> Result<BasicProperties, BrokerError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let control::Headers { clock, expires } = control::headers((now + timeout).as_secs_f64());
    let mut headers = FieldTable::default();
    headers.insert("clock".into(), AMQPValue::LongInt(clock));
    headers.insert("expires".into(), AMQPValue::Double(expires));
    let expiration = short(&timeout.as_millis().max(1).to_string())?;
    Ok(BasicProperties::default()
        .with_content_type(control::CONTENT_TYPE.into())
        .with_content_encoding(control::CONTENT_ENCODING.into())
        .with_delivery_mode(control::DELIVERY_MODE)
        .with_priority(0)
        .with_expiration(expiration)
        .with_headers(headers))
}
