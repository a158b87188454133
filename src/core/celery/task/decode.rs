//! From a broker's message to a call of a task.

use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use super::super::compression::unpack;
use super::super::envelope::unbase64;
use super::super::fields::MAX_NAME;
use super::super::format::Format;
use super::super::raw::Malformed;
use super::super::value::{self, MAX_NODES};
use super::message::{Embed, MAX_PRIORITY, TaskMessage};
use super::moment::parse_iso8601;
use crate::time::Wall;

/// The largest body of a task, in bytes, packed or unpacked: its arguments and what is to follow it. What Headcount's own tasks
/// are called with is under 1 KiB; this is what RabbitMQ itself takes, since its version 4. Raising it lets each of those that wait
/// to run take that much memory: as many as the concurrency times the prefetch multiplier.
pub const MAX_TASK: usize = 16 << 20;

/// What the envelope on Redis may take beside the body in base64, in bytes: headers and properties.
const MAX_ENVELOPE: usize = 256 << 10;

/// The longest time limit, in seconds: 100 years. A longer one is a mistake.
const MAX_LIMIT: f64 = 100.0 * 366.0 * 86_400.0;

/// A message as it came from a queue of tasks.
#[derive(Clone, Debug)]
pub enum RawTask<'a> {
    /// From RabbitMQ.
    Amqp(AmqpTask<'a>),
    /// From Redis: an element of the queue's list.
    Redis {
        /// The whole element.
        payload: &'a [u8],
    },
}

/// A message from RabbitMQ, its properties apart.
#[derive(Clone, Debug, Default)]
pub struct AmqpTask<'a> {
    /// `content_type`; empty when absent.
    pub content_type: &'a str,
    /// The headers; none when absent.
    pub headers: Map<String, Value>,
    /// `correlation_id`.
    pub correlation_id: Option<&'a str>,
    /// `reply_to`.
    pub reply_to: Option<&'a str>,
    /// `priority`.
    pub priority: Option<u8>,
    /// The exchange that it was published to.
    pub exchange: &'a str,
    /// Its routing key.
    pub routing_key: &'a str,
    /// Whether it was handed out before.
    pub redelivered: bool,
    /// The body as it came.
    pub body: &'a [u8],
}

/// A call of a task, and how it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    /// The call.
    pub task: TaskMessage,
    /// The exchange that it was published to; empty for the default exchange.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// Whether it was handed out before, and not acknowledged.
    pub redelivered: bool,
}

/// Why a message is no call of a task. Celery takes such a message out of the queue, and so does Headcount.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct NotATask {
    /// The id that it bears, if that can be read.
    pub id: Option<String>,
    /// The task that it names, if that can be read.
    pub name: Option<String>,
    /// Who waits for it.
    pub asker: Box<Asker>,
    /// What is wrong.
    pub why: Why,
    /// Whether Celery acknowledges it (it could not decode it) rather than rejecting it, which on RabbitMQ may send it to a
    /// dead-letter exchange.
    pub acknowledged: bool,
}

/// Who waits for what a task comes to, as far as that can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The queue that its result goes to, where the result backend is `rpc`.
    pub reply_to: Option<String>,
    /// What its result is known by there; its id where there is none.
    pub correlation_id: Option<String>,
    /// Nobody does.
    pub ignore_result: bool,
    /// The id of the task that sent it.
    pub parent_id: Option<String>,
    /// The id of the group that it belongs to.
    pub group: Option<String>,
}

impl Asker {
    /// The call that it waits for, as far as who waits is concerned.
    pub fn call(&self, id: &str, name: &str) -> TaskMessage {
        TaskMessage {
            reply_to: self.reply_to.clone(),
            correlation_id: self.correlation_id.clone(),
            ignore_result: self.ignore_result,
            parent_id: self.parent_id.clone(),
            group: self.group.clone(),
            ..TaskMessage::new(id, name)
        }
    }
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Why {
    /// It cannot be read at all.
    #[error("{}", of_a_task(*.0))]
    Malformed(#[from] Malformed),
    /// It has no header `task`: not Celery's, or of protocol 1 (Celery 3).
    #[error("it has no header `task`: not a message of Celery's protocol 2")]
    NoTask,
    /// A header is missing, or is not what it should be.
    #[error("the header `{0}` is not what it should be")]
    Header(&'static str),
    /// Its body is not `[args, kwargs, embed]`.
    #[error("its body is not [args, kwargs, embed]")]
    Body,
}

/// Reads a message.
///
/// # Errors
/// [`NotATask`], with as much of it as can be read.
pub fn decode(raw: RawTask<'_>) -> Result<Delivered, NotATask> {
    match raw {
        RawTask::Amqp(amqp) => from_amqp(amqp),
        RawTask::Redis { payload } => from_redis(payload),
    }
}

/// In words, as it is said of a task: the reader of events, whose words these are, has other limits and another setting.
fn of_a_task(malformed: Malformed) -> String {
    match malformed {
        Malformed::TooLarge => {
            let most = MAX_TASK >> 20;
            format!("its body is larger than a node reads: more than {most} MiB, or more than {MAX_NODES} values")
        }
        Malformed::Pickle => {
            "pickled: pickle can run code when it is read, so Headcount never reads it; set task_serializer \
                              to json, msgpack or yaml"
                .to_owned()
        }
        other => other.to_string(),
    }
}

fn from_amqp(amqp: AmqpTask<'_>) -> Result<Delivered, NotATask> {
    let mut headers = Headers::new(amqp.headers);
    headers.asker.reply_to = some_text(amqp.reply_to);
    headers.asker.correlation_id = some_text(amqp.correlation_id);
    let mut task = headers.begin()?;
    let mut read = || -> Result<(), Why> {
        if amqp.body.len() > MAX_TASK {
            return Err(Malformed::TooLarge.into());
        }
        headers.rest(&mut task)?;
        body(&mut task, amqp.content_type, headers.compression(), amqp.body)
    };
    named(read(), &task.id.clone(), &task.name.clone(), &headers.asker)?;
    task.correlation_id = amqp.correlation_id.map(str::to_owned);
    task.reply_to = some_text(amqp.reply_to);
    task.priority = amqp.priority;
    Ok(Delivered {
        task,
        exchange: amqp.exchange.to_owned(),
        routing_key: amqp.routing_key.to_owned(),
        redelivered: amqp.redelivered,
    })
}

fn from_redis(payload: &[u8]) -> Result<Delivered, NotATask> {
    let (mut envelope, mut headers, too_large) = open(payload).map_err(nameless)?;
    let properties = object(envelope.remove("properties"));
    let text = |key: &str| some_text(properties.get(key).and_then(Value::as_str));
    headers.asker.reply_to = text("reply_to");
    headers.asker.correlation_id = text("correlation_id");
    let mut task = headers.begin()?;
    let info = object(properties.get("delivery_info").cloned());
    let mut read = || -> Result<(), Why> {
        if too_large {
            return Err(Malformed::TooLarge.into());
        }
        headers.rest(&mut task)?;
        let text = |key: &str| envelope.get(key).and_then(Value::as_str).unwrap_or_default();
        let encoding = properties.get("body_encoding").and_then(Value::as_str);
        let mut scratch = Vec::new();
        let bytes = unbase64(text("body"), encoding.unwrap_or_default(), &mut scratch)?;
        if bytes.len() > MAX_TASK {
            return Err(Malformed::TooLarge.into());
        }
        body(&mut task, text("content-type"), headers.compression(), bytes)
    };
    named(read(), &task.id.clone(), &task.name.clone(), &headers.asker)?;
    let text = |from: &Map<String, Value>, key: &str| from.get(key).and_then(Value::as_str).map(str::to_owned);
    task.correlation_id = text(&properties, "correlation_id");
    task.reply_to = some_text(text(&properties, "reply_to").as_deref());
    let priority = properties.get("priority").and_then(Value::as_u64);
    task.priority = priority.map(|priority| u8::try_from(priority).unwrap_or(MAX_PRIORITY).min(MAX_PRIORITY));
    let redelivered = |from: &Map<String, Value>| from.get("redelivered") == Some(&Value::Bool(true));
    Ok(Delivered {
        exchange: text(&info, "exchange").unwrap_or_default(),
        routing_key: text(&info, "routing_key").unwrap_or_default(),
        redelivered: redelivered(&info) || headers.redelivered,
        task,
    })
}

/// The envelope, and whether it is too large: then it is without its body, which is not even copied.
fn open(payload: &[u8]) -> Result<(Map<String, Value>, Headers, bool), Why> {
    let too_large = payload.len() > MAX_TASK.div_ceil(3) * 4 + MAX_ENVELOPE;
    let wanted = |key: &str| !too_large || matches!(key, "headers" | "properties");
    let Ok(mut envelope) = value::members(payload, wanted) else {
        let why = if too_large {
            Malformed::TooLarge
        } else {
            Malformed::Envelope
        };
        return Err(why.into());
    };
    let headers = Headers::new(object(envelope.remove("headers")));
    Ok((envelope, headers, too_large))
}

/// The headers, from which the known ones are taken.
struct Headers {
    headers: Map<String, Value>,
    compression: String,
    /// kombu notes here what it put back on Redis.
    redelivered: bool,
    asker: Asker,
}

impl Headers {
    fn new(mut headers: Map<String, Value>) -> Self {
        let compression = match headers.remove("compression") {
            Some(Value::String(compression)) => compression,
            _ => String::new(),
        };
        let redelivered = headers.remove("redelivered") == Some(Value::Bool(true));
        let text = |key: &str| {
            let text = headers.get(key).and_then(Value::as_str);
            some_text(text.filter(|text| text.len() <= MAX_NAME))
        };
        let asker = Asker {
            ignore_result: headers.get("ignore_result") == Some(&Value::Bool(true)),
            parent_id: text("parent_id"),
            group: text("group"),
            ..Asker::default()
        };
        Self {
            headers,
            compression,
            redelivered,
            asker,
        }
    }

    fn compression(&self) -> &str {
        &self.compression
    }

    /// Who it is: without these there is nobody to tell about the rest.
    fn begin(&mut self) -> Result<TaskMessage, NotATask> {
        let name = match self.headers.remove("task") {
            Some(Value::String(name)) if (1..=MAX_NAME).contains(&name.len()) => name,
            Some(_) => return Err(nameless(Why::Header("task"))),
            None => return Err(nameless(Why::NoTask)),
        };
        match self.headers.remove("id") {
            Some(Value::String(id)) if (1..=MAX_NAME).contains(&id.len()) => Ok(TaskMessage::new(id, name)),
            _ => Err(NotATask {
                name: Some(name),
                ..nameless(Why::Header("id"))
            }),
        }
    }

    fn rest(&mut self, task: &mut TaskMessage) -> Result<(), Why> {
        task.shadow = self.text("shadow")?;
        task.eta = self.moment("eta")?;
        task.expires = self.moment("expires")?;
        task.group = self.text("group")?;
        task.group_index = self.whole("group_index")?;
        let retries = self.whole("retries")?.unwrap_or(0);
        task.retries = u32::try_from(retries).map_err(|_| Why::Header("retries"))?;
        (task.time_limit, task.soft_time_limit) = self.limits()?;
        task.root_id = self.text("root_id")?;
        task.parent_id = self.text("parent_id")?;
        task.argsrepr = self.shown("argsrepr");
        task.kwargsrepr = self.shown("kwargsrepr");
        task.origin = self.shown("origin");
        task.ignore_result = self.headers.remove("ignore_result") == Some(Value::Bool(true));
        task.replaced_task_nesting = self.whole("replaced_task_nesting")?.unwrap_or(0);
        task.stamped_headers = match self.headers.remove("stamped_headers") {
            Some(Value::Array(names)) => Some(
                names
                    .into_iter()
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        };
        task.stamps = object(self.headers.remove("stamps"));
        self.headers.remove("lang");
        task.others = std::mem::take(&mut self.headers);
        Ok(())
    }

    /// A name; none where it is null or empty.
    fn text(&mut self, key: &'static str) -> Result<Option<String>, Why> {
        match self.headers.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_NAME => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(_) => Err(Why::Header(key)),
        }
    }

    /// What is only shown is not worth a refusal.
    fn shown(&mut self, key: &'static str) -> Option<String> {
        match self.headers.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn whole(&mut self, key: &'static str) -> Result<Option<u64>, Why> {
        match self.headers.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(number) => number.as_u64().map(Some).ok_or(Why::Header(key)),
        }
    }

    fn moment(&mut self, key: &'static str) -> Result<Option<Wall>, Why> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => parse_iso8601(&text).map(Some).ok_or(Why::Header(key)),
        }
    }

    /// `timelimit`: the hard and the soft one.
    fn limits(&mut self) -> Result<(Option<Duration>, Option<Duration>), Why> {
        let wrong = Why::Header("timelimit");
        let limit = |value: &Value| match value {
            Value::Null => Ok(None),
            Value::Number(number) => match number.as_f64() {
                // As in Celery, none at all.
                Some(0.0) => Ok(None),
                Some(seconds) if (0.0..=MAX_LIMIT).contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
                _ => Err(wrong.clone()),
            },
            _ => Err(wrong.clone()),
        };
        match self.headers.remove("timelimit") {
            None | Some(Value::Null) => Ok((None, None)),
            Some(Value::Array(limits)) => match limits.as_slice() {
                [] => Ok((None, None)),
                [hard, soft] => Ok((limit(hard)?, limit(soft)?)),
                _ => Err(wrong),
            },
            Some(_) => Err(wrong),
        }
    }
}

fn body(task: &mut TaskMessage, content_type: &str, compression: &str, bytes: &[u8]) -> Result<(), Why> {
    let mut unpacked = Vec::new();
    let bytes = unpack(compression, bytes, &mut unpacked, MAX_TASK)?;
    let Value::Array(parts) = value::parse(Format::of(content_type)?, bytes)? else {
        return Err(Why::Body);
    };
    let Ok([args, kwargs, embed]) = <[Value; 3]>::try_from(parts) else {
        return Err(Why::Body);
    };
    task.args = match args {
        Value::Array(args) => args,
        Value::Null => Vec::new(),
        _ => return Err(Why::Body),
    };
    task.kwargs = match kwargs {
        Value::Object(kwargs) => kwargs,
        Value::Null => Map::new(),
        _ => return Err(Why::Body),
    };
    let mut embed = match embed {
        Value::Object(embed) => embed,
        Value::Null => Map::new(),
        _ => return Err(Why::Body),
    };
    let mut list = |key: &str| match embed.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(one @ Value::Object(_)) => Ok(Some(vec![one])),
        Some(_) => Err(Why::Body),
    };
    task.embed = Embed {
        callbacks: list("callbacks")?,
        errbacks: list("errbacks")?,
        chain: list("chain")?,
        chord: embed.remove("chord").filter(|chord| !chord.is_null()),
    };
    Ok(())
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn some_text(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn nameless(why: Why) -> NotATask {
    // What is not even a message is decoded by nobody; a message without a task is rejected.
    let acknowledged = matches!(why, Why::Malformed(_));
    NotATask {
        id: None,
        name: None,
        asker: Box::default(),
        why,
        acknowledged,
    }
}

fn named<T>(read: Result<T, Why>, id: &str, name: &str, asker: &Asker) -> Result<T, NotATask> {
    read.map_err(|why| {
        // A content type that is not accepted is rejected, as are wrong headers and bodies of a wrong shape; so is what is too
        // large here, and sound elsewhere: it may be kept among the dead letters.
        let undecodable = matches!(
            why,
            Why::Malformed(Malformed::Body | Malformed::Compression | Malformed::Envelope)
        );
        NotATask {
            id: Some(id.to_owned()),
            name: Some(name.to_owned()),
            asker: Box::new(asker.clone()),
            why,
            acknowledged: undecodable,
        }
    })
}
