//! What goes into a fleet's detector, and what comes out.

use std::time::Duration;

use compact_str::CompactString;

use super::sighting::Sighting;
use super::work::{Means, WorkLook};
use super::worker::{Learned, Probed, Target};
use crate::status::QueueStatus;

/// What happens to a fleet.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Time passes. Expected several times a second: the observed clock takes longer gaps for pauses of our own.
    Tick,
    /// The event lane has heard of these workers.
    Sighted(&'a [Sighting]),
    /// A probe of these workers came back.
    Probed(&'a [(CompactString, Probed)]),
    /// These workers told of themselves.
    Learned(&'a [(CompactString, Learned)]),
    /// With what these workers work.
    Means(&'a [(CompactString, Means)]),
    /// So many connections of the broker wait for messages, or have just taken one; none where it cannot tell.
    Takers(Option<u32>),
    /// These workers were asked about their work.
    Worked(&'a [(CompactString, WorkLook)]),
    /// A probe could not be made: our own way to the broker failed, which says nothing of any worker.
    Unprobed,
    /// These answered a question to all, so fast: those who are not known yet neither beat nor send events.
    Found(&'a [(CompactString, Duration)]),
    /// The fleet's queues, as the broker sees them.
    Queues(Vec<QueueStatus>),
    /// Headcount sees the broker's events, or ceases to.
    Sight(Sight),
}

/// Whether Headcount sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Events are heard again after a moment in which nothing could be known, while the broker and the workers'
    /// connections stood.
    Clear,
    /// Events are heard after the broker itself was out for so long: the workers have to find their way back too.
    ClearAfterOutage(Duration),
    /// Nothing can be known.
    Blind,
}

/// What the fleet wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask these whether they live, and whether the broker sees them.
    Probe(Vec<Target>),
    /// Ask these for their pool and queues.
    Learn(Vec<CompactString>),
    /// Ask these about their work: what they consume, run and hold.
    LookAtWork(Vec<CompactString>),
    /// Ask the broker for these queues.
    AskQueues(Vec<CompactString>),
    /// The verdict has changed.
    Changed,
}
