//! A message on its way out: what is the same for an event, a reply, a result and a task, and what Redis wraps around it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The content type of everything that Headcount sends.
pub const CONTENT_TYPE: &str = "application/json";

/// The content encoding of everything that Headcount sends.
pub const CONTENT_ENCODING: &str = "utf-8";

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// To everybody who listens to events, with this routing key.
    Events(String),
    /// Straight into a queue.
    Queue(String),
    /// To an exchange, which knows its queues.
    Exchange {
        /// Its name.
        name: String,
        /// The routing key.
        routing_key: String,
    },
}

impl To {
    /// Where an exchange and a routing key lead: without an exchange, the routing key is a queue's name.
    pub fn exchange(name: impl Into<String>, routing_key: impl Into<String>) -> Self {
        let name = name.into();
        if name.is_empty() {
            To::Queue(routing_key.into())
        } else {
            To::Exchange {
                name,
                routing_key: routing_key.into(),
            }
        }
    }

    /// Exchange and routing key, as AMQP has them.
    pub fn address<'a>(&'a self, event_exchange: &'a str) -> (&'a str, &'a str) {
        match self {
            To::Events(routing_key) => (event_exchange, routing_key),
            To::Queue(name) => ("", name),
            To::Exchange { name, routing_key } => (name, routing_key),
        }
    }
}

/// Whether the broker keeps a message over its own restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// 1: in memory.
    Transient = 1,
    /// 2: on the disk.
    Persistent = 2,
}

/// A message on its way out; its body is JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Where it goes.
    pub to: To,
    /// Its headers.
    pub headers: Map<String, Value>,
    /// The property `correlation_id`.
    pub correlation_id: Option<String>,
    /// The property `reply_to`.
    pub reply_to: Option<String>,
    /// The property `delivery_mode`.
    pub keep: Keep,
    /// The property `priority`.
    pub priority: u8,
    /// Its body.
    pub body: Vec<u8>,
}

impl Publication {
    /// The payload on Redis: kombu's envelope. `delivery_tag` is any string that no other message bears, such as a new UUID:
    /// without it a worker drops its connection.
    pub fn redis_payload(&self, event_exchange: &str, delivery_tag: &str) -> Vec<u8> {
        let (exchange, routing_key) = self.to.address(event_exchange);
        let mut properties = json!({
            "delivery_mode": self.keep as u8,
            "delivery_info": {"exchange": exchange, "routing_key": routing_key},
            "priority": self.priority,
            "body_encoding": "base64",
            "delivery_tag": delivery_tag,
        });
        if let Some(properties) = properties.as_object_mut() {
            let also = [("correlation_id", &self.correlation_id), ("reply_to", &self.reply_to)];
            let given = also.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
            properties.extend(given.map(|(key, value)| (key.to_owned(), json!(value))));
        }
        json!({
            "body": STANDARD.encode(&self.body),
            "content-encoding": CONTENT_ENCODING,
            "content-type": CONTENT_TYPE,
            "headers": self.headers,
            "properties": properties,
        })
        .to_string()
        .into_bytes()
    }
}
