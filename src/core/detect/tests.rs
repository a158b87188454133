//! The fleet's detector against a small world of its own: workers that beat, answer, freeze and die on a virtual clock.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use proptest::prelude::*;

use super::*;
use crate::celery::inspect::Pool;
use crate::time::{Mono, Now, Wall};

/// What is true of a worker, whatever Headcount knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Well,
    Frozen,
    Dead,
    /// Cut off: its connection is gone until it comes back.
    Reconnecting,
}

struct Actual {
    truth: Truth,
    pid: u32,
    phase: u64,
    pool: Pool,
    /// Whether Headcount has heard of this life of it.
    heard: bool,
}

struct World {
    fleet: FleetDetector,
    workers: BTreeMap<CompactString, Actual>,
    ms: u64,
    /// Whether the broker shows presence, as RabbitMQ does.
    mailboxes: bool,
    seeing: bool,
    states: Vec<(u64, FleetState)>,
}

const STEP: u64 = 250;
const BEAT: u64 = 2_000;

fn spec(expected: Expected, minimum: Option<u32>) -> FleetSpec {
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
    fn new(spec: FleetSpec, workers: usize) -> Self {
        let mut world = Self::empty(FleetDetector::new(spec, Vec::new(), now(0)));
        for n in 0..workers {
            world.start(&format!("sms@h{n}"), Pool::Prefork);
        }
        world.sight(Sight::ClearAfterOutage(Duration::ZERO));
        world
    }

    fn empty(fleet: FleetDetector) -> Self {
        Self {
            fleet,
            workers: BTreeMap::new(),
            ms: 0,
            mailboxes: true,
            seeing: true,
            states: Vec::new(),
        }
    }

    fn start(&mut self, name: &str, pool: Pool) {
        let n = self.workers.len() as u64;
        let pid = u32::try_from(self.ms).unwrap() + 100 + u32::try_from(n).unwrap();
        let phase = (self.ms + n * 370) % BEAT;
        self.workers.insert(
            name.into(),
            Actual {
                truth: Truth::Well,
                pid,
                phase,
                pool,
                heard: false,
            },
        );
        self.say(name, Word::Online);
    }

    fn set(&mut self, name: &str, truth: Truth) {
        self.workers.get_mut(name).unwrap().truth = truth;
    }

    fn goodbye(&mut self, name: &str) {
        self.say(name, Word::Goodbye);
        self.workers.remove(name);
    }

    fn say(&mut self, name: &str, word: Word) {
        let sighting = Sighting {
            hostname: name.into(),
            pid: self.workers.get(name).map(|worker| worker.pid),
            word,
            beats: u32::from(word != Word::Goodbye),
            tasks: 0,
            last: now(self.ms).mono,
            interval: Some(Duration::from_millis(BEAT)),
            longest_gap: None,
            active: Some(0),
            processed: Some(1),
            software: None,
        };
        if self.seeing {
            if let Some(worker) = self.workers.get_mut(name) {
                worker.heard = true;
            }
            self.step(Input::Sighted(&[sighting]));
        }
    }

    fn sight(&mut self, sight: Sight) {
        self.seeing = sight != Sight::Blind;
        self.step(Input::Sight(sight));
    }

    fn step(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.fleet.step(now(self.ms), input, &mut outputs);
        self.note();
        for output in outputs {
            match output {
                Output::Probe(targets) => self.answer(&targets),
                Output::Learn(names) => {
                    for name in names {
                        if let Some(pool) = self.answering(&name).map(|worker| worker.pool) {
                            let learned = Learned {
                                pool: Some(pool),
                                queues: Some(vec!["sms".into()]),
                            };
                            self.step(Input::Learned(&[(name, learned)]));
                        }
                    }
                }
                Output::AskQueues(_) | Output::Changed => {}
            }
        }
    }

    fn answering(&self, name: &str) -> Option<&Actual> {
        self.workers.get(name).filter(|worker| worker.truth == Truth::Well)
    }

    fn answer(&mut self, targets: &[Target]) {
        if !self.seeing {
            return;
        }
        let probes: Vec<_> = targets
            .iter()
            .map(|target| {
                let answer = self.answering(&target.hostname).map(|_| Duration::from_millis(2));
                let connected = self
                    .workers
                    .get(&target.hostname)
                    .is_some_and(|worker| matches!(worker.truth, Truth::Well | Truth::Frozen));
                (
                    target.hostname.clone(),
                    Probed {
                        answer,
                        present: self.mailboxes.then_some(connected),
                    },
                )
            })
            .collect();
        self.step(Input::Probed(&probes));
    }

    fn note(&mut self) {
        let state = self.state();
        if self.states.last().map(|(_, state)| *state) != Some(state) {
            self.states.push((self.ms, state));
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms += STEP;
            let due: Vec<_> = self
                .workers
                .iter()
                .filter(|(_, worker)| worker.truth == Truth::Well && (self.ms + worker.phase) % BEAT < STEP)
                .map(|(name, _)| name.to_string())
                .collect();
            for name in due {
                self.say(&name, Word::Nothing);
            }
            self.step(Input::Tick);
        }
    }

    fn state(&self) -> FleetState {
        self.fleet.report(now(self.ms)).verdict.fleet.state
    }

    fn verdict(&self) -> FleetVerdict {
        self.fleet.report(now(self.ms)).verdict
    }

    /// Whether nothing but `healthy`, and `unknown`, has been said since `from`.
    fn quiet_since(&self, from: u64) -> bool {
        let last_before = self.states.iter().rev().find(|(ms, _)| *ms <= from);
        last_before
            .into_iter()
            .chain(self.states.iter().filter(|(ms, _)| *ms > from))
            .all(|(_, state)| matches!(state, FleetState::Healthy | FleetState::Unknown))
    }

    /// When the fleet entered `state` after `from`, in milliseconds after it.
    fn entered(&self, state: FleetState, from: u64) -> Option<u64> {
        self.states
            .iter()
            .find(|(ms, s)| *ms > from && *s == state)
            .map(|(ms, _)| ms - from)
    }
}

fn now(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(1_000_000_000 + ms * 1000),
        wall: Wall::from_micros(1_790_000_000_000_000 + i64::try_from(ms).unwrap() * 1000),
    }
}

#[test]
fn a_healthy_fleet_is_left_in_peace() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(600_000);
    assert_eq!(world.state(), FleetState::Healthy);
    assert!(world.quiet_since(0));
    assert_eq!(world.verdict().fleet.expected, 3);
}

#[test]
fn a_crash_is_found_within_seven_seconds_and_named() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    world.set("sms@h1", Truth::Dead);
    world.run(20_000);
    let found = world.entered(FleetState::Degraded, 60_000).unwrap();
    assert!(found <= 7_000, "{found} ms");
    let verdict = world.verdict();
    assert_eq!((verdict.fleet.up, verdict.fleet.expected), (2, 3));
    assert_eq!(verdict.missing[0].hostname, "sms@h1");
    assert_eq!(verdict.missing[0].diagnosis, Some(Diagnosis::Crashed));
    assert!(
        verdict
            .evidence
            .iter()
            .any(|evidence| evidence.signal == Some(Signal::Presence))
    );
}

#[test]
fn a_fleet_that_dies_at_once_falls_at_once() {
    let mut world = World::new(spec(Expected::Auto, None), 6);
    world.run(60_000);
    for n in 0..6 {
        world.set(&format!("sms@h{n}"), Truth::Dead);
    }
    world.run(20_000);
    assert_eq!(world.entered(FleetState::Degraded, 60_000), None, "{:?}", world.states);
    let found = world.entered(FleetState::Down, 60_000).unwrap();
    assert!(found <= 6_500, "{found} ms");
}

#[test]
fn without_mailboxes_a_dead_worker_is_unreachable_after_the_longer_deadline() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.mailboxes = false;
    world.run(60_000);
    world.set("sms@h1", Truth::Dead);
    world.run(20_000);
    let found = world.entered(FleetState::Degraded, 60_000).unwrap();
    assert!((12_000..=16_000).contains(&found), "{found} ms");
    assert_eq!(world.verdict().missing[0].diagnosis, Some(Diagnosis::Unreachable));
}

#[test]
fn a_worker_that_has_just_returned_is_found_as_soon_when_it_dies_again() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    for _ in 0..3 {
        let died = world.ms;
        world.set("sms@h1", Truth::Dead);
        world.run(20_000);
        let found = world.entered(FleetState::Degraded, died).unwrap();
        assert!(found <= 7_000, "{found} ms");
        world.set("sms@h1", Truth::Well);
        world.run(9_000);
        assert_eq!(world.state(), FleetState::Healthy);
    }
}

#[test]
fn a_frozen_only_worker_is_down_and_comes_back() {
    let mut world = World::new(spec(Expected::Auto, None), 1);
    world.run(60_000);
    world.set("sms@h0", Truth::Frozen);
    world.run(40_000);
    let found = world.entered(FleetState::Down, 60_000).unwrap();
    assert!((13_000..=16_500).contains(&found), "{found} ms");
    assert_eq!(world.verdict().missing[0].diagnosis, Some(Diagnosis::Frozen));
    world.set("sms@h0", Truth::Well);
    world.run(10_000);
    let back = world.entered(FleetState::Healthy, 100_000).unwrap();
    assert!(back <= 6_500, "{back} ms");
}

#[test]
fn pauses_of_ten_seconds_and_reconnects_are_healthy() {
    let mut world = World::new(spec(Expected::Auto, None), 2);
    world.run(60_000);
    for (truth, ms) in [
        (Truth::Frozen, 10_000),
        (Truth::Reconnecting, 4_000),
        (Truth::Frozen, 9_000),
    ] {
        world.set("sms@h1", truth);
        world.run(ms);
        world.set("sms@h1", Truth::Well);
        world.run(60_000);
    }
    assert!(world.quiet_since(0), "{:?}", world.states);
}

#[test]
fn a_busy_solo_worker_is_excused_and_a_dead_one_is_not() {
    let mut world = World::empty(FleetDetector::new(spec(Expected::Auto, None), Vec::new(), now(0)));
    world.start("sms@solo", Pool::Solo);
    world.sight(Sight::ClearAfterOutage(Duration::ZERO));
    world.run(60_000);
    world.set("sms@solo", Truth::Frozen);
    world.run(300_000);
    assert!(world.quiet_since(0), "{:?}", world.states);
    world.set("sms@solo", Truth::Dead);
    world.run(15_000);
    assert_eq!(world.verdict().missing[0].diagnosis, Some(Diagnosis::Crashed));
}

#[test]
fn goodbyes_are_no_loss() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    world.goodbye("sms@h2");
    world.run(60_000);
    assert!(world.quiet_since(0));
    assert_eq!(world.verdict().fleet.expected, 2);
    for n in ["sms@h0", "sms@h1"] {
        world.goodbye(n);
    }
    world.run(120_000);
    assert!(
        world.quiet_since(0),
        "a fleet that was shut down on purpose is not down"
    );
}

#[test]
fn a_configured_fleet_that_has_had_workers_is_down_without_any() {
    let configured = FleetSpec {
        minimum: Minimum::OneOnceSeen,
        ..spec(Expected::Auto, None)
    };
    let mut world = World::new(configured, 0);
    world.run(60_000);
    assert_eq!(world.state(), FleetState::Healthy, "it has never had any");
    world.start("sms@h0", Pool::Prefork);
    world.run(60_000);
    world.goodbye("sms@h0");
    world.run(60_000);
    assert!(world.quiet_since(0), "a restart may take a minute");
    world.run(20_000);
    assert_eq!(world.state(), FleetState::Down);
}

#[test]
fn who_is_named_and_never_came_is_named_as_missing() {
    let names = vec!["sms@h0".into(), "sms@ghost".into()];
    let mut world = World::new(spec(Expected::Names(names), None), 1);
    world.run(12_000);
    assert_eq!(world.state(), FleetState::Degraded);
    assert_eq!(world.verdict().missing[0].hostname, "sms@ghost");
}

#[test]
fn a_worker_is_unknown_while_headcount_is_blind() {
    let mut world = World::new(spec(Expected::Auto, None), 1);
    world.run(30_000);
    world.sight(Sight::Blind);
    world.run(1_000);
    let report = world.fleet.report(now(world.ms));
    assert_eq!(report.workers[0].state, WorkerState::Unknown);
    assert_eq!(report.workers[0].signals.presence.ok, None);
    world.sight(Sight::Clear);
    assert_eq!(world.fleet.report(now(world.ms)).workers[0].state, WorkerState::Up);
}

#[test]
fn a_rolling_restart_is_quiet_with_a_fixed_count_too() {
    for expected in [Expected::Auto, Expected::Count(4)] {
        let mut world = World::new(spec(expected, Some(4)), 4);
        world.run(60_000);
        for n in 0..4 {
            let name = format!("sms@h{n}");
            world.goodbye(&name);
            world.run(12_000);
            world.start(&name, Pool::Prefork);
            world.run(5_000);
        }
        assert!(world.quiet_since(0), "{:?}", world.states);
    }
}

#[test]
fn a_fixed_count_misses_who_said_goodbye_for_good() {
    let mut world = World::new(spec(Expected::Count(3), None), 3);
    world.run(60_000);
    world.goodbye("sms@h2");
    world.run(80_000);
    assert_eq!(world.state(), FleetState::Degraded);
    assert_eq!(world.verdict().missing[0].hostname, "sms@h2");
}

#[test]
fn who_never_came_is_missed_after_the_cold_start() {
    let mut world = World::new(spec(Expected::Count(4), None), 3);
    world.run(9_000);
    assert_eq!(world.state(), FleetState::Unknown);
    world.run(3_000);
    assert_eq!(world.state(), FleetState::Degraded);
}

#[test]
fn a_replacement_under_a_new_name_makes_the_fleet_whole() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    world.set("sms@h1", Truth::Dead);
    world.run(20_000);
    assert_eq!(world.state(), FleetState::Degraded);
    world.workers.remove("sms@h1");
    world.start("sms@new", Pool::Prefork);
    world.run(5_000);
    assert_eq!(world.state(), FleetState::Healthy);
    world.run(80_000);
    let verdict = world.verdict();
    assert_eq!(
        (verdict.fleet.up, verdict.fleet.expected, verdict.fleet.down),
        (3, 3, 0),
        "the lost one is let go"
    );
}

#[test]
fn a_restart_by_name_during_a_loss_is_no_replacement() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    world.set("sms@h1", Truth::Dead);
    world.run(20_000);
    world.goodbye("sms@h2");
    world.run(15_000);
    world.start("sms@h2", Pool::Prefork);
    world.run(100_000);
    assert_eq!(world.state(), FleetState::Degraded, "sms@h1 is still missing");
    assert_eq!(world.verdict().fleet.expected, 3);
}

#[test]
fn nothing_is_said_while_blind_and_the_workers_get_time_to_return() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    world.sight(Sight::Blind);
    for n in 0..3 {
        world.set(&format!("sms@h{n}"), Truth::Reconnecting);
    }
    world.run(60_000);
    assert_eq!(world.state(), FleetState::Unknown);
    world.sight(Sight::ClearAfterOutage(Duration::from_secs(60)));
    world.run(18_000);
    world.set("sms@h0", Truth::Well);
    world.set("sms@h1", Truth::Well);
    assert!(world.quiet_since(0), "{:?}", world.states);
    world.run(30_000);
    assert_eq!(
        world.state(),
        FleetState::Degraded,
        "who is still missing after the grace is told"
    );
    assert_eq!(world.verdict().missing[0].hostname, "sms@h2");
}

#[test]
fn our_own_pause_is_nobodys_silence() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    world.ms += 120_000;
    world.step(Input::Tick);
    world.run(60_000);
    assert!(world.quiet_since(0), "{:?}", world.states);
}

#[test]
fn after_a_restart_what_was_down_stays_down_and_what_was_up_is_unknown() {
    let mut world = World::new(spec(Expected::Auto, None), 2);
    world.run(60_000);
    world.set("sms@h1", Truth::Dead);
    world.run(20_000);
    let memory = world.fleet.memory("redis://h");
    let text = serde_json::to_string(&memory).unwrap();
    let memory = serde_json::from_str(&text).unwrap();
    let mut again = World::empty(FleetDetector::new(spec(Expected::Auto, None), memory, now(80_000)));
    again.ms = 80_000;
    again.workers = world.workers;
    let states = |world: &World| -> Vec<_> {
        world
            .fleet
            .report(now(world.ms))
            .workers
            .iter()
            .map(|worker| worker.state)
            .collect()
    };
    assert_eq!(states(&again), [WorkerState::Unknown, WorkerState::Down]);
    again.sight(Sight::ClearAfterOutage(Duration::ZERO));
    again.run(20_000);
    assert_eq!(states(&again), [WorkerState::Up, WorkerState::Down]);
    assert_eq!(again.state(), FleetState::Degraded);
    again.set("sms@h1", Truth::Well);
    again.run(8_000);
    assert_eq!(again.state(), FleetState::Healthy);
}

#[test]
fn a_worker_that_died_while_headcount_was_away_is_told_once() {
    let mut world = World::new(spec(Expected::Auto, None), 2);
    world.run(60_000);
    let memory = world.fleet.memory("redis://h");
    let mut again = World::empty(FleetDetector::new(spec(Expected::Auto, None), memory, now(90_000)));
    again.ms = 90_000;
    again.workers = world.workers;
    again.set("sms@h1", Truth::Dead);
    again.sight(Sight::ClearAfterOutage(Duration::ZERO));
    again.run(9_500);
    assert!(again.quiet_since(90_000), "{:?}", again.states);
    again.run(10_000);
    assert_eq!(again.state(), FleetState::Degraded);
}

/// Anything that can happen, in any order.
#[derive(Clone, Debug)]
enum Happening {
    Wait(u64),
    Start(u8),
    Set(u8, u8),
    Goodbye(u8),
    Blind,
    Clear(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0_u64..40_000).prop_map(Happening::Wait),
        2 => (0_u8..5).prop_map(Happening::Start),
        2 => (0_u8..5, 0_u8..4).prop_map(|(worker, truth)| Happening::Set(worker, truth)),
        1 => (0_u8..5).prop_map(Happening::Goodbye),
        1 => Just(Happening::Blind),
        2 => (0_u64..100).prop_map(Happening::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens: no verdict of a loss while blind, and every recovery follows a down of the same incident.
    #[test]
    fn invariants(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut world = World::new(spec(Expected::Auto, None), 3);
        let mut book = crate::alert::IncidentBook::default();
        let mut open: Option<crate::alert::IncidentId> = None;
        for happening in happenings {
            match happening {
                Happening::Wait(ms) => world.run(ms),
                Happening::Start(n) => world.start(&format!("sms@h{n}"), Pool::Prefork),
                Happening::Set(n, truth) => {
                    let name = format!("sms@h{n}").to_compact_string();
                    if world.workers.contains_key(&name) {
                        let truths = [Truth::Well, Truth::Frozen, Truth::Dead, Truth::Reconnecting];
                        world.set(&name, truths[usize::from(truth)]);
                    }
                }
                Happening::Goodbye(n) => {
                    let name = format!("sms@h{n}");
                    if world.workers.contains_key(name.as_str()) {
                        world.goodbye(&name);
                    }
                }
                Happening::Blind => world.sight(Sight::Blind),
                Happening::Clear(s) => world.sight(Sight::ClearAfterOutage(Duration::from_secs(s))),
            }
            if !world.seeing {
                prop_assert_eq!(world.state(), FleetState::Unknown);
            }
            let changed = book.fleet(now(world.ms).wall, &world.verdict());
            if !world.seeing {
                prop_assert!(changed.is_none());
            }
            if let Some(incident) = changed {
                match (&open, incident.is_open()) {
                    (None, true) => open = Some(incident.id),
                    (Some(id), true) => prop_assert_eq!(id, &incident.id),
                    (Some(id), false) => {
                        prop_assert_eq!(id, &incident.id);
                        open = None;
                    }
                    (None, false) => prop_assert!(false, "a recovery without its down"),
                }
            }
        }
        // In the end Headcount sees for longer than any excuse lasts: whoever is dead then is missed, and nobody who is
        // well.
        world.sight(Sight::Clear);
        world.run(700_000);
        let report = world.fleet.report(now(world.ms));
        for worker in &report.workers {
            let actual = world.workers.get(&worker.hostname);
            // A new life that was silent before Headcount could hear of it is, as far as anybody can know, none.
            let truth = actual.filter(|actual| actual.heard).map(|actual| actual.truth);
            let expected: &[WorkerState] = match truth {
                Some(Truth::Well) => &[WorkerState::Up],
                Some(Truth::Frozen | Truth::Dead | Truth::Reconnecting) => &[WorkerState::Down],
                None => &[WorkerState::Offline, WorkerState::Down],
            };
            prop_assert!(expected.contains(&worker.state), "{:?} is {:?}: {}", truth, worker.state, worker.hostname);
        }
    }

    /// A state that is saved and loaded has the same workers in the same order, and none of them is lost.
    #[test]
    fn memory_survives(happenings in prop::collection::vec(happening(), 1..20)) {
        let mut world = World::new(spec(Expected::Auto, None), 3);
        for happening in happenings {
            if let Happening::Wait(ms) = happening { world.run(ms) }
            if let Happening::Set(n, _) = happening
                && world.workers.contains_key(format!("sms@h{n}").as_str()) {
                world.set(&format!("sms@h{n}"), Truth::Dead);
            }
        }
        let memory = world.fleet.memory("redis://h");
        let again = FleetDetector::new(spec(Expected::Auto, None), memory.clone(), now(world.ms));
        let names = |memory: &[WorkerMemory]| memory.iter().map(|m| m.hostname.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&again.memory("redis://h")), names(&memory));
    }
}
