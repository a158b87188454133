//! A small world of its own: workers that beat, answer, freeze and die on a virtual clock, and people who are told.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;

use crate::alert::debounce::{self, Decision};
use crate::alert::{Incident, IncidentBook, IncidentId, Notice, Turn};
use crate::celery::inspect::Pool;
use crate::detect::*;
use crate::status::QueueStatus;
use crate::time::{Mono, Now, Wall};

/// The book of incidents and what is told of them, as the aggregator and the debouncer do it.
#[derive(Default)]
pub(super) struct Telling {
    pub(super) book: IncidentBook,
    pending: Vec<(Incident, bool, Mono)>,
    pub(super) turns: Vec<(u64, Turn, String)>,
    /// The same, from the beginning.
    pub(super) all: Vec<(u64, IncidentId, Turn, String)>,
}

impl Telling {
    fn takes(&mut self, now: Now, verdict: &FleetVerdict) {
        let changed = self.book.fleet(now.wall, verdict);
        let changed = changed.or_else(|| self.book.find(crate::alert::Kind::Fleet, &verdict.fleet.name).cloned());
        let Some(mut incident) = changed else { return };
        match self.pending.iter_mut().find(|(known, ..)| known.id == incident.id) {
            Some((known, unsettled, _)) => {
                incident.told = known.told.take();
                *known = incident;
                *unsettled = verdict.unsettled;
            }
            None => self.pending.push((incident, verdict.unsettled, now.mono)),
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Now) {
        for (incident, unsettled, since) in &mut self.pending {
            if incident.told.as_ref().is_some_and(|told| told.recovered) {
                continue;
            }
            if let Decision::Tell(turn) = debounce::decide(now.mono, incident, *unsettled, *since) {
                incident.told = Some(debounce::told(incident, turn, now.wall));
                *since = now.mono;
                let notice = Notice {
                    turn,
                    at: now.wall,
                    incident: incident.clone(),
                    link: None,
                };
                let ms = (now.mono.as_micros() - 1_000_000_000) / 1_000;
                self.turns.push((ms, turn, notice.text()));
                self.all.push((ms, incident.id.clone(), turn, notice.text()));
            }
        }
    }

    fn restart(&mut self) {
        self.book = IncidentBook::resume(self.book.open());
    }

    /// The first words of all that was told.
    pub(super) fn words(&self) -> Vec<String> {
        let first = |text: &String| text.split(':').next().unwrap_or_default().to_owned();
        self.all.iter().map(|(.., text)| first(text)).collect()
    }

    /// What a channel without threads has been told since this was last asked.
    pub(super) fn heard(&mut self) -> Vec<String> {
        let turns = std::mem::take(&mut self.turns).into_iter();
        let silent = |turn: &Turn| matches!(turn, Turn::Eased | Turn::Relapsed | Turn::Shifted);
        turns
            .filter(|(_, turn, _)| !silent(turn))
            .map(|(.., text)| text)
            .collect()
    }
}

/// What is true of a worker, whatever Headcount knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Well,
    Frozen,
    Dead,
    /// Cut off: its connection is gone until it comes back.
    Reconnecting,
}

/// How a worker that is well works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Working {
    Well,
    /// It consumes nothing any more.
    Unsubscribed,
    /// It holds a task, and does not get on with it.
    Hung,
}

pub(super) struct Actual {
    pub(super) working: Working,
    pub(super) truth: Truth,
    pub(super) pid: u32,
    pub(super) phase: u64,
    pub(super) pool: Pool,
    /// Whether Headcount has heard of this life of it.
    pub(super) heard: bool,
    /// The connection that shows its presence has been lost alone: it goes on beating and answering.
    pub(super) unshown: bool,
}

pub(super) struct World {
    pub(super) fleet: FleetDetector,
    pub(super) workers: BTreeMap<CompactString, Actual>,
    pub(super) ms: u64,
    /// Whether the broker shows presence, as RabbitMQ does.
    pub(super) mailboxes: bool,
    pub(super) seeing: bool,
    /// No worker answers anything any more: remote control has been switched off.
    pub(super) deaf: bool,
    /// So many messages wait in the fleet's queue.
    pub(super) backlog: u64,
    /// What comes at one moment comes in the reverse order.
    pub(super) backwards: bool,
    pub(super) states: Vec<(u64, FleetState)>,
    /// What people are told of it.
    pub(super) told: Telling,
}

pub(super) const STEP: u64 = 250;
pub(super) const BEAT: u64 = 2_000;

pub(super) fn spec(expected: Expected, minimum: Option<u32>) -> FleetSpec {
    FleetSpec {
        name: "sms".into(),
        broker: "main".into(),
        expected,
        minimum: minimum.map_or(Minimum::OneWhileExpected, Minimum::Given),
        queues: vec!["sms".into()],
        rules: Rules::default(),
    }
}

impl World {
    pub(super) fn new(spec: FleetSpec, workers: usize) -> Self {
        let mut world = Self::empty(FleetDetector::new(spec, Vec::new(), now(0)));
        for n in 0..workers {
            world.start(&format!("sms@h{n}"), Pool::Prefork);
        }
        world.sight(Sight::ClearAfterOutage(Duration::ZERO));
        world
    }

    pub(super) fn empty(fleet: FleetDetector) -> Self {
        Self {
            fleet,
            workers: BTreeMap::new(),
            ms: 0,
            mailboxes: true,
            seeing: true,
            deaf: false,
            backwards: false,
            backlog: 0,
            states: Vec::new(),
            told: Telling::default(),
        }
    }

    pub(super) fn start(&mut self, name: &str, pool: Pool) {
        let n = self.workers.len() as u64;
        let pid = u32::try_from(self.ms).unwrap() + 100 + u32::try_from(n).unwrap();
        let phase = (self.ms + n * 370) % BEAT;
        self.workers.insert(
            name.into(),
            Actual {
                working: Working::Well,
                truth: Truth::Well,
                pid,
                phase,
                pool,
                heard: false,
                unshown: false,
            },
        );
        self.say(name, Word::Online);
    }

    pub(super) fn works(&mut self, name: &str, working: Working) {
        self.workers.get_mut(name).unwrap().working = working;
    }

    fn consumes(&self, name: &str) -> Vec<CompactString> {
        match self.working(name) {
            Working::Unsubscribed => Vec::new(),
            Working::Well | Working::Hung => vec!["sms".into()],
        }
    }

    fn working(&self, name: &str) -> Working {
        self.workers.get(name).map_or(Working::Well, |worker| worker.working)
    }

    pub(super) fn set(&mut self, name: &str, truth: Truth) {
        self.workers.get_mut(name).unwrap().truth = truth;
    }

    pub(super) fn goodbye(&mut self, name: &str) {
        self.say(name, Word::Goodbye);
        self.workers.remove(name);
    }

    pub(super) fn say(&mut self, name: &str, word: Word) {
        let sighting = Sighting {
            hostname: name.into(),
            pid: self.workers.get(name).map(|worker| worker.pid),
            anew: false,
            word,
            beats: u32::from(word != Word::Goodbye),
            tasks: 0,
            last: now(self.ms).mono,
            age: Duration::ZERO,
            interval: Some(Duration::from_millis(BEAT)),
            longest_gap: None,
            active: Some(u64::from(self.working(name) == Working::Hung)),
            processed: Some(match self.working(name) {
                Working::Well => self.ms * self.backlog.min(1),
                Working::Unsubscribed | Working::Hung => 0,
            }),
            software: None,
            unfinished: None,
            shared: false,
        };
        if self.seeing {
            if let Some(worker) = self.workers.get_mut(name) {
                worker.heard = true;
            }
            self.step(Input::Sighted(&[sighting]));
        }
    }

    pub(super) fn sight(&mut self, sight: Sight) {
        self.seeing = sight != Sight::Blind;
        self.step(Input::Sight(sight));
    }

    pub(super) fn step(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.fleet.step(now(self.ms), input, &mut outputs);
        if outputs.contains(&Output::Changed) {
            self.note();
        }
        for output in outputs {
            match output {
                Output::Probe(targets) => self.answer(&targets),
                Output::Learn(names) => {
                    for name in names {
                        if let Some(pool) = self.answering(&name).map(|worker| worker.pool) {
                            let learned = Learned {
                                pool: Some(pool),
                                queues: Some(self.consumes(&name)),
                            };
                            self.step(Input::Learned(&[(name, learned)]));
                        }
                    }
                }
                Output::LookAtWork(names) => {
                    for name in names {
                        if self.answering(&name).is_none() {
                            continue;
                        }
                        let working = self.working(&name);
                        let look = WorkLook {
                            queues: Some(self.consumes(&name)),
                            running: Some(u32::from(working == Working::Hung)),
                            reserved: Some(0),
                            scheduled: Some(0),
                        };
                        self.step(Input::Worked(&[(name, look)]));
                    }
                }
                Output::AskQueues(_) if self.backlog > 0 => {
                    let queue = QueueStatus {
                        name: "sms".into(),
                        length: self.backlog,
                        consumers: None,
                    };
                    self.step(Input::Queues(vec![queue]));
                }
                Output::AskQueues(_) | Output::Changed => {}
            }
        }
    }

    pub(super) fn answering(&self, name: &str) -> Option<&Actual> {
        let answers = |worker: &&Actual| worker.truth == Truth::Well && !self.deaf;
        self.workers.get(name).filter(answers)
    }

    pub(super) fn answer(&mut self, targets: &[Target]) {
        if !self.seeing {
            return;
        }
        let mut probes: Vec<_> = targets
            .iter()
            .map(|target| {
                let answer = self.answering(&target.hostname).map(|_| Duration::from_millis(2));
                let connected = self
                    .workers
                    .get(&target.hostname)
                    .is_some_and(|worker| !worker.unshown && matches!(worker.truth, Truth::Well | Truth::Frozen));
                (
                    target.hostname.clone(),
                    Probed {
                        answer,
                        present: self.mailboxes.then_some(connected),
                    },
                )
            })
            .collect();
        if self.backwards {
            probes.reverse();
        }
        self.step(Input::Probed(&probes));
    }

    pub(super) fn note(&mut self) {
        let verdict = self.verdict();
        let state = verdict.fleet.state;
        if self.states.last().map(|(_, state)| *state) != Some(state) {
            self.states.push((self.ms, state));
        }
        self.told.takes(now(self.ms), &verdict);
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms += STEP;
            let mut due: Vec<_> = self
                .workers
                .iter()
                .filter(|(_, worker)| worker.truth == Truth::Well && (self.ms + worker.phase) % BEAT < STEP)
                .map(|(name, _)| name.to_string())
                .collect();
            if self.backwards {
                due.reverse();
            }
            for name in due {
                self.say(&name, Word::Nothing);
            }
            self.step(Input::Tick);
            self.told.tick(now(self.ms));
        }
    }

    /// The same, and one that never rests would say the same of each worker's life at the same moment. Only those who are
    /// excused, and what becomes of their work, may be judged later, by [`rules::JUDGED_EVERY`].
    pub(super) fn run_beside_one_awake(&mut self, ms: u64) {
        for _ in 0..ms / STEP {
            self.run(STEP);
            let mut awake = self.fleet.clone();
            awake.wake();
            awake.step(now(self.ms), Input::Tick, &mut Vec::new());
            let before = self.fleet.clock.read() - rules::JUDGED_EVERY;
            for worker in self.fleet.workers.values() {
                let Some(other) = awake.workers.get(worker.hostname()) else {
                    continue;
                };
                let excused = worker.is_suspect() && worker.excuse(before, &self.fleet.spec.rules).is_some();
                if !excused {
                    let said = |worker: &Worker| (worker.is_alive(), worker.is_suspect(), worker.diagnosis());
                    assert_eq!(said(worker), said(other), "{} at {} ms", worker.hostname(), self.ms);
                }
            }
        }
    }

    /// Headcount is killed and started again, and sees at once.
    pub(super) fn restart(&mut self) {
        let memory = self.fleet.memory("redis://h");
        let text = serde_json::to_string(&memory).unwrap();
        let memory: FleetMemory = serde_json::from_str(&text).unwrap();
        self.fleet = FleetDetector::new(self.fleet.spec().clone(), memory, now(self.ms));
        self.told.restart();
        self.sight(Sight::ClearAfterOutage(Duration::ZERO));
    }

    /// A worker dies, and is back after so long.
    pub(super) fn falls_for(&mut self, name: &str, ms: u64) {
        self.set(name, Truth::Dead);
        self.run(ms);
        self.set(name, Truth::Well);
    }

    pub(super) fn state(&self) -> FleetState {
        self.fleet.report(now(self.ms)).verdict.fleet.state
    }

    pub(super) fn verdict(&self) -> FleetVerdict {
        self.fleet.report(now(self.ms)).verdict
    }

    /// Whether nothing but `healthy`, and `unknown`, has been said since `from`.
    pub(super) fn quiet_since(&self, from: u64) -> bool {
        let last_before = self.states.iter().rev().find(|(ms, _)| *ms <= from);
        last_before
            .into_iter()
            .chain(self.states.iter().filter(|(ms, _)| *ms > from))
            .all(|(_, state)| matches!(state, FleetState::Healthy | FleetState::Unknown))
    }

    /// When the fleet entered `state` after `from`, in milliseconds after it.
    pub(super) fn entered(&self, state: FleetState, from: u64) -> Option<u64> {
        self.states
            .iter()
            .find(|(ms, s)| *ms > from && *s == state)
            .map(|(ms, _)| ms - from)
    }
}

pub(super) fn now(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(1_000_000_000 + ms * 1000),
        wall: Wall::from_micros(1_790_000_000_000_000 + i64::try_from(ms).unwrap() * 1000),
    }
}
