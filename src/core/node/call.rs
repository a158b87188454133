//! One call of a task while the node has it.

use std::time::Duration;

use serde_json::{Value, json};

use super::spec::TaskSpec;
use super::step::Tag;
use crate::celery::task::{Delivered, TaskMessage, kwargs_repr, tuple_repr};
use crate::time::{Now, Wall};

/// A call that takes more, in bytes, is shown with its arguments as people read them, and shortened: an answer has to go through the
/// broker.
const MAX_SHOWN: usize = 64 << 10;

/// A call that was taken from the queue.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) message: TaskMessage,
    exchange: String,
    routing_key: String,
    redelivered: bool,
    /// What the broker waits to hear about; none once it has heard.
    pub(super) tag: Option<Tag>,
    pub(super) spec: TaskSpec,
}

/// A call that runs.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) call: Call,
    pub(super) since: Now,
    /// Its soft time limit was over, and it was told.
    pub(super) hurried: bool,
}

/// What is known of a call by whoever runs it or looks on.
#[derive(Clone, Debug, PartialEq)]
pub struct CallInfo {
    /// Its id.
    pub id: String,
    /// Its task.
    pub name: String,
    /// How often it has been retried.
    pub retries: u32,
    /// The arguments, for people.
    pub argsrepr: String,
    /// The keyword arguments, for people.
    pub kwargsrepr: String,
    /// The id of the first task of its workflow.
    pub root_id: String,
    /// The id of the task that sent it.
    pub parent_id: Option<String>,
    /// Whether it was handed out before.
    pub redelivered: bool,
    /// Headers that Celery knows nothing of, such as a tracer's.
    pub headers: serde_json::Map<String, Value>,
}

impl Call {
    pub(super) fn new(delivered: Delivered, tag: Tag, spec: TaskSpec) -> Self {
        Self {
            message: delivered.task,
            exchange: delivered.exchange,
            routing_key: delivered.routing_key,
            redelivered: delivered.redelivered,
            tag: Some(tag),
            spec,
        }
    }

    /// About what it takes in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        let beside = size_of::<Self>().saturating_sub(size_of::<TaskMessage>());
        self.message.weight() + beside + self.exchange.capacity() + self.routing_key.capacity()
    }

    pub(super) fn info(&self) -> Box<CallInfo> {
        let message = &self.message;
        Box::new(CallInfo {
            id: message.id.clone(),
            name: message.name.clone(),
            retries: message.retries,
            argsrepr: message.argsrepr(),
            kwargsrepr: message.kwargsrepr(),
            root_id: message.root_id.clone().unwrap_or_else(|| message.id.clone()),
            parent_id: message.parent_id.clone(),
            redelivered: self.redelivered,
            headers: message.others.clone(),
        })
    }

    /// The way that it came, by which it goes again.
    pub(super) fn way(&self, own_queue: &str) -> crate::celery::To {
        if self.routing_key.is_empty() {
            crate::celery::To::Queue(own_queue.to_owned())
        } else {
            crate::celery::To::exchange(self.exchange.as_str(), self.routing_key.as_str())
        }
    }

    pub(super) fn is_expired(&self, now: Wall) -> bool {
        self.message.expires.is_some_and(|expires| now > expires)
    }

    pub(super) fn soft_limit(&self) -> Option<Duration> {
        self.message.soft_time_limit.or(self.spec.soft_time_limit)
    }

    pub(super) fn hard_limit(&self) -> Option<Duration> {
        self.message.time_limit.or(self.spec.time_limit)
    }

    /// As the commands `active`, `reserved` and `scheduled` show it.
    pub(super) fn shown(&self, hostname: &str, running: Option<(Wall, u32)>) -> Value {
        let message = &self.message;
        let (args, kwargs) = if self.weight() > MAX_SHOWN {
            (json!(tuple_repr(&message.args)), json!(kwargs_repr(&message.kwargs)))
        } else {
            (json!(message.args), json!(message.kwargs))
        };
        json!({
            "id": message.id,
            "name": message.shadow.as_ref().unwrap_or(&message.name),
            "args": args,
            "kwargs": kwargs,
            "type": message.name,
            "hostname": hostname,
            "time_start": running.map(|(since, _)| seconds(since)),
            "acknowledged": self.tag.is_none(),
            "delivery_info": {
                "exchange": self.exchange,
                "routing_key": self.routing_key,
                "priority": message.priority,
                "redelivered": self.redelivered,
            },
            "worker_pid": running.map(|(_, pid)| pid),
        })
    }
}

/// Seconds since the Unix epoch, as Celery writes them.
pub(super) fn seconds(at: Wall) -> f64 {
    at.as_micros() as f64 / 1e6
}
