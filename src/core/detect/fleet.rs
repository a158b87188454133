//! One fleet: its workers, how many there should be, and when to look closer.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;

use super::memory::WorkerMemory;
use super::observed::{ObservedClock, Seen};
use super::rules::{self, Rules};
use super::sighting::{Sighting, Word};
use super::state::FleetState;
use super::verdict::{FleetReport, FleetVerdict};
use super::worker::{Learned, Probed, Target, Worker};
use crate::alert::same_missing;
use crate::status::QueueStatus;
use crate::time::{Mono, Now, Wall};

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

/// What a fleet is told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSpec {
    /// Its name.
    pub name: CompactString,
    /// Its broker's name.
    pub broker: CompactString,
    /// How many workers it should have.
    pub expected: Expected,
    /// Under so many it is down; none means one, as long as any is expected.
    pub minimum: Option<u32>,
    /// Its queues; empty means those that its workers say they consume.
    pub queues: Vec<CompactString>,
    /// Its deadlines.
    pub rules: Rules,
}

/// The most workers that one fleet keeps: beyond it new names are refused and counted. Each costs about 500 bytes.
pub const MAX_WORKERS: usize = 20_000;
/// The most queues of one fleet that are looked at.
pub const MAX_QUEUES: usize = 200;
/// The most workers that are asked at once: suspects come first, the others take turns.
pub const MAX_TARGETS: usize = 500;
/// How long after a failed attempt the pool and queues of a worker are asked for again.
const LEARN_EVERY: Duration = Duration::from_secs(5);

/// What happens to a fleet.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Time passes. Expected several times a second: the observed clock takes longer gaps for pauses of our own.
    Tick,
    /// The event lane has heard of these workers.
    Sighted(&'a [Sighting]),
    /// A probe of these workers came back.
    Probed(&'a [(CompactString, Probed)]),
    /// A worker told of itself.
    Learned(&'a CompactString, Learned),
    /// The fleet's queues, as the broker sees them.
    Queues(Vec<QueueStatus>),
    /// Headcount sees the broker's events, or ceases to.
    Sight(Sight),
    /// A worker that will not come back is no longer expected.
    Forget(&'a str),
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
    /// Until then nobody who is unknown is judged.
    grace_until: Seen,
    has_seen: bool,
    whole_since: Option<Seen>,
    state: FleetState,
    since: Wall,
    refused: u64,
    next_probe: Mono,
    next_close_look: Mono,
    next_learn: Mono,
    told: Option<FleetVerdict>,
}

impl FleetDetector {
    /// A fleet, with what is remembered of its workers from before a restart.
    pub fn new(spec: FleetSpec, remembered: Vec<WorkerMemory>, now: Now) -> Self {
        let clock = ObservedClock::new(now.mono);
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
        // Fleets take turns, so that many of them do not ask their brokers in one moment.
        let offset = spread(&spec.name, spec.rules.probe_every);
        Self {
            clock,
            workers,
            queues: Vec::new(),
            grace_until: Seen::default() + rules::COLD_START,
            has_seen: false,
            whole_since: None,
            state: FleetState::Unknown,
            since: now.wall,
            refused: 0,
            next_probe: now.mono + offset,
            next_close_look: now.mono,
            next_learn: now.mono,
            told: None,
            spec,
        }
    }

    /// What the fleet is told about itself.
    pub fn spec(&self) -> &FleetSpec {
        &self.spec
    }

    /// How many sightings were left out because the fleet is full, since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// What to remember across a restart.
    pub fn memory(&self) -> Vec<WorkerMemory> {
        self.workers
            .values()
            .map(|worker| worker.memory(&self.spec.broker))
            .collect()
    }

    /// Takes one input, and says what is to be done.
    pub fn step(&mut self, now: Now, input: Input<'_>, outputs: &mut Vec<Output>) {
        let t = self.clock.advance(now.mono);
        match input {
            Input::Tick => {}
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
            Input::Learned(hostname, learned) => {
                if let Some(worker) = self.workers.get_mut(hostname) {
                    worker.learned(learned);
                }
            }
            Input::Queues(queues) => self.queues = queues,
            Input::Sight(sight) => self.sight(t, now, sight),
            Input::Forget(hostname) => {
                self.workers.remove(hostname);
            }
        }
        self.judge(t, now);
        self.look(now, outputs);
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
                .map(|worker| worker.status(&self.spec, t, now))
                .collect(),
        }
    }

    // ------------------------------------------------------------ inputs

    fn sighted(&mut self, t: Seen, now: Now, sighting: &Sighting) {
        if let Some(worker) = self.workers.get_mut(&sighting.hostname) {
            worker.sighted(t, now, sighting);
            return;
        }
        // Who is first heard of by its goodbye was never counted.
        if sighting.word == Word::Goodbye || sighting.beats == 0 {
            return;
        }
        if self.workers.len() >= MAX_WORKERS {
            self.refused += 1;
            return;
        }
        let mut worker = Worker::new(sighting.hostname.clone(), t, now);
        worker.sighted(t, now, sighting);
        self.workers.insert(sighting.hostname.clone(), worker);
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
        for worker in self.workers.values_mut() {
            worker.judge(t, now, &self.spec.rules, in_grace);
        }
        self.retire(t, now);
    }

    /// Lets go of those who are over: offline for long, vanished for very long, or replaced.
    fn retire(&mut self, t: Seen, now: Now) {
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
            let vanished_for = worker.last_seen().map_or(Duration::ZERO, |seen| now.wall.since(seen));
            !replaced && vanished_for < forget_after
        });
    }

    fn count(&self, t: Seen) -> Count {
        let mut count = Count::default();
        let names = match &self.spec.expected {
            Expected::Names(names) => Some(names),
            Expected::Auto | Expected::Count(_) => None,
        };
        for worker in self.workers.values() {
            if names.is_some_and(|names| !names.contains(worker.hostname())) {
                continue;
            }
            count.add(worker, t);
        }
        let (learned, stand_ins) = match &self.spec.expected {
            Expected::Auto => (count.up + count.unknown + count.down, self.stand_ins()),
            Expected::Count(expected) => (*expected, 0),
            Expected::Names(names) => (u32::try_from(names.len()).unwrap_or(u32::MAX), 0),
        };
        let wanted = learned.saturating_sub(stand_ins);
        count.expected = match self.spec.minimum {
            Some(minimum) if self.spec.expected == Expected::Auto => wanted.max(minimum),
            _ => wanted,
        };
        count.minimum = self.spec.minimum.unwrap_or_else(|| count.expected.min(1));
        count
    }

    /// How many of the vanished have been replaced: workers under new names that appeared since.
    fn stand_ins(&self) -> u32 {
        let down = || self.workers.values().filter(|worker| worker.diagnosis().is_some());
        let Some(first_lost) = down().min_by_key(|worker| worker.since()) else {
            return 0;
        };
        let newcomers = self
            .workers
            .values()
            .filter(|worker| worker.is_alive() && worker.appeared_after(first_lost))
            .count();
        u32::try_from(newcomers.min(down().count())).unwrap_or(u32::MAX)
    }

    fn fleet_state(&self, count: &Count, t: Seen) -> FleetState {
        if !self.clock.sees() {
            return FleetState::Unknown;
        }
        let perhaps = count.up + count.unknown;
        let in_grace = t < self.grace_until;
        if count.up >= count.expected {
            FleetState::Healthy
        } else if in_grace {
            FleetState::Unknown
        } else if perhaps + count.awaited < count.minimum {
            FleetState::Down
        } else if perhaps + count.awaited < count.expected {
            if count.up >= count.minimum {
                FleetState::Degraded
            } else {
                FleetState::Unknown
            }
        } else if count.unknown > 0 {
            FleetState::Unknown
        } else {
            // Short only of those who said goodbye a moment ago: a rolling restart.
            FleetState::Healthy
        }
    }

    fn verdict(&self, t: Seen, now: Now) -> FleetVerdict {
        let count = self.count(t);
        let mut missing: Vec<&Worker> = self
            .workers
            .values()
            .filter(|worker| self.is_missing(worker, t))
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
                .take(crate::alert::Scene::MAX_MISSING)
                .map(|worker| worker.missing())
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
                stalled: 0,
                since: self.since,
                queues: self.queues.clone(),
            },
        }
    }

    /// Whether a worker is one of those that an alert would name.
    fn is_missing(&self, worker: &Worker, t: Seen) -> bool {
        let fixed = match &self.spec.expected {
            Expected::Auto => false,
            Expected::Count(_) => true,
            Expected::Names(names) => names.contains(worker.hostname()),
        };
        worker.diagnosis().is_some()
            || (fixed
                && worker
                    .offline_since()
                    .is_some_and(|at| t.since(at) >= rules::ROLLOUT_GRACE))
    }

    fn conclude(&mut self, t: Seen, now: Now, outputs: &mut Vec<Output>) {
        let count = self.count(t);
        let state = self.fleet_state(&count, t);
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

    // ------------------------------------------------------------ looking

    fn look(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if !self.clock.sees() {
            return;
        }
        if now.mono >= self.next_close_look {
            self.next_close_look = now.mono + rules::SUSPECT_PROBE_EVERY;
            let close = self.chosen(Worker::wants_close_look, Worker::target);
            if !close.is_empty() {
                outputs.push(Output::Probe(close));
            }
        }
        if now.mono >= self.next_probe {
            self.next_probe = now.mono + self.spec.rules.probe_every;
            let ordinary = |worker: &Worker| !worker.wants_close_look() && worker.offline_since().is_none();
            let others = self.chosen(ordinary, Worker::target);
            if !others.is_empty() {
                outputs.push(Output::Probe(others));
            }
            let queues = self.queue_names();
            if !queues.is_empty() {
                outputs.push(Output::AskQueues(queues));
            }
        }
        if now.mono >= self.next_learn {
            let unlearned = self.chosen(Worker::wants_learning, |worker| worker.hostname().clone());
            if !unlearned.is_empty() {
                self.next_learn = now.mono + LEARN_EVERY;
                outputs.push(Output::Learn(unlearned));
            }
        }
    }

    /// At most [`MAX_TARGETS`] of those who are wanted, the longest unasked first.
    fn chosen<T>(&self, wanted: impl Fn(&Worker) -> bool, make: impl Fn(&Worker) -> T) -> Vec<T> {
        let mut chosen: Vec<&Worker> = self.workers.values().filter(|worker| wanted(worker)).collect();
        if chosen.len() > MAX_TARGETS {
            chosen.sort_by_key(|worker| worker.last_asked());
            chosen.truncate(MAX_TARGETS);
        }
        chosen.into_iter().map(make).collect()
    }

    fn queue_names(&self) -> Vec<CompactString> {
        if !self.spec.queues.is_empty() {
            return self.spec.queues.clone();
        }
        let mut names: Vec<_> = self
            .workers
            .values()
            .filter_map(|w| w.queues.as_ref())
            .flatten()
            .cloned()
            .collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MAX_QUEUES);
        names
    }
}

/// Of so many missing workers the evidence is written down.
const MAX_WITNESSES: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    up: u32,
    suspect: u32,
    down: u32,
    unknown: u32,
    /// Said goodbye a moment ago; may be back at once.
    awaited: u32,
    expected: u32,
    minimum: u32,
}

impl Count {
    fn add(&mut self, worker: &Worker, t: Seen) {
        if worker.is_alive() {
            self.up += 1;
            self.suspect += u32::from(worker.is_suspect());
        } else if worker.diagnosis().is_some() {
            self.down += 1;
        } else if let Some(at) = worker.offline_since() {
            self.awaited += u32::from(t.since(at) < rules::ROLLOUT_GRACE);
        } else {
            self.unknown += 1;
        }
    }
}

/// A steady share of `span` for a name (FNV-1a, for its evenness on short strings).
fn spread(name: &str, span: Duration) -> Duration {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    span.mul_f64((hash >> 11) as f64 / (1_u64 << 53) as f64)
}
