//! One simulated worker: what is true of it, whatever anybody knows.

use std::time::Duration;

use compact_str::CompactString;
use headcount_core::celery::WorkerKind;
use headcount_core::celery::inspect::Pool;
use headcount_core::detect::Means;

use super::calendar::{Moment, SEC};

/// Where a worker is in [`super::World`].
pub type Slot = u32;

/// How often a worker beats: Celery's default.
pub const BEAT: Moment = 2 * SEC;

/// How many tasks a worker runs at once, if its pool is not solo.
const SLOTS: u32 = 4;
/// How many messages it holds at most.
pub(super) const PREFETCH: u32 = 4 * SLOTS;
/// The rate limit of those that are idle because of one: a task every ten minutes.
const SLOWEST_RATE: Duration = Duration::from_secs(600);

/// A worker's way to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It stands.
    Up,
    /// It is gone, and the broker knows.
    Down,
    /// The network holds all packets, and both ends believe that it stands.
    Held,
}

/// Why a worker that has nothing to do has nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leisure {
    /// It works.
    #[default]
    None,
    /// Its queue is empty.
    Empty,
    /// What it holds waits for its time.
    Eta,
    /// What it holds waits for a rate limit, and more waits in the queue.
    RateLimit,
}

/// Whether and how a worker has ceased to consume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consuming {
    /// It consumes.
    #[default]
    Yes,
    /// Its consumer is gone, and it knows (`active_queues` is empty).
    Cancelled,
    /// Its consumer is gone, and it does not know.
    Lost,
}

/// One worker.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) hostname: CompactString,
    pub(super) fleet: u16,
    pub(super) pid: u32,
    /// Lamport clock.
    pub(super) clock: u64,
    /// The process exists.
    pub(super) running: bool,
    /// It does nothing before.
    pub(super) frozen_until: Moment,
    /// A solo pool runs a task until then.
    pub(super) busy_until: Moment,
    pub(super) link: Link,
    /// When it last lost its connection.
    pub(super) lost_at: Moment,
    /// What it has sent to a broker that takes nothing.
    pub(super) held: Vec<Said>,
    /// The broker still takes a dead worker's connection for standing.
    pub(super) lingers_until: Moment,
    /// It has said goodbye.
    pub(super) leaving: bool,
    pub(super) pool: Pool,
    pub(super) consuming: Consuming,
    pub(super) leisure: Leisure,
    /// Seconds by which its wall clock is ahead, and how much that grows in each second.
    pub(super) ahead: f64,
    pub(super) drift: f64,
    /// Share of what it sends that is lost.
    pub(super) loss: f64,
    /// So many beats to come will be lost.
    pub(super) burst: u32,
    /// Mean of what delays each message, in seconds.
    pub(super) delay: f64,
    /// Tasks that it accepts in each second while it works.
    pub(super) rate: f64,
    pub(super) processed: f64,
    pub(super) counted_at: Moment,

    /// Which of the beats in the calendar is its own: those of earlier lives are not sent.
    pub(super) life: u32,
    pub(super) beats: bool,
    pub(super) next_send: Moment,
    /// When the last of what it sent arrives: a connection keeps the order.
    pub(super) arrives: Moment,
}

/// One event of a worker about itself, as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// Whose.
    pub slot: Slot,
    /// Which.
    pub kind: WorkerKind,
    /// Its process.
    pub pid: u32,
    /// Lamport clock.
    pub clock: u64,
    /// What the worker's wall clock showed, in seconds since the Unix epoch.
    pub timestamp: f64,
    /// Tasks running.
    pub active: u64,
    /// Tasks accepted.
    pub processed: u64,
}

impl Worker {
    pub(super) fn new(hostname: CompactString, fleet: u16, pid: u32) -> Self {
        Self {
            hostname,
            fleet,
            pid,
            clock: 0,
            running: false,
            frozen_until: 0,
            busy_until: 0,
            link: Link::Down,
            lost_at: 0,
            held: Vec::new(),
            lingers_until: 0,
            leaving: false,
            pool: Pool::Prefork,
            consuming: Consuming::Yes,
            leisure: Leisure::None,
            ahead: 0.0,
            drift: 0.0,
            loss: 0.0,
            burst: 0,
            delay: 0.002,
            rate: 0.5,
            processed: 0.0,
            counted_at: 0,
            life: 0,
            beats: false,
            next_send: 0,
            arrives: 0,
        }
    }

    /// Whether its process does anything.
    pub(super) const fn acts(&self, now: Moment) -> bool {
        self.running && now >= self.frozen_until && now >= self.busy_until
    }

    /// Whether what it sends arrives.
    pub(super) fn sends(&self, now: Moment) -> bool {
        self.acts(now) && self.link == Link::Up && !self.leaving
    }

    /// Whether the broker sees its connection.
    pub(super) fn is_connected(&self, now: Moment) -> bool {
        now < self.lingers_until || (self.running && self.link != Link::Down && !self.leaving)
    }

    /// Whether it takes tasks and gets on with them.
    fn works(&self) -> bool {
        self.leisure == Leisure::None && self.consuming == Consuming::Yes && !self.leaving
    }

    /// Brings `processed` up to `now`.
    pub(super) fn count_work(&mut self, now: Moment) {
        let span = now.saturating_sub(self.counted_at) as f64 / SEC as f64;
        self.counted_at = now;
        if self.works() && self.acts(now) {
            self.processed += self.rate * span;
        }
    }

    /// Tasks that it runs.
    pub(super) fn active(&self, now: Moment) -> u32 {
        u32::from(self.busy_until > now || (self.works() && self.rate > 0.0))
    }

    /// With what it works.
    pub(super) fn means(&self) -> Means {
        Means {
            slots: Some(if self.pool == Pool::Solo { 1 } else { SLOTS }),
            prefetch: Some(u64::from(PREFETCH)),
            time_limit: None,
            slowest_rate: (self.leisure == Leisure::RateLimit).then_some(SLOWEST_RATE),
            serves_one: None,
        }
    }

    /// What its wall clock shows at `now`, in seconds since the Unix epoch.
    pub(super) fn wall(&self, now: Moment) -> f64 {
        let since = now as f64 / SEC as f64;
        super::EPOCH as f64 + since + self.ahead + self.drift * since
    }
}
