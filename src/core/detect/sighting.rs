//! What the event lane found out about one worker since it last told: all that a verdict needs, and nothing else.

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
    /// Its last word about coming and going, if there was one since the last flush.
    pub word: Word,
    /// How many beats and onlines there were.
    pub beats: u32,
    /// How many task events of its own there were.
    pub tasks: u32,
    /// When the last one arrived.
    pub last: Mono,
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
}
