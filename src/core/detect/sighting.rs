//! What the event lane found out about one worker since it last told: all that a verdict needs, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use crate::time::Mono;

/// What a worker last said about its coming and going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Word {
    /// Neither.
    #[default]
    Nothing,
    /// `worker-online`, or a beat after a goodbye.
    Online,
    /// `worker-offline`: a claim to check.
    Goodbye,
}

/// One worker's events since the last flush of the lane, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// The whole node name.
    pub hostname: CompactString,
    /// Process id of its main process.
    pub pid: Option<u32>,
    /// Whether a new process has taken the old one's place under the same pid, as in a container.
    pub anew: bool,
    /// Its last word about coming and going, if there was one since the last flush.
    pub word: Word,
    /// How many beats and onlines there were.
    pub beats: u32,
    /// How many task events of its own there were.
    pub tasks: u32,
    /// When the last one arrived.
    pub last: Mono,
    /// How long the last one had been on its way beyond what is usual for this worker: zero where that cannot be told.
    /// Events wait at a broker and come in a flush, so arrival alone proves no life.
    pub age: Duration,
    /// Its heartbeat interval, as it says itself.
    pub interval: Option<Duration>,
    /// The longest time between two beats since the last flush, if there were two.
    pub longest_gap: Option<Duration>,
    /// Tasks that it runs.
    pub active: Option<u64>,
    /// Tasks that it has accepted.
    pub processed: Option<u64>,
    /// Its software, when it is first seen or has changed.
    pub software: Option<CompactString>,
    /// Tasks that it has begun and not ended: told once it has said goodbye, and when it has fallen silent.
    pub unfinished: Option<Arc<Unfinished>>,
    /// Whether two processes beat under this name by turns.
    pub shared: bool,
}

impl Sighting {
    /// Whether it tells of something that came, and not only of what did not.
    pub fn is_sign(&self) -> bool {
        self.beats > 0 || self.tasks > 0 || self.word != Word::Nothing
    }
}

/// Tasks that a worker has begun, and whose end has not been heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many.
    pub total: u32,
    /// How many of each name, the most frequent first; not of all names, and not of those whose name was not heard.
    pub names: Vec<(CompactString, u32)>,
}

impl Unfinished {
    /// `3 tasks` and `: sms.send x2, sms.purge`; the second is empty where no name is known.
    pub(super) fn in_words(&self) -> (String, String) {
        let count = format!("{} {}", self.total, if self.total == 1 { "task" } else { "tasks" });
        let mut names = String::new();
        for (name, count) in &self.names {
            names += if names.is_empty() { ": " } else { ", " };
            names += name;
            if *count > 1 {
                names += &format!(" x{count}");
            }
        }
        let named: u32 = self.names.iter().map(|(_, count)| count).sum();
        let others = self.total.saturating_sub(named);
        if others > 0 && !names.is_empty() {
            names += &format!(", {others} other");
        }
        (count, names)
    }
}
