//! `[[node]]`.

use std::time::Duration;

use compact_str::CompactString;
use headcount_core::node::MAX_CONCURRENCY;
use headcount_core::span::Span;
use headcount_edge::brokers::{self, MAX_WIRE_NAME};
use headcount_edge::results;
use serde::Deserialize;

use super::Broker;
use super::spot::Spot;

/// Headcount as a Celery node of its own.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name of its broker.
    pub broker: CompactString,
    /// The queue that it consumes.
    pub queue: String,
    /// Its name: the whole one, or the part before the `@`.
    pub name: String,
    /// How many tasks run at once.
    pub concurrency: u16,
    /// How many are taken for each that can run.
    pub prefetch_multiplier: u16,
    /// Whether task events are sent.
    pub task_events: bool,
    /// Whether the command `shutdown` makes it leave.
    pub obey_shutdown: bool,
    /// Where results go.
    pub results: ResultBackend,
    /// How long results are kept in Redis.
    pub result_expires: Duration,
    /// On Redis, after so long what somebody has taken and never settled is taken over.
    pub visibility_timeout: Duration,
    /// On RabbitMQ, the queue's `x-max-priority`.
    pub max_priority: Option<u8>,
}

/// Where results of tasks go.
#[derive(Clone, PartialEq, Eq)]
pub enum ResultBackend {
    /// Where they most likely are looked for: on RabbitMQ to the queue that the message names, on Redis into the broker itself.
    Auto,
    /// To the queue that the message names.
    Rpc,
    /// Into the Redis at this URL.
    Redis(String),
    /// Nowhere.
    None,
}

impl std::fmt::Debug for ResultBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.write_str(match self {
            ResultBackend::Auto => "Auto",
            ResultBackend::Rpc => "Rpc",
            ResultBackend::Redis(_) => "Redis(**)",
            ResultBackend::None => "None",
        })
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeTable {
    broker: Option<CompactString>,
    #[serde(default = "queue")]
    queue: String,
    #[serde(default = "name")]
    name: String,
    #[serde(default = "concurrency")]
    concurrency: u16,
    #[serde(default = "prefetch_multiplier")]
    prefetch_multiplier: u16,
    #[serde(default)]
    task_events: bool,
    #[serde(default)]
    obey_shutdown: bool,
    #[serde(default = "result_backend")]
    result_backend: String,
    #[serde(default = "result_expires")]
    result_expires: Span,
    #[serde(default = "visibility_timeout")]
    visibility_timeout: Span,
    max_priority: Option<u8>,
}

fn queue() -> String {
    "headcount".to_owned()
}

fn name() -> String {
    "headcount".to_owned()
}

/// Headcount's own tasks wait rather than reckon.
const fn concurrency() -> u16 {
    4
}

/// Celery's `worker_prefetch_multiplier`, by default.
const fn prefetch_multiplier() -> u16 {
    4
}

fn result_backend() -> String {
    "auto".to_owned()
}

const fn result_expires() -> Span {
    Span::from_secs(results::EXPIRES.as_secs())
}

/// kombu's, by default.
const fn visibility_timeout() -> Span {
    Span::from_secs(3_600)
}

/// A shorter visibility timeout would be over before a busy machine has shown that it still holds a task.
const MIN_VISIBILITY: Span = Span::from_secs(1);

/// Priorities of RabbitMQ's queues beyond this cost it memory and speed; Celery's are 0 to 9.
const MAX_PRIORITY: u8 = 10;

impl NodeTable {
    pub(super) fn check(
        self,
        brokers: &[Broker],
        names: &[CompactString],
        nodes: &[Node],
        spot: &mut Spot<'_>,
    ) -> Node {
        let broker = self.find_broker(names, spot);
        let of_nodes = brokers.iter().find(|other| other.config.name == broker.as_str());
        if of_nodes.is_some_and(|broker| broker.config.kind == brokers::Kind::Flower) {
            spot.say(
                "broker",
                "a Flower is watched, and cannot be joined: expected a RabbitMQ or a Redis",
            );
        }
        for (key, text) in [("queue", &self.queue), ("name", &self.name)] {
            // With what Celery makes of it, it has to fit into AMQP's names.
            const ROOM: usize = MAX_WIRE_NAME - 64;
            let sound = (1..=ROOM).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace());
            if !sound {
                spot.expected(key, &format!("1 to {ROOM} bytes without spaces"), text);
            }
        }
        if nodes
            .iter()
            .any(|other| other.broker == broker && other.name == self.name)
        {
            spot.say(
                "name",
                format!("there is another node named {:?} on this broker", self.name),
            );
        }
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            spot.say(
                "concurrency",
                format!("expected 1 to {MAX_CONCURRENCY}, found {}", self.concurrency),
            );
        }
        if self.prefetch_multiplier == 0 {
            spot.say("prefetch_multiplier", "expected at least 1, found 0");
        }
        if self
            .max_priority
            .is_some_and(|most| !(1..=MAX_PRIORITY).contains(&most))
        {
            spot.say("max_priority", format!("expected 1 to {MAX_PRIORITY}"));
        }
        if self.visibility_timeout < MIN_VISIBILITY {
            let found = self.visibility_timeout;
            spot.say(
                "visibility_timeout",
                format!("expected at least {MIN_VISIBILITY}, found {found}"),
            );
        }
        Node {
            results: self.results(spot),
            broker,
            queue: self.queue,
            name: self.name,
            concurrency: self.concurrency,
            prefetch_multiplier: self.prefetch_multiplier,
            task_events: self.task_events,
            obey_shutdown: self.obey_shutdown,
            result_expires: self.result_expires.duration(),
            visibility_timeout: self.visibility_timeout.duration(),
            max_priority: self.max_priority,
        }
    }

    fn find_broker(&self, names: &[CompactString], spot: &mut Spot<'_>) -> CompactString {
        match (&self.broker, names) {
            (Some(broker), _) if names.contains(broker) => broker.clone(),
            (Some(broker), _) => {
                let message = format!("there is no broker named {broker:?}");
                spot.say_plainly("broker", &message, "there is no broker of this name");
                broker.clone()
            }
            (None, [only]) => only.clone(),
            (None, _) => {
                if !spot.has_mistake("broker") {
                    spot.say(
                        "broker",
                        "this key is required where there is more than one broker, or none",
                    );
                }
                CompactString::default()
            }
        }
    }

    fn results(&self, spot: &mut Spot<'_>) -> ResultBackend {
        match self.result_backend.as_str() {
            "auto" => ResultBackend::Auto,
            "rpc" | "rpc://" => ResultBackend::Rpc,
            "none" => ResultBackend::None,
            url => {
                if results::open(url, self.result_expires.duration()).is_err() {
                    // Not shown: it may hold a password.
                    spot.say(
                        "result_backend",
                        "expected \"auto\", \"rpc\", \"none\", or the URL of a Redis",
                    );
                }
                ResultBackend::Redis(url.to_owned())
            }
        }
    }
}
