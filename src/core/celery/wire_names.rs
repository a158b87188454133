//! Every name that Celery and kombu put on the wire, from the settings that change them.
//!
//! Source: kombu 5.7, `transport/redis.py` (topics, key prefixes, priority lists), `pidbox.py` (mailboxes); Celery 5.7,
//! `events/event.py`. On Redis `global_keyprefix` stands before every key and every channel, inside no member.

use serde::{Deserialize, Deserializer, Serialize};

/// Celery's settings that change names on the wire. The defaults are Celery's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WireSettings {
    /// Celery's `event_exchange`.
    pub event_exchange: String,
    /// Celery's `event_queue_prefix`.
    pub event_queue_prefix: String,
    /// Celery's `control_exchange`.
    pub control_exchange: String,
    /// The transport option `global_keyprefix` (Redis).
    pub global_keyprefix: String,
    /// The transport option `fanout_prefix` (Redis).
    pub fanout_prefix: FanoutPrefix,
    /// The transport option `fanout_patterns` (Redis): whether the routing key is part of the channel.
    pub fanout_patterns: bool,
    /// The transport option `priority_steps` (Redis): a queue is one list for each. Never empty.
    #[serde(deserialize_with = "some_steps")]
    pub priority_steps: Vec<u8>,
    /// The transport option `sep` (Redis): between a queue and its priority, and inside the members of bindings.
    pub sep: String,
}

impl Default for WireSettings {
    fn default() -> Self {
        Self {
            event_exchange: "celeryev".into(),
            event_queue_prefix: "celeryev".into(),
            control_exchange: "celery".into(),
            global_keyprefix: String::new(),
            fanout_prefix: FanoutPrefix::Enabled(true),
            fanout_patterns: true,
            priority_steps: vec![0, 3, 6, 9],
            sep: "\x06\x16".into(),
        }
    }
}

/// What stands before the name of a fanout exchange in a Redis channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum FanoutPrefix {
    /// `/{db}.` (Celery's default), or nothing.
    Enabled(bool),
    /// Another prefix. kombu fills in `{db}`, and wants a slash first and a dot last. (Before kombu 5.4 a Sentinel's
    /// clients did not fill it in: `/{{db}}.` is the prefix of those.)
    Custom(String),
}

impl<'de> Deserialize<'de> for FanoutPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected true, false, or a prefix such as \"/{db}.\"")]
        enum Loose {
            Enabled(bool),
            Custom(String),
        }
        match Loose::deserialize(deserializer)? {
            Loose::Enabled(enabled) => Ok(FanoutPrefix::Enabled(enabled)),
            // An empty string is false in Python.
            Loose::Custom(prefix) if prefix.is_empty() => Ok(FanoutPrefix::Enabled(false)),
            Loose::Custom(prefix) => match format(&prefix, 0) {
                Some(_) => Ok(FanoutPrefix::Custom(prefix)),
                None => Err(serde::de::Error::custom(
                    "expected a prefix with no other braces than {db}, such as \"/{db}.\" (a brace of its own is doubled)",
                )),
            },
        }
    }
}

fn some_steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let steps = Vec::deserialize(deserializer)?;
    if steps.is_empty() {
        return Err(serde::de::Error::custom(
            "expected at least one step, such as [0, 3, 6, 9]",
        ));
    }
    Ok(steps)
}

impl FanoutPrefix {
    fn for_db(&self, db: u32) -> String {
        match self {
            FanoutPrefix::Enabled(false) => String::new(),
            FanoutPrefix::Enabled(true) => format!("/{db}."),
            FanoutPrefix::Custom(prefix) => format(prefix, db).unwrap_or_else(|| prefix.clone()),
        }
    }
}

/// Python's `prefix.format(db=db)`; none where Python would raise an error.
fn format(prefix: &str, db: u32) -> Option<String> {
    let mut out = String::with_capacity(prefix.len());
    let mut rest = prefix;
    while let Some(brace) = rest.find(['{', '}']) {
        let (plain, from) = rest.split_at(brace);
        out.push_str(plain);
        rest = if let Some(after) = from.strip_prefix("{{") {
            out.push('{');
            after
        } else if let Some(after) = from.strip_prefix("}}") {
            out.push('}');
            after
        } else {
            out.push_str(&db.to_string());
            from.strip_prefix("{db}")?
        };
    }
    out.push_str(rest);
    Some(out)
}

/// Names that are the same on both brokers.
impl WireSettings {
    /// The exchange that requests to all workers go to (fanout), such as `celery.pidbox`.
    pub fn control_exchange(&self) -> String {
        format!("{}.pidbox", self.control_exchange)
    }

    /// The exchange that replies come through (direct), such as `reply.celery.pidbox`.
    pub fn reply_exchange(&self) -> String {
        format!("reply.{}.pidbox", self.control_exchange)
    }

    /// The queue that replies for `oid` wait in, such as `<oid>.reply.celery.pidbox`.
    pub fn reply_queue(&self, oid: &str) -> String {
        format!("{oid}.{}", self.reply_exchange())
    }

    /// The queue that one worker's requests wait in, such as `sms@host1.celery.pidbox`.
    pub fn mailbox(&self, hostname: &str) -> String {
        format!("{hostname}.{}.pidbox", self.control_exchange)
    }

    /// A queue for events, such as `celeryev.<oid>`.
    pub fn event_queue(&self, oid: &str) -> String {
        format!("{}.{oid}", self.event_queue_prefix)
    }
}

/// Names on Redis.
impl WireSettings {
    /// The pattern to PSUBSCRIBE to for all events, such as `/0.celeryev/*`. Where `fanout_patterns` is off it is the
    /// bare channel. Characters that a pattern would take for wildcards are escaped.
    pub fn event_pattern(&self, db: u32) -> String {
        let channel = escape_glob(&self.channel(db, &self.event_exchange));
        if self.fanout_patterns { channel + "/*" } else { channel }
    }

    /// The channel of one event, such as `/0.celeryev/worker.heartbeat`.
    pub fn event_channel(&self, db: u32, routing_key: &str) -> String {
        let channel = self.channel(db, &self.event_exchange);
        if self.fanout_patterns && !routing_key.is_empty() {
            format!("{channel}/{routing_key}")
        } else {
            channel
        }
    }

    /// The channel to PUBLISH requests to, such as `/0.celery.pidbox`.
    pub fn control_channel(&self, db: u32) -> String {
        self.channel(db, &self.control_exchange())
    }

    /// The set of the bindings of the reply exchange, such as `_kombu.binding.reply.celery.pidbox`.
    pub fn reply_binding_key(&self) -> String {
        self.key(&format!("_kombu.binding.{}", self.reply_exchange()))
    }

    /// The member of that set that leads replies for `oid` to [`WireSettings::reply_queue`].
    pub fn reply_binding_member(&self, oid: &str) -> String {
        [oid, "", &self.reply_queue(oid)].join(&self.sep)
    }

    /// The list that replies for `oid` are pushed to. They come without priority.
    pub fn reply_list(&self, oid: &str) -> String {
        self.key(&self.reply_queue(oid))
    }

    /// The lists that together are a queue: one for each priority step, the plain name for step 0.
    pub fn queue_lists(&self, queue: &str) -> Vec<String> {
        let list = |step: &u8| match step {
            0 => self.key(queue),
            step => self.key(&format!("{queue}{}{step}", self.sep)),
        };
        self.priority_steps.iter().map(list).collect()
    }

    /// The list that a task of this priority is pushed to: that of the highest step which is not above it.
    pub fn queue_list(&self, queue: &str, priority: u8) -> String {
        let step = self.priority_steps.iter().rposition(|step| *step <= priority);
        // As in kombu, which counts from the end: below all steps is the last one.
        let step = step.unwrap_or(self.priority_steps.len().saturating_sub(1));
        self.queue_lists(queue).into_iter().nth(step).unwrap_or_default()
    }

    /// The set of the bindings of an exchange, such as `_kombu.binding.sms`.
    pub fn binding_key(&self, exchange: &str) -> String {
        self.key(&format!("_kombu.binding.{exchange}"))
    }

    /// The set that keeps kombu from sweeping away the bindings of an exchange whose queues do not expire.
    pub fn permanent_key(&self, exchange: &str) -> String {
        self.key(&format!("_kombu.binding_permanent.{exchange}"))
    }

    /// The member of those sets that leads what bears `routing_key` to `queue`.
    pub fn binding_member(&self, routing_key: &str, queue: &str) -> String {
        [routing_key, "", queue].join(&self.sep)
    }

    /// Routing key and queue of a member; none if it is none.
    pub fn read_binding<'a>(&self, member: &'a str) -> Option<(&'a str, &'a str)> {
        let mut parts = member.split(self.sep.as_str());
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(routing_key), Some(_), Some(queue), None) => Some((routing_key, queue)),
            _ => None,
        }
    }

    /// The hash of the messages that were taken and are not settled, by their delivery tags.
    pub fn unacked_key(&self) -> String {
        self.key("unacked")
    }

    /// The sorted set of their delivery tags, by the time when they were taken (seconds since the Unix epoch).
    pub fn unacked_index_key(&self) -> String {
        self.key("unacked_index")
    }

    fn channel(&self, db: u32, exchange: &str) -> String {
        self.key(&format!("{}{exchange}", self.fanout_prefix.for_db(db)))
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.global_keyprefix)
    }
}

/// The pattern that matches this text and nothing else.
fn escape_glob(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
