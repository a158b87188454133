//! One fleet: its workers, how many there should be, and when to look closer.

use std::collections::VecDeque;

use compact_str::CompactString;

pub use super::input::{Input, Output, Sight};
pub use super::spec::{Expected, FleetSpec, Minimum};

use super::board::Board;
use super::count::{Books, Count};
use super::flapping::Flapping;
use super::history::History;
use super::look::Turns;
use super::memory::{FleetHistory, FleetMemory};
use super::missing;
use super::observed::{ObservedClock, Seen};
use super::own_health::OwnHealth;
use super::rules;
use super::slots::Slots;
use super::state::{Diagnosis, FleetState, WorkerState};
use super::verdict::Finding;
use super::worker::Worker;
use super::workers::Workers;
use crate::status::QueueStatus;
use crate::time::{Mono, Now, Wall};

mod intake;

/// The most workers that one fleet keeps: beyond it new names are refused and counted. Each costs about 1,000 bytes.
pub const MAX_WORKERS: usize = 20_000;

/// The detector of one fleet.
#[derive(Clone, Debug)]
pub struct FleetDetector {
    pub(super) spec: FleetSpec,
    pub(super) clock: ObservedClock,
    pub(super) workers: Workers,
    pub(super) queues: Vec<QueueStatus>,
    board: Board,
    pub(super) health: OwnHealth,
    slots: Slots,
    flapping: Flapping,
    pub(super) history: History,
    /// The latest goodbyes, as many as make a rollout.
    goodbyes: VecDeque<Seen>,
    /// Until then nobody who is unknown is judged.
    grace_until: Seen,
    has_seen: bool,
    /// Whether it has ever had a worker.
    pub(super) ever_seen: bool,
    /// Whether any of its workers were remembered when this began.
    was_known: bool,
    whole_since: Option<Seen>,
    last_crash: Option<Seen>,
    pub(super) state: FleetState,
    pub(super) since: Wall,
    refused: u64,
    turns: Turns,
    /// Until then nothing can change by time alone, …
    rests_until: Seen,
    /// … and nothing is due to be asked.
    asks_from: Mono,
    told: Option<ChangeKey>,
}

/// What makes a verdict a new one. The evidence has ages in it, and the queues move all the time: neither is a change by
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChangeKey {
    state: FleetState,
    finding: Finding,
    count: Count,
    missing: u64,
    unsettled: bool,
}

/// How a worker stands, as far as the fleet keeps books of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Lost,
    Left,
    Other,
}

impl Standing {
    fn of(worker: &Worker) -> Self {
        match worker.state() {
            WorkerState::Down => Self::Lost,
            WorkerState::Offline => Self::Left,
            _ => Self::Other,
        }
    }
}

impl FleetDetector {
    /// A fleet, with what is remembered of it from before a restart.
    pub fn new(spec: FleetSpec, remembered: impl Into<FleetMemory>, now: Now) -> Self {
        let FleetMemory { workers, history } = remembered.into();
        let t = Seen::default();
        let ever_seen = !workers.is_empty();
        let workers: Workers = workers
            .into_iter()
            .take(MAX_WORKERS)
            .map(|memory| Worker::remembered(memory, t, now))
            .collect();
        let mut slots = Slots::default();
        for (hostname, _) in workers.iter().filter(|(_, worker)| worker.diagnosis().is_some()) {
            slots.remembered(hostname, history.replaced.contains(hostname), t);
        }
        Self {
            clock: ObservedClock::new(now.mono),
            workers,
            queues: Vec::new(),
            board: Board::new(&spec.queues),
            health: OwnHealth::default(),
            slots,
            flapping: Flapping::remembered(history.penalties, t),
            history: History::remembered(history.samples, t),
            goodbyes: VecDeque::new(),
            grace_until: t + rules::COLD_START,
            has_seen: false,
            ever_seen,
            was_known: ever_seen,
            whole_since: None,
            last_crash: None,
            state: FleetState::Unknown,
            since: now.wall,
            refused: 0,
            turns: Turns::new(&spec, now.mono),
            rests_until: t,
            asks_from: now.mono,
            told: None,
            spec,
        }
    }

    /// What the fleet is told about itself.
    pub fn spec(&self) -> &FleetSpec {
        &self.spec
    }

    /// One of its workers.
    pub fn worker(&self, hostname: &CompactString) -> Option<&Worker> {
        self.workers.get(hostname)
    }

    /// How many sightings were left out because the fleet is full, since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// What to remember across a restart, of workers on the broker at `address`.
    pub fn memory(&self, address: &str) -> FleetMemory {
        let address = CompactString::from(address);
        // The observed clock as it was last read: what is remembered is of then.
        let t = self.clock.read();
        FleetMemory {
            workers: self.workers.values().map(|worker| worker.memory(&address)).collect(),
            history: FleetHistory {
                samples: self.history.memory(),
                replaced: self.slots.replaced(),
                penalties: self.flapping.memory(t),
            },
        }
    }

    /// Takes one input, and says what is to be done. Where nothing has happened, and no deadline has come, it costs next
    /// to nothing.
    pub fn step(&mut self, now: Now, input: Input<'_>, outputs: &mut Vec<Output>) {
        let t = self.clock.advance(now.mono);
        if self.clock.take_late() {
            self.health.suffered(t);
        }
        let happened = self.take(t, now, input);
        if !happened && t < self.rests_until && now.mono < self.asks_from {
            return;
        }
        self.judge(t, now);
        if self.clock.sees() {
            self.turns.due(t, now.mono, &self.spec, &mut self.workers, outputs);
        }
        self.conclude(t, now, outputs);
        self.rest(t, now);
    }

    /// The next step judges, whether or not anything is due.
    #[cfg(test)]
    pub(super) fn wake(&mut self) {
        self.rests_until = Seen::default();
    }

    // ------------------------------------------------------------ judgement

    fn judge(&mut self, t: Seen, now: Now) {
        if !self.clock.sees() {
            return;
        }
        self.health.advance(t);
        let doubt = self.health.doubt();
        let in_grace = self.in_grace(t);
        let mut moved: Vec<(CompactString, Standing)> = Vec::new();
        for (hostname, worker) in self.workers.iter_mut() {
            let before = (Standing::of(worker), worker.diagnosis());
            worker.judge(t, now, &self.spec.rules, doubt, in_grace);
            if !in_grace {
                worker.judge_work(t, now, &self.spec.rules);
            }
            if worker.diagnosis() == Some(Diagnosis::Crashed) && before.1 != Some(Diagnosis::Crashed) {
                self.last_crash = Some(t);
            }
            if Standing::of(worker) != before.0 {
                moved.push((hostname.clone(), before.0));
            }
        }
        if self.last_crash.is_some_and(|at| t.since(at) <= rules::TOGETHER) {
            for (hostname, worker) in self.workers.iter_mut() {
                let before = Standing::of(worker);
                worker.judge_in_company(t, now, &self.spec.rules);
                if Standing::of(worker) != before {
                    moved.push((hostname.clone(), before));
                }
            }
        }
        for (hostname, before) in moved {
            self.keep_books(&hostname, before, t);
        }
        self.retire(t);
        let workers = &self.workers;
        self.flapping.advance(t, |hostname| workers.contains(hostname));
    }

    /// Notes in the fleet's books how a worker's standing has changed.
    fn keep_books(&mut self, hostname: &CompactString, before: Standing, t: Seen) {
        let Some(worker) = self.workers.get(hostname) else {
            return;
        };
        let after = Standing::of(worker);
        if after == before {
            return;
        }
        match after {
            Standing::Lost => {
                if self.slots.fell(hostname, worker.life(), t) {
                    self.history.went();
                }
                self.flapping.fell(hostname, t);
            }
            Standing::Left => {
                self.slots.settle(hostname);
                self.history.went();
                self.goodbyes.push_back(t);
                if self.goodbyes.len() > rules::ROLLOUT_GOODBYES {
                    self.goodbyes.pop_front();
                }
            }
            Standing::Other => self.slots.settle(hostname),
        }
    }

    /// Lets go of those who are over: offline for long, vanished for very long, or replaced.
    fn retire(&mut self, t: Seen) {
        // Of a given number, whoever they are: whole without somebody. It counts from the loss, not from before it.
        let whole = matches!(self.spec.expected, Expected::Count(_))
            && self.state == FleetState::Healthy
            && self.workers.values().any(|w| w.diagnosis().is_some());
        self.whole_since = if whole { self.whole_since.or(Some(t)) } else { None };
        let whole_for_long = self
            .whole_since
            .is_some_and(|since| t.since(since) >= rules::REPLACED_AFTER);
        let named = |hostname: &CompactString| match &self.spec.expected {
            Expected::Names(names) => names.contains(hostname),
            Expected::Auto | Expected::Count(_) => false,
        };
        let forget_after = self.spec.rules.forget_after;
        let slots = &mut self.slots;
        self.workers.retain(|hostname, worker| {
            let stays = if let Some(at) = worker.offline_since() {
                t.since(at) < rules::OFFLINE_SHOWN_FOR
            } else if worker.diagnosis().is_none() || named(hostname) {
                true
            } else {
                !whole_for_long && !slots.is_over(hostname, t) && worker.away(t) < forget_after
            };
            if !stays {
                slots.settle(hostname);
            }
            stays
        });
    }

    fn conclude(&mut self, t: Seen, now: Now, outputs: &mut Vec<Output>) {
        let books = self.books(t);
        let count = Count::of(books, &self.workers, t);
        let (sees, in_grace) = (self.clock.sees(), self.in_grace(t));
        let finding = count.finding(sees, in_grace);
        let missing = if count.is_whole(finding) {
            0
        } else {
            missing::fingerprint(books, &self.workers, t)
        };
        let key = ChangeKey {
            state: count.state(sees, in_grace),
            finding,
            count,
            missing,
            unsettled: self.is_unsettled(&count, t),
        };
        if sees && !in_grace {
            self.history.advance(t, count.up);
        }
        if key.state != self.state {
            self.state = key.state;
            self.since = now.wall;
        }
        if self.told != Some(key) {
            self.told = Some(key);
            outputs.push(Output::Changed);
        }
    }

    /// Until when nothing can change by time alone: the next deadline of any worker, and not for long.
    fn rest(&mut self, t: Seen, now: Now) {
        let end = t + rules::JUDGED_EVERY;
        let grace = if self.in_grace(t) { self.grace_until } else { end };
        let (rules, doubt) = (&self.spec.rules, self.health.doubt());
        let mut looks_close = false;
        self.rests_until = end.min(grace);
        for worker in self.workers.values() {
            self.rests_until = self.rests_until.min(worker.rests_until(t, rules, doubt).unwrap_or(t));
            looks_close |= worker.wants_close_look();
        }
        self.asks_from = now.mono + rules::JUDGED_EVERY;
        // Who does not see does not ask.
        if self.clock.sees() {
            self.asks_from = self.asks_from.min(self.turns.next(looks_close));
        }
    }

    /// Whether more of what has been found may be found within moments.
    pub(super) fn is_unsettled(&self, count: &Count, t: Seen) -> bool {
        let (rules, doubt) = (&self.spec.rules, self.health.doubt());
        let may_fall = |worker: &Worker| worker.may_fall(t, rules, doubt);
        (count.suspect + count.unknown > 0 && self.workers.values().any(may_fall))
            || (count.stalled > 0 && self.workers.values().any(Worker::may_stall))
    }

    fn in_grace(&self, t: Seen) -> bool {
        t < self.grace_until
    }

    /// Several goodbyes within a minute: somebody is being replaced on purpose, and that takes a while.
    fn in_rollout(&self, t: Seen) -> bool {
        let first = self.goodbyes.front().zip(self.goodbyes.back());
        first.is_some_and(|(first, last)| {
            self.goodbyes.len() >= rules::ROLLOUT_GOODBYES
                && last.since(*first) <= rules::ROLLOUT_WITHIN
                && t.since(*last) < rules::ROLLOUT_GRACE_BUSY
        })
    }

    pub(super) fn books(&self, t: Seen) -> Books<'_> {
        Books {
            spec: &self.spec,
            slots: &self.slots,
            flapping: &self.flapping,
            history: &self.history,
            ever_seen: self.ever_seen,
            short: matches!(self.state, FleetState::Degraded | FleetState::Down),
            awaited_for: if self.in_rollout(t) {
                rules::ROLLOUT_GRACE_BUSY
            } else {
                rules::ROLLOUT_GRACE
            },
        }
    }

    pub(super) fn findings(&self, t: Seen) -> (Count, Finding) {
        let count = Count::of(self.books(t), &self.workers, t);
        (count, count.finding(self.clock.sees(), self.in_grace(t)))
    }
}
