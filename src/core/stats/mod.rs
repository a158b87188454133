//! Roll-ups of task events.

pub mod tally;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::celery::TaskKind;
use crate::time::Wall;

/// How many events of one kind about one task name one fleet sent in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCount {
    /// The fleet whose workers sent them.
    pub fleet: CompactString,
    /// The task's name; empty where its `task-received` was not seen.
    pub task: CompactString,
    /// What happened.
    pub outcome: TaskKind,
    /// The start of the minute.
    pub minute: Wall,
    /// How often.
    pub count: u64,
}
