//! One fleet: its workers, how many there should be, and when to look closer.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;

use super::board::Board;
use super::count::{self, Count};
use super::look::Turns;
use super::memory::WorkerMemory;
use super::observed::{ObservedClock, Seen};
use super::rules::{self, Rules};
use super::sighting::{Sighting, Word};
use super::state::{Diagnosis, FleetState};
use super::verdict::{FleetReport, FleetVerdict};
use super::work::{Means, WorkLook};
use super::worker::{Learned, Probed, Target, Worker};
use crate::alert::same_missing;
use crate::status::QueueStatus;
use crate::time::{Now, Wall};

/// How many workers a fleet should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Learned: whoever is there, and whoever vanished without a goodbye.
    Auto,
    /// So many, whatever they are called.
    Count(u32),
    /// Just these.
    Names(Vec<CompactString>),
}

/// Under how many workers a fleet is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minimum {
    /// So many.
    Given(u32),
    /// One, once there has been any: a configured fleet that does not say.
    OneOnceSeen,
    /// One, as long as any is expected: a fleet that nobody configured, and that may be shut down for good.
    OneWhileExpected,
}

/// What a fleet is told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSpec {
    /// Its name.
    pub name: CompactString,
    /// Its broker's name.
    pub broker: CompactString,
    /// How many workers it should have.
    pub expected: Expected,
    /// Under so many it is down.
    pub minimum: Minimum,
    /// Its queues; empty means those that its workers say they consume.
    pub queues: Vec<CompactString>,
    /// Its deadlines.
    pub rules: Rules,
}

/// The most workers that one fleet keeps: beyond it new names are refused and counted. Each costs about 1,000 bytes.
pub const MAX_WORKERS: usize = 20_000;

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

/// The detector of one fleet.
#[derive(Clone, Debug)]
pub struct FleetDetector {
    spec: FleetSpec,
    clock: ObservedClock,
    workers: BTreeMap<CompactString, Worker>,
    queues: Vec<QueueStatus>,
    board: Board,
    /// Until then nobody who is unknown is judged.
    grace_until: Seen,
    has_seen: bool,
    /// Whether it has ever had a worker.
    ever_seen: bool,
    whole_since: Option<Seen>,
    last_crash: Option<Seen>,
    state: FleetState,
    since: Wall,
    refused: u64,
    turns: Turns,
    told: Option<FleetVerdict>,
}

impl FleetDetector {
    /// A fleet, with what is remembered of its workers from before a restart.
    pub fn new(spec: FleetSpec, remembered: Vec<WorkerMemory>, now: Now) -> Self {
        let clock = ObservedClock::new(now.mono);
        let remembered_none = remembered.is_empty();
        let workers = remembered
            .into_iter()
            .take(MAX_WORKERS)
            .map(|memory| {
                (
                    memory.hostname.clone(),
                    Worker::remembered(memory, Seen::default(), now),
                )
            })
            .collect();
        Self {
            clock,
            workers,
            queues: Vec::new(),
            board: Board::new(&spec.queues),
            grace_until: Seen::default() + rules::COLD_START,
            has_seen: false,
            ever_seen: !remembered_none,
            whole_since: None,
            last_crash: None,
            state: FleetState::Unknown,
            since: now.wall,
            refused: 0,
            turns: Turns::new(&spec, now.mono),
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
    pub fn memory(&self, address: &str) -> Vec<WorkerMemory> {
        let address = CompactString::from(address);
        self.workers.values().map(|worker| worker.memory(&address)).collect()
    }

    /// Takes one input, and says what is to be done.
    pub fn step(&mut self, now: Now, input: Input<'_>, outputs: &mut Vec<Output>) {
        let t = self.clock.advance(now.mono);
        match input {
            Input::Tick | Input::Unprobed => {}
            Input::Sighted(sightings) => {
                for sighting in sightings {
                    self.sighted(t, now, sighting);
                }
            }
            Input::Probed(probes) => {
                for (hostname, probed) in probes {
                    if let Some(worker) = self.workers.get_mut(hostname) {
                        worker.probed(t, now, *probed);
                    }
                }
            }
            Input::Learned(replies) => {
                for (hostname, learned) in replies {
                    if let Some(worker) = self.workers.get_mut(hostname) {
                        worker.learned(learned.clone());
                    }
                }
            }
            Input::Means(means) => {
                for (hostname, means) in means {
                    if let Some(worker) = self.workers.get_mut(hostname) {
                        worker.has(*means);
                    }
                }
            }
            Input::Takers(takers) => self.board.take(t, takers),
            Input::Worked(looks) => {
                for (hostname, look) in looks {
                    if let Some(worker) = self.workers.get_mut(hostname) {
                        worker.worked(t, look, &self.board);
                    }
                }
            }
            Input::Queues(queues) => self.shown(t, queues),
            Input::Sight(sight) => self.sight(t, now, sight),
        }
        self.judge(t, now);
        if self.clock.sees() {
            self.turns.due(t, now.mono, &self.spec, &mut self.workers, outputs);
        }
        self.conclude(t, now, outputs);
    }

    /// The fleet and its workers as they stand.
    pub fn report(&self, now: Now) -> FleetReport {
        let t = self.clock.clone().advance(now.mono);
        FleetReport {
            verdict: self.verdict(t, now),
            workers: self
                .workers
                .values()
                .map(|worker| worker.status(&self.spec, self.clock.sees(), t, now))
                .collect(),
        }
    }

    // ------------------------------------------------------------ inputs

    fn sighted(&mut self, t: Seen, now: Now, sighting: &Sighting) {
        if let Some(worker) = self.workers.get_mut(&sighting.hostname) {
            worker.sighted(t, now, sighting);
            return;
        }
        // Who is first heard of by its goodbye was never counted. One that does not beat may be known by its tasks.
        if sighting.word == Word::Goodbye || !sighting.is_sign() {
            return;
        }
        if self.workers.len() >= MAX_WORKERS {
            self.refused += 1;
            return;
        }
        self.ever_seen = true;
        let mut worker = Worker::new(sighting.hostname.clone(), t, now);
        worker.sighted(t, now, sighting);
        self.workers.insert(sighting.hostname.clone(), worker);
    }

    fn shown(&mut self, t: Seen, queues: Vec<QueueStatus>) {
        self.board.show(t, &queues);
        self.queues = queues;
        self.workers
            .values()
            .filter(|worker| worker.is_alive())
            .for_each(|worker| self.board.claim(&worker.work));
        for worker in self.workers.values_mut() {
            worker.work.shown(t, &self.board);
        }
    }

    fn sight(&mut self, t: Seen, now: Now, sight: Sight) {
        let grace = match sight {
            Sight::Blind => {
                self.clock.set_sight(now.mono, false);
                return;
            }
            Sight::Clear => Duration::ZERO,
            Sight::ClearAfterOutage(outage) => self.spec.rules.reconnect_grace(outage),
        };
        self.clock.set_sight(now.mono, true);
        if !self.has_seen {
            // A first look: three intervals of the slowest, and at least ten seconds.
            self.has_seen = true;
            let slowest = self
                .workers
                .values()
                .map(|w| w.rhythm.interval())
                .max()
                .unwrap_or(rules::DEFAULT_INTERVAL);
            self.grace_until = t + rules::COLD_START.max(slowest * 3).max(grace);
        } else if !grace.is_zero() {
            self.grace_until = self.grace_until.max(t + grace);
            for worker in self.workers.values_mut() {
                worker.look_anew(t, now);
            }
        }
    }

    // ------------------------------------------------------------ judgement

    fn judge(&mut self, t: Seen, now: Now) {
        if !self.clock.sees() {
            return;
        }
        let in_grace = t < self.grace_until;
        let crashed = |worker: &Worker| worker.diagnosis() == Some(Diagnosis::Crashed);
        for worker in self.workers.values_mut() {
            let before = crashed(worker);
            worker.judge(t, now, &self.spec.rules, in_grace);
            if !in_grace {
                worker.judge_work(t, now, &self.spec.rules);
            }
            if crashed(worker) && !before {
                self.last_crash = Some(t);
            }
        }
        if self.last_crash.is_some_and(|at| t.since(at) <= rules::TOGETHER) {
            for worker in self.workers.values_mut() {
                worker.judge_in_company(t, now, &self.spec.rules);
            }
        }
        self.retire(t);
    }

    /// Lets go of those who are over: offline for long, vanished for very long, or replaced.
    fn retire(&mut self, t: Seen) {
        // Whole without somebody: it counts from the loss, not from before it.
        let whole = self.state == FleetState::Healthy && self.workers.values().any(|w| w.diagnosis().is_some());
        self.whole_since = if whole { self.whole_since.or(Some(t)) } else { None };
        let replaced = self
            .whole_since
            .is_some_and(|since| t.since(since) >= rules::REPLACED_AFTER);
        let named = |hostname: &CompactString| match &self.spec.expected {
            Expected::Names(names) => names.contains(hostname),
            Expected::Auto | Expected::Count(_) => false,
        };
        let forget_after = self.spec.rules.forget_after;
        self.workers.retain(|hostname, worker| {
            if let Some(at) = worker.offline_since() {
                return t.since(at) < rules::OFFLINE_SHOWN_FOR;
            }
            if worker.diagnosis().is_none() || named(hostname) {
                return true;
            }
            !replaced && worker.away(t) < forget_after
        });
    }

    fn verdict(&self, t: Seen, now: Now) -> FleetVerdict {
        let count = Count::of(&self.spec, &self.workers, self.ever_seen, t);
        let mut missing: Vec<&Worker> = self
            .workers
            .values()
            .filter(|worker| count::is_missing(&self.spec, worker, t))
            .collect();
        // Those who fell together are named in the order of their names.
        missing.sort_by_key(|worker| {
            (
                worker.last_seen().map(|seen| seen.as_secs() / 10),
                worker.hostname().clone(),
            )
        });
        FleetVerdict {
            evidence: missing
                .iter()
                .take(MAX_WITNESSES)
                .flat_map(|worker| worker.evidence(t, now))
                .collect(),
            missing: missing
                .iter()
                .map(|worker| worker.missing())
                .chain(count::never_seen(&self.spec, &self.workers))
                .take(crate::alert::Scene::MAX_MISSING)
                .collect(),
            unsettled: self.workers.values().any(Worker::may_fall),
            fleet: crate::status::FleetStatus {
                name: self.spec.name.clone(),
                broker: self.spec.broker.clone(),
                state: self.state,
                expected: count.expected,
                minimum: count.minimum,
                up: count.up,
                suspect: count.suspect,
                down: count.down,
                // Consuming is not judged yet: no worker is ever found stalled.
                stalled: 0,
                since: self.since,
                queues: self.queues.clone(),
            },
        }
    }

    fn conclude(&mut self, t: Seen, now: Now, outputs: &mut Vec<Output>) {
        let count = Count::of(&self.spec, &self.workers, self.ever_seen, t);
        let state = count.state(self.clock.sees(), t < self.grace_until);
        if state != self.state {
            self.state = state;
            self.since = now.wall;
        }
        let verdict = self.verdict(t, now);
        // The evidence has ages in it, and the queues move all the time: neither is a change by itself.
        let same = self.told.as_ref().is_some_and(|told| {
            told.fleet.state == verdict.fleet.state
                && told.fleet.up == verdict.fleet.up
                && told.fleet.expected == verdict.fleet.expected
                && told.fleet.suspect == verdict.fleet.suspect
                && same_missing(&told.missing, &verdict.missing)
                && told.unsettled == verdict.unsettled
        });
        if !same {
            self.told = Some(verdict);
            outputs.push(Output::Changed);
        }
    }
}

/// Of so many missing workers the evidence is written down.
const MAX_WITNESSES: usize = 10;
