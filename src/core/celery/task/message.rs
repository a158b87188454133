//! One call of a task, and what it looks like on the wire.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::publication::{Keep, Publication, To};
use super::moment::iso8601;
use super::repr::{kwargs_repr, tuple_repr};
use crate::time::Wall;

pub use super::super::publication::{CONTENT_ENCODING, CONTENT_TYPE};

/// The property `delivery_mode`: 2, so that RabbitMQ keeps it over a restart, as Celery's default is.
pub const DELIVERY_MODE: u8 = 2;

/// The highest priority. On RabbitMQ it is the most urgent, on Redis 0 is: that is kombu's, and left as it is.
pub const MAX_PRIORITY: u8 = 9;

/// One call of a task: protocol 2.
///
/// What a `None` stands for is what Celery's own producer sends: null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskMessage {
    /// Its id, a UUID in Celery's own producers.
    pub id: String,
    /// The name that the task is registered under, such as `sms.purge`.
    pub name: String,
    /// The name to show instead.
    pub shadow: Option<String>,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map<String, Value>,
    /// What is to follow it.
    pub embed: Embed,
    /// Not to be run before.
    pub eta: Option<Wall>,
    /// Not to be run after.
    pub expires: Option<Wall>,
    /// How often it has been retried.
    pub retries: u32,
    /// After so long it is ended.
    pub time_limit: Option<Duration>,
    /// After so long it is told to end.
    pub soft_time_limit: Option<Duration>,
    /// The id of the first task of the workflow; its own where there is none.
    pub root_id: Option<String>,
    /// The id of the task that sent this one.
    pub parent_id: Option<String>,
    /// The id of the group that it belongs to.
    pub group: Option<String>,
    /// Its place in that group.
    pub group_index: Option<u64>,
    /// The positional arguments for people; made of [`TaskMessage::args`] where there is none.
    pub argsrepr: Option<String>,
    /// The keyword arguments for people, likewise.
    pub kwargsrepr: Option<String>,
    /// Who sent it, such as `gen123@host1`.
    pub origin: Option<String>,
    /// Nobody wants its result.
    pub ignore_result: bool,
    /// How often a task in its place has replaced itself.
    pub replaced_task_nesting: u64,
    /// The names of its stamps.
    pub stamped_headers: Option<Vec<String>>,
    /// Its stamps.
    pub stamps: Map<String, Value>,
    /// Headers that Celery knows nothing of, such as those of a tracer: they stay with the task.
    pub others: Map<String, Value>,
    /// The queue that its result goes to, where the result backend is `rpc`.
    pub reply_to: Option<String>,
    /// What its result is known by, where the result backend is `rpc`; its id where there is none.
    pub correlation_id: Option<String>,
    /// 0 to [`MAX_PRIORITY`].
    pub priority: Option<u8>,
}

/// What follows a task: signatures, as Celery's canvas writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embed {
    /// Tasks to call with its result.
    pub callbacks: Option<Vec<Value>>,
    /// Tasks to call with its failure.
    pub errbacks: Option<Vec<Value>>,
    /// The rest of its chain, the next one last.
    pub chain: Option<Vec<Value>>,
    /// The task to call when all of its group are done.
    pub chord: Option<Value>,
}

impl TaskMessage {
    /// A call without arguments, at once and without an end.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// The headers, the same on both brokers.
    pub fn headers(&self) -> Map<String, Value> {
        let mut headers = self.others.clone();
        let seconds = |limit: Option<Duration>| limit.map(|limit| json!(limit.as_secs_f64()));
        let known = [
            ("lang", json!("py")),
            ("task", json!(self.name)),
            ("id", json!(self.id)),
            ("shadow", json!(self.shadow)),
            ("eta", json!(self.eta.map(iso8601))),
            ("expires", json!(self.expires.map(iso8601))),
            ("group", json!(self.group)),
            ("group_index", json!(self.group_index)),
            ("retries", json!(self.retries)),
            (
                "timelimit",
                json!([seconds(self.time_limit), seconds(self.soft_time_limit)]),
            ),
            ("root_id", json!(self.root_id.as_deref().unwrap_or(&self.id))),
            ("parent_id", json!(self.parent_id)),
            ("argsrepr", json!(self.argsrepr())),
            ("kwargsrepr", json!(self.kwargsrepr())),
            ("origin", json!(self.origin)),
            ("ignore_result", json!(self.ignore_result)),
            ("replaced_task_nesting", json!(self.replaced_task_nesting)),
            ("stamped_headers", json!(self.stamped_headers)),
            ("stamps", json!(self.stamps)),
        ];
        headers.extend(known.map(|(key, value)| (key.to_owned(), value)));
        headers
    }

    /// The body, the same on both brokers: `[args, kwargs, embed]` in JSON.
    pub fn body(&self) -> Vec<u8> {
        let embed = json!({
            "callbacks": self.embed.callbacks,
            "errbacks": self.embed.errbacks,
            "chain": self.embed.chain,
            "chord": self.embed.chord,
        });
        json!([self.args, self.kwargs, embed]).to_string().into_bytes()
    }

    /// The property `correlation_id`.
    pub fn correlation_id(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(&self.id)
    }

    /// The property `reply_to`: Celery sends an empty one where there is none.
    pub fn reply_to(&self) -> &str {
        self.reply_to.as_deref().unwrap_or_default()
    }

    /// The property `priority`.
    pub fn priority(&self) -> u8 {
        self.priority.unwrap_or_default()
    }

    /// The positional arguments for people, as Python shows a tuple.
    pub fn argsrepr(&self) -> String {
        self.argsrepr.clone().unwrap_or_else(|| tuple_repr(&self.args))
    }

    /// The keyword arguments for people, as Python shows a dictionary.
    pub fn kwargsrepr(&self) -> String {
        self.kwargsrepr.clone().unwrap_or_else(|| kwargs_repr(&self.kwargs))
    }

    /// The message on its way to `to`.
    pub fn publication(&self, to: To) -> Publication {
        Publication {
            to,
            headers: self.headers(),
            correlation_id: Some(self.correlation_id().to_owned()),
            reply_to: Some(self.reply_to().to_owned()),
            keep: Keep::Persistent,
            priority: self.priority(),
            body: self.body(),
        }
    }

    /// The element of a list in Redis: kombu's envelope around the body. Pushed (LPUSH) to the list of the queue and the
    /// priority ([`crate::celery::WireSettings::queue_list`]).
    ///
    /// `exchange` is empty where the queue is named directly; `delivery_tag` is any string that no other message bears,
    /// such as a new UUID.
    pub fn redis_payload(&self, exchange: &str, routing_key: &str, delivery_tag: &str) -> Vec<u8> {
        self.publication(To::exchange(exchange, routing_key))
            .redis_payload("", delivery_tag)
    }
}
