//! Celery's events, decoded without a copy wherever the bytes allow it.

use serde::{Deserialize, Serialize};

/// The largest event body, in bytes, packed or unpacked. Celery's own are under 4 KiB (task arguments are cut);
/// raising it costs that much scratch memory for each broker.
pub const MAX_BODY: usize = 1 << 20;

/// Which of the three worker events it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerKind {
    /// `worker-online`: started, or reconnected.
    Online,
    /// `worker-heartbeat`.
    Heartbeat,
    /// `worker-offline`: a claim to check, not a verdict.
    Offline,
}

/// An event of a worker about itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerEvent<'a> {
    /// Which one.
    pub kind: WorkerKind,
    /// The whole node name, such as `sms@host1`.
    pub hostname: &'a str,
    /// Process id of the worker's main process.
    pub pid: Option<u32>,
    /// Lamport clock of the worker.
    pub clock: Option<u64>,
    /// The worker's wall clock, seconds since the Unix epoch, UTC. Never compared with ours.
    pub timestamp: Option<f64>,
    /// Its heartbeat interval in seconds; 5 (and no `active`) in beats that the `heartbeat` command provoked.
    pub freq: Option<f64>,
    /// Tasks running now.
    pub active: Option<u64>,
    /// Tasks accepted since its start.
    pub processed: Option<u64>,
    /// `sw_ident`, such as `py-celery`.
    pub sw_ident: Option<&'a str>,
    /// `sw_ver`, such as `5.7.0`.
    pub sw_ver: Option<&'a str>,
    /// `sw_sys`, such as `Linux`.
    pub sw_sys: Option<&'a str>,
}

/// Which task event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// `task-sent`, from a producer.
    Sent,
    /// `task-received`.
    Received,
    /// `task-started`.
    Started,
    /// `task-succeeded`.
    Succeeded,
    /// `task-failed`.
    Failed,
    /// `task-retried`.
    Retried,
    /// `task-revoked`.
    Revoked,
    /// `task-rejected`.
    Rejected,
    /// `task-cancelled`.
    Cancelled,
    /// A custom event, such as `task-progress`.
    Custom,
}

impl TaskKind {
    /// All of them, in the order of a task's life.
    pub const ALL: [Self; 10] = [
        Self::Sent,
        Self::Received,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::Retried,
        Self::Revoked,
        Self::Rejected,
        Self::Cancelled,
        Self::Custom,
    ];

    /// What follows `task-` in the event's type; `custom` for those that Celery does not have.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Revoked => "revoked",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Custom => "custom",
        }
    }

    /// The one of this [`word`](Self::word).
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// An event about a task. Arguments, results and tracebacks are never decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskEvent<'a> {
    /// Which one.
    pub kind: TaskKind,
    /// Who sent it: a worker's node name, or `gen<pid>@<host>` for `task-sent`.
    pub hostname: &'a str,
    /// The sender's wall clock, seconds since the Unix epoch, UTC.
    pub timestamp: Option<f64>,
    /// The task's id.
    pub uuid: &'a str,
    /// The task's name: only in `task-sent` and `task-received`.
    pub name: Option<&'a str>,
    /// The queue: only in `task-sent`.
    pub queue: Option<&'a str>,
    /// How long it ran, in seconds: only in `task-succeeded`.
    pub runtime: Option<f64>,
    /// The class of the exception, such as `ValueError`, and nothing else of it: only in `task-failed` and `task-retried`.
    pub exception: Option<&'a str>,
    /// Whether it waits for a time (an ETA or a countdown): only in `task-received` and `task-sent`.
    pub has_eta: bool,
    /// How many attempts at it there have been before: only in `task-received` and `task-sent`; zero elsewhere, and where it
    /// is not said.
    pub retries: u16,
}

#[cfg(test)]
impl<'a> TaskEvent<'a> {
    /// An event of a worker, for a test that minds nothing else.
    pub(crate) const fn sample(kind: TaskKind, uuid: &'a str, name: Option<&'a str>) -> Self {
        Self {
            kind,
            hostname: "sms@h1",
            timestamp: None,
            uuid,
            name,
            queue: None,
            runtime: None,
            exception: None,
            has_eta: false,
            retries: 0,
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A worker about itself.
    Worker(WorkerEvent<'a>),
    /// About a task.
    Task(TaskEvent<'a>),
    /// Well formed, and of a type that Headcount has no use for.
    Other,
}
