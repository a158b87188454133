//! What is remembered of a fleet and its workers across a restart of Headcount.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::flapping::PenaltyMemory;
use super::history::Sample;
use super::state::{Diagnosis, Trouble, WorkerState};
use crate::celery::inspect::Pool;
use crate::time::Wall;

/// One worker as the store keeps it. Times are wall times: a monotonic clock means nothing to the next process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerMemory {
    /// The whole node name.
    pub hostname: CompactString,
    /// Where its broker is, without user and password: a fleet that nobody configured is found again by it, and on
    /// another broker of the same name nobody is missed.
    #[serde(default)]
    pub address: CompactString,
    /// Process id of its main process, where known.
    pub pid: Option<u32>,
    /// Its state when this was written.
    pub state: WorkerState,
    /// Its diagnosis, if it was down.
    pub diagnosis: Option<Diagnosis>,
    /// Since when it has been in that state.
    pub since: Wall,
    /// The last sign of life.
    pub last_seen: Option<Wall>,
    /// Heartbeat interval, in microseconds, where learned.
    pub interval_us: Option<u64>,
    /// How it runs its tasks, where learned.
    pub pool: Option<Pool>,
    /// Queues that it has said it consumes since its process began, where learned.
    pub queues: Vec<CompactString>,
    /// What is known of its work.
    #[serde(default)]
    pub work: WorkMemory,
    /// Whether it has ever answered a ping.
    pub answers: bool,
    /// Whether the broker has ever shown its presence.
    pub shows_presence: bool,
    /// Whether nothing but its task events has ever been heard.
    #[serde(default)]
    pub tells_tasks_only: bool,
}

/// One fleet as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetMemory {
    /// Its workers.
    pub workers: Vec<WorkerMemory>,
    /// What it has been like.
    #[serde(default)]
    pub history: FleetHistory,
}

impl From<Vec<WorkerMemory>> for FleetMemory {
    fn from(workers: Vec<WorkerMemory>) -> Self {
        Self {
            workers,
            history: FleetHistory::default(),
        }
    }
}

/// What a fleet learns apart from its workers. What an older Headcount has not written down is learned anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetHistory {
    /// Its last 24 h, in samples of five minutes.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// Lost workers for whom somebody stands in.
    #[serde(default)]
    pub replaced: Vec<CompactString>,
    /// Workers that have fallen lately.
    #[serde(default)]
    pub penalties: Vec<PenaltyMemory>,
}

impl FleetHistory {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is remembered of a worker's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkMemory {
    /// Why it was stalled, if it was.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// The longest that it ran a task without another moving, lately, in seconds.
    #[serde(default)]
    pub longest_run_s: u64,
}
