//! Readers of the replies that Headcount judges by. Lenient: what a worker leaves out or writes otherwise is none.

use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::MAX_NAME;

/// How many queues of one worker are read.
pub const MAX_QUEUES: usize = 1_000;

/// How a worker runs its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Child processes.
    Prefork,
    /// Threads.
    Threads,
    /// In the main loop: deaf and mute while a task runs.
    Solo,
    /// Greenlets of gevent.
    Gevent,
    /// Greenlets of eventlet.
    Eventlet,
    /// Another.
    Other,
}

impl Pool {
    /// By the name in `stats`, such as `celery.concurrency.prefork:TaskPool`.
    pub fn of(implementation: &str) -> Self {
        let module = implementation.split(':').next().unwrap_or_default();
        match module.strip_prefix("celery.concurrency.") {
            Some("prefork") => Pool::Prefork,
            Some("thread") => Pool::Threads,
            Some("solo") => Pool::Solo,
            Some("gevent") => Pool::Gevent,
            Some("eventlet") => Pool::Eventlet,
            _ => Pool::Other,
        }
    }
}

/// What `stats` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Process id of the worker's main process.
    pub pid: Option<u32>,
    /// How it runs its tasks.
    pub pool: Option<Pool>,
    /// How many tasks it runs at once.
    pub max_concurrency: Option<u32>,
    /// How many tasks it can run now: its processes, where it has some.
    pub slots: Option<u32>,
    /// Its pool ends a task that runs longer (the hard time limit).
    pub time_limit: Option<Duration>,
    /// How many messages it takes ahead; 0 is no limit.
    pub prefetch_count: Option<u64>,
    /// Seconds since its start.
    pub uptime: Option<u64>,
    /// Tasks accepted since its start, of all names.
    pub accepted: Option<u64>,
}

impl Stats {
    /// Reads the body of a `stats` reply; none if the command failed there.
    pub fn read(body: &Value) -> Option<Self> {
        let stats = body.as_object()?;
        if failed(body).is_some() {
            return None;
        }
        let pool = stats.get("pool");
        let in_pool = |key| pool.and_then(|pool| pool.get(key));
        let max_concurrency = small(in_pool("max-concurrency"));
        // Autoscaling moves the number of processes, and leaves the maximum where it was.
        let processes = in_pool("processes")
            .and_then(Value::as_array)
            .and_then(|processes| u32::try_from(processes.len()).ok())
            .filter(|processes| *processes > 0);
        Some(Self {
            pid: small(stats.get("pid")),
            pool: in_pool("implementation").and_then(Value::as_str).map(Pool::of),
            max_concurrency,
            slots: processes.or(max_concurrency),
            time_limit: in_pool("timeouts")
                .and_then(|timeouts| timeouts.get(1)?.as_f64())
                .filter(|limit| *limit > 0.0)
                .and_then(|limit| Duration::try_from_secs_f64(limit).ok()),
            prefetch_count: stats.get("prefetch_count").and_then(Value::as_u64),
            uptime: stats.get("uptime").and_then(Value::as_u64),
            accepted: stats
                .get("total")
                .and_then(Value::as_object)
                .map(|total| total.values().filter_map(Value::as_u64).fold(0, u64::saturating_add)),
        })
    }
}

/// The names in an `active_queues` reply: what the worker means to consume, which may be nothing. None if the command
/// failed there.
pub fn active_queues(body: &Value) -> Option<Vec<CompactString>> {
    let queues = body.as_array()?;
    let names = queues.iter().filter_map(|queue| queue.get("name")?.as_str());
    Some(
        names
            .filter(|name| name.len() <= MAX_NAME)
            .take(MAX_QUEUES)
            .map(CompactString::from)
            .collect(),
    )
}

/// Whether one of the queues in an `active_queues` reply serves one consumer at a time, so that the others stand by
/// (`x-single-active-consumer`). RabbitMQ shows it nowhere to those who may only ask for a queue's counts, and refuses a
/// declaration without it, so a worker that declares its queues tells it. None if the command failed there.
pub fn serves_one(body: &Value) -> Option<bool> {
    let queues = body.as_array()?;
    let serves_one = |queue: &Value| {
        let argument = queue.get("queue_arguments")?.get("x-single-active-consumer")?;
        argument.as_bool()
    };
    Some(queues.iter().filter_map(serves_one).any(|one| one))
}

/// How many tasks an `active` reply lists; none if the command failed there.
pub fn active(body: &Value) -> Option<usize> {
    body.as_array().map(Vec::len)
}

/// The longest time between two runs that a rate limit in a `registered` reply enforces; zero if no task has one. None
/// if the command failed there. Asked with the field `rate_limit`, an entry reads `sms.send [rate_limit=10/m]`.
pub fn slowest_rate(body: &Value) -> Option<Duration> {
    let tasks = body.as_array()?;
    let rates = tasks.iter().filter_map(|task| {
        let (_, fields) = task.as_str()?.split_once(" [")?;
        let fields = fields.strip_suffix(']').unwrap_or(fields);
        fields
            .split(' ')
            .find_map(|field| between_runs(field.strip_prefix("rate_limit=")?))
    });
    Some(rates.max().unwrap_or_default())
}

/// `10/m`, `0.5/s`, `100/h`, or a number of tasks in a second; none where it limits nothing.
fn between_runs(rate: &str) -> Option<Duration> {
    let (tasks, unit) = match rate.split_once('/') {
        Some((tasks, "s")) => (tasks, 1.0),
        Some((tasks, "m")) => (tasks, 60.0),
        Some((tasks, "h")) => (tasks, 3600.0),
        Some(_) => return None,
        None => (rate, 1.0),
    };
    let tasks: f64 = tasks.parse().ok().filter(|tasks| *tasks > 0.0)?;
    Duration::try_from_secs_f64(unit / tasks).ok()
}

/// Whether this is the reply of a worker that lives: `{"ok": "pong"}`.
pub fn is_pong(body: &Value) -> bool {
    body.get("ok").and_then(Value::as_str) == Some("pong")
}

/// Why the command failed there, if it did: the reply is then an object with one key, `error`.
pub fn failed(body: &Value) -> Option<&str> {
    let object = body.as_object()?;
    if object.len() == 1 {
        object.get("error")?.as_str()
    } else {
        None
    }
}

fn small(value: Option<&Value>) -> Option<u32> {
    value
        .and_then(Value::as_u64)
        .and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queue_that_serves_one_consumer_is_known_by_its_arguments() {
        let queue = |arguments| json!([{"name": "a"}, {"name": "sms", "queue_arguments": arguments}]);
        assert_eq!(
            serves_one(&queue(json!({"x-single-active-consumer": true}))),
            Some(true)
        );
        for arguments in [
            json!({"x-single-active-consumer": false}),
            json!({"x-single-active-consumer": "yes"}),
            json!({"x-max-priority": 3}),
            json!([]),
            json!(null),
        ] {
            assert_eq!(serves_one(&queue(arguments)), Some(false));
        }
        assert_eq!(serves_one(&json!({"error": "no"})), None);
    }

    #[test]
    fn rate_limits_say_how_far_apart_runs_are() {
        let tasks = json!([
            "sms.send [rate_limit=10/m]",
            "sms.purge [rate_limit=4/h]",
            "sms.now [rate_limit=20]",
            "celery.chord",
            7,
            "odd [rate_limit=x/y]",
            "off [rate_limit=0/s]",
            "none [rate_limit=None]",
        ]);
        assert_eq!(slowest_rate(&tasks), Some(Duration::from_secs(900)));
        assert_eq!(slowest_rate(&json!(["sms.send"])), Some(Duration::ZERO));
        assert_eq!(slowest_rate(&json!({"error": "KeyError()"})), None);
    }

    #[test]
    fn slots_are_the_processes_that_there_are() {
        let stats = |pool| Stats::read(&json!({ "pool": pool })).unwrap();
        let prefork = stats(json!({"max-concurrency": 10, "processes": [1, 2, 3], "timeouts": [30, 60]}));
        assert_eq!(
            (prefork.slots, prefork.time_limit),
            (Some(3), Some(Duration::from_secs(60)))
        );
        let threads = stats(json!({"max-concurrency": 4, "threads": 1, "timeouts": [0, 0]}));
        assert_eq!((threads.slots, threads.time_limit), (Some(4), None));
        assert_eq!(stats(json!({"timeouts": [null, null]})).time_limit, None);
    }
}
