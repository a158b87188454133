//! Readers of the replies that Headcount judges by. Lenient: what a worker leaves out or writes otherwise is none.

use compact_str::CompactString;
use serde_json::Value;

use super::fields::MAX_NAME;

/// How many queues of one worker are read.
pub const MAX_QUEUES: usize = 1_000;

/// How a worker runs its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        Some(Self {
            pid: small(stats.get("pid")),
            pool: in_pool("implementation").and_then(Value::as_str).map(Pool::of),
            max_concurrency: small(in_pool("max-concurrency")),
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

/// How many tasks an `active` reply lists; none if the command failed there.
pub fn active(body: &Value) -> Option<usize> {
    body.as_array().map(Vec::len)
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
