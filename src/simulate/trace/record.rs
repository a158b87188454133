//! What a trace can hold.

use std::time::Duration;

use compact_str::CompactString;
use headcount_core::celery::inspect::Pool;
use headcount_core::celery::{TaskEvent, WorkerEvent};
use headcount_core::detect::Means;
use headcount_core::status::QueueStatus;

use super::weight;

/// One thing that happened, at the moment that stands beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// Where the trace comes from: the first of each file.
    Source(Source),
    /// The recorder lives: several times a second. Where these are missing it was paused, and nothing was observed.
    Tick,
    /// The subscription to events stands.
    Opened,
    /// It has ended, or could not be opened; why, for people.
    Ended(CompactString),
    /// The recorder's own message through the broker came back after so long.
    Canary(Duration),
    /// The broker has begun, or ceased, to block publishers.
    Blocked(bool),
    /// A worker about itself.
    Worker(WorkerEvent<'a>),
    /// About a task; without its arguments and results.
    Task(TaskEvent<'a>),
    /// So many messages could not be read.
    Malformed(u64),
    /// What a probe brought: one answer for each worker that was asked.
    Probed(Vec<Answer>),
    /// A probe could not be made.
    Unprobed,
    /// What workers told when they were asked; who did not say is not in it.
    Told(Vec<(CompactString, Told)>),
    /// Queues, as the broker sees them.
    Queues(Vec<QueueStatus>),
    /// All publish/subscribe connections that the broker sees, by its numbers, in ascending order.
    Connections(Vec<u64>),
    /// How many connections of the broker take messages; none where it does not tell.
    Takers(Option<u32>),
    /// Who answered a question to all whether they live, and how fast.
    Found(Vec<(CompactString, Duration)>),
    /// The recorder was told to stop. A trace without it was cut off.
    End,
}

impl Record<'_> {
    /// What the names in its list come to in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Record::Probed(answers) => answers.iter().map(|answer| weight(&answer.hostname)).sum(),
            Record::Found(found) => found.iter().map(|(hostname, _)| weight(hostname)).sum(),
            Record::Queues(queues) => queues.iter().map(|queue| weight(&queue.name)).sum(),
            Record::Told(told) => told
                .iter()
                .map(|(hostname, told)| weight(hostname) + told.weight())
                .sum(),
            _ => 0,
        }
    }
}

impl Told {
    /// See [`Record::weight`].
    pub(crate) fn weight(&self) -> usize {
        match self {
            Told::Queues(queues) => queues.iter().map(|queue| weight(queue)).sum(),
            _ => 0,
        }
    }
}

/// Where a trace comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The broker's name.
    pub broker: CompactString,
    /// Where it is, without user and password.
    pub address: CompactString,
    /// The version of Headcount that recorded.
    pub version: CompactString,
    /// Nothing there ever shows whether a worker is connected (a Flower): an answer does not either. Not told by minor
    /// version 0.
    pub hides_presence: bool,
}

/// What one probe of one worker brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which worker.
    pub hostname: CompactString,
    /// How long its answer took; none if there was none in time.
    pub answer: Option<Duration>,
    /// How many answers came.
    pub answers: u32,
    /// Whether the broker sees its connection; none where this way of asking does not tell.
    pub present: Option<bool>,
}

/// One thing that a worker told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// How it runs its tasks (`stats`).
    Pool(Pool),
    /// The queues that it consumes (`active_queues`).
    Queues(Vec<CompactString>),
    /// With what it works (`stats`, `registered`).
    Means(Means),
    /// How many tasks it runs (`active`).
    Running(u32),
    /// How many tasks it has taken and not begun, those that wait for their time left out (`reserved`).
    Reserved(u32),
    /// How many tasks wait for their time (`scheduled`).
    Scheduled(u32),
}
