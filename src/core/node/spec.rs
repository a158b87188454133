//! What a node is told about itself and its tasks.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::rate::Rate;
use crate::celery::task::Routes;

/// Tasks that wait for their time (ETA or countdown), unsettled at the broker. Beyond it the node takes no more, whatever it is,
/// until one of them is due. AMQP counts what is unsettled to 65,535, and there Celery's own workers end as well; what is left of that
/// is for the tasks that can run.
pub const MAX_SCHEDULED: usize = 65_000;

/// What of these is in memory, in bytes; the latest of the others are only noted, and read anew when they are due. 64 MiB hold
/// some 40,000 without arguments worth mentioning, and three of [`crate::celery::task::MAX_TASK`]. It is reckoned; the process takes
/// about twice as much.
pub const MAX_SCHEDULED_BYTES: usize = 64 << 20;

/// What `reserved` and `scheduled` answer with at most, in bytes: then they leave out the last. An answer of 65,000 tasks would be
/// larger than RabbitMQ lets a message be (16 MiB since its version 4).
pub(super) const MAX_SHOWN: usize = 8 << 20;

/// The most tasks that run at once, also after `pool_grow`.
pub const MAX_CONCURRENCY: u16 = 1_000;

/// A node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name, such as `headcount@host1`.
    pub hostname: String,
    /// The queue that it consumes.
    pub queue: String,
    /// How many tasks run at once; at least one.
    pub concurrency: u16,
    /// How many tasks are taken for each that can run, as Celery's `worker_prefetch_multiplier`; at least one.
    pub prefetch_multiplier: u16,
    /// The queue's `x-max-priority` on RabbitMQ, if it has priorities there.
    pub max_priority: Option<u8>,
    /// Whether task events are sent, as a worker's `-E`. They can be switched by `enable_events`.
    pub task_events: bool,
    /// Whether the command `shutdown` makes the node leave.
    pub obeys_shutdown: bool,
    /// Its tasks.
    pub tasks: Vec<TaskSpec>,
    /// Where tasks go that it sends.
    pub routes: Routes,
    /// What it shows of itself.
    pub about: About,
}

impl NodeSpec {
    /// How many tasks are taken at once, those left out that wait for their time.
    pub fn own_prefetch(&self) -> u16 {
        self.concurrency.max(1).saturating_mul(self.prefetch_multiplier.max(1))
    }
}

/// What a node shows of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The process' id.
    pub pid: u32,
    /// Hours west of UTC.
    pub utc_offset: f64,
    /// The version of Headcount.
    pub version: String,
    /// The system, such as `Linux`.
    pub system: String,
    /// What its programs are, such as `64bit, ELF`.
    pub arch: String,
    /// The version of its kernel.
    pub kernel: String,
    /// The broker, as `stats` shows it, without secrets.
    pub broker: Map<String, Value>,
    /// The settings, as `conf` shows them, without secrets.
    pub settings: Map<String, Value>,
}

/// What a process has used since its start: the fields of getrusage(2), by Celery's names for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Processor time of its own, in seconds.
    pub utime: f64,
    /// Processor time in the kernel, in seconds.
    pub stime: f64,
    /// The most memory, in KiB.
    pub maxrss: i64,
    /// Not kept by Linux, as all of these that say no more.
    pub ixrss: i64,
    /// Not kept.
    pub idrss: i64,
    /// Not kept.
    pub isrss: i64,
    /// Page faults without reading.
    pub minflt: i64,
    /// Page faults with reading.
    pub majflt: i64,
    /// Not kept.
    pub nswap: i64,
    /// Blocks of 512 bytes that were read.
    pub inblock: i64,
    /// Blocks that were written.
    pub oublock: i64,
    /// Not kept.
    pub msgsnd: i64,
    /// Not kept.
    pub msgrcv: i64,
    /// Not kept.
    pub nsignals: i64,
    /// Times that it waited.
    pub nvcsw: i64,
    /// Times that it was made to wait.
    pub nivcsw: i64,
}

/// One task that the node runs.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Its name, such as `headcount.ping`.
    pub name: &'static str,
    /// Acknowledged when it has ended rather than when it begins, so that it is run again after a crash.
    pub acks_late: bool,
    /// When and how often it is tried again.
    pub retries: Retries,
    /// Where the message names none: after so long it is told to end.
    pub soft_time_limit: Option<Duration>,
    /// Where the message names none: after so long it is ended.
    pub time_limit: Option<Duration>,
    /// At most so often.
    pub rate_limit: Option<Rate>,
}

impl TaskSpec {
    /// A task that is acknowledged when it begins, and has no limits.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            acks_late: false,
            retries: Retries::USUAL,
            soft_time_limit: None,
            time_limit: None,
            rate_limit: None,
        }
    }
}

/// When a task that asks for it is tried again: after `first`, then twice as long each time, up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often at most.
    pub most: u32,
    /// The rest before the first.
    pub first: Duration,
    /// The longest rest.
    pub longest: Duration,
}

impl Retries {
    /// Three times, as Celery's `max_retries`; after 1, 2 and 4 s, as its `retry_backoff`, whose longest is ten minutes.
    pub const USUAL: Self = Self {
        most: 3,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(600),
    };

    /// The rest before the retry number `retry`, from zero on.
    pub fn rest(self, retry: u32) -> Duration {
        self.first.saturating_mul(1 << retry.min(20)).min(self.longest)
    }
}
