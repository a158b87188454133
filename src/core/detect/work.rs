//! A worker's work: whether it takes what waits in its queues, and gets on with what it has taken.

use compact_str::CompactString;

/// A closer look at a worker's work: what it said when asked, none where it did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkLook {
    /// The queues that it consumes now, as it believes itself (`active_queues`).
    pub queues: Option<Vec<CompactString>>,
    /// Tasks that it runs (`active`).
    pub running: Option<u32>,
    /// Tasks that it has taken and not begun, those that wait for their time left out (`reserved`).
    pub reserved: Option<u32>,
    /// Tasks that wait for their time: an ETA or a countdown (`scheduled`).
    pub scheduled: Option<u32>,
}
