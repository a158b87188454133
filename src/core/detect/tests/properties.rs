//! Whatever happens.

use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use proptest::prelude::*;

use super::world::*;
use crate::alert::Turn;
use crate::celery::inspect::Pool;
use crate::detect::*;
use crate::status::QueueStatus;
use crate::time::{Mono, Now, Wall};

/// Anything that can happen, in any order.
#[derive(Clone, Debug)]
enum Happening {
    Wait(u64),
    Start(u8),
    Set(u8, u8),
    Goodbye(u8),
    /// The connection that shows its presence is lost alone, or is back.
    Shown(u8, bool),
    Works(u8, Working),
    Backlog(u64),
    Blind,
    Clear(u64),
    Restart,
}

fn happens(world: &mut World, happening: &Happening) {
    match *happening {
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
        Happening::Shown(n, shown) => {
            if let Some(worker) = world.workers.get_mut(format!("sms@h{n}").as_str()) {
                worker.unshown = !shown;
            }
        }
        Happening::Works(n, working) => {
            if let Some(worker) = world.workers.get_mut(format!("sms@h{n}").as_str()) {
                worker.working = working;
            }
        }
        Happening::Backlog(waits) => world.backlog = waits,
        Happening::Blind => world.sight(Sight::Blind),
        Happening::Clear(s) => world.sight(Sight::ClearAfterOutage(Duration::from_secs(s))),
        Happening::Restart => world.restart(),
    }
}

/// What can happen to workers that keep their names and say no goodbye.
fn loss() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => (0_u64..40_000).prop_map(Happening::Wait),
        1 => (0_u8..5, 0_u8..4).prop_map(|(worker, truth)| Happening::Set(worker, truth)),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0_u64..40_000).prop_map(Happening::Wait),
        2 => (0_u8..5).prop_map(Happening::Start),
        2 => (0_u8..5, 0_u8..4).prop_map(|(worker, truth)| Happening::Set(worker, truth)),
        1 => (0_u8..5).prop_map(Happening::Goodbye),
        1 => (0_u8..5, any::<bool>()).prop_map(|(worker, shown)| Happening::Shown(worker, shown)),
        1 => Just(Happening::Blind),
        2 => (0_u64..100).prop_map(Happening::Clear),
    ]
}

/// The same, and workers that do not work.
fn happening_at_work() -> impl Strategy<Value = Happening> {
    let working = prop_oneof![
        2 => Just(Working::Well),
        1 => Just(Working::Unsubscribed),
        1 => Just(Working::Hung),
    ];
    prop_oneof![
        8 => happening(),
        2 => (0_u8..5, working).prop_map(|(worker, working)| Happening::Works(worker, working)),
        1 => (0_u64..3).prop_map(Happening::Backlog),
    ]
}

proptest! {
    #![proptest_config(crate::property::cases(64))]

    /// Whatever happens: no verdict of a loss while blind, and every recovery follows a down of the same incident.
    #[test]
    fn invariants(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut world = World::new(spec(Expected::Auto, None), 3);
        let mut book = crate::alert::IncidentBook::default();
        let mut open: Option<crate::alert::IncidentId> = None;
        for happening in happenings {
            happens(&mut world, &happening);
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
        let names = |memory: &FleetMemory| memory.workers.iter().map(|m| m.hostname.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&again.memory("redis://h")), names(&memory));
    }
}

proptest! {
    #![proptest_config(crate::property::cases(32))]

    /// In which order things are heard that happen at one moment is chance: the end is the same.
    #[test]
    fn the_order_of_independent_inputs_does_not_change_the_end(happenings in prop::collection::vec(happening(), 1..25)) {
        let end = |backwards: bool| {
            let mut world = World::new(spec(Expected::Auto, None), 5);
            world.backwards = backwards;
            for happening in &happenings {
                happens(&mut world, happening);
            }
            let report = world.fleet.report(now(world.ms));
            let workers: Vec<_> = report.workers.iter().map(|worker| (worker.hostname.clone(), worker.state)).collect();
            let fleet = report.verdict.fleet;
            (workers, fleet.state, fleet.up, fleet.expected, world.told.words())
        };
        prop_assert_eq!(end(false), end(true));
    }

    /// A restart of Headcount is forgotten once it has looked for a while.
    #[test]
    fn saved_and_loaded_it_judges_as_if_never_saved(
        before in prop::collection::vec(loss(), 0..12),
        after in prop::collection::vec(loss(), 0..12),
    ) {
        let end = |restarts: bool| {
            let mut world = World::new(spec(Expected::Auto, None), 5);
            world.run(60_000);
            before.iter().for_each(|happening| happens(&mut world, happening));
            if restarts {
                world.restart();
            }
            world.run(60_000);
            after.iter().for_each(|happening| happens(&mut world, happening));
            world.run(120_000);
            let report = world.fleet.report(now(world.ms));
            let workers: Vec<_> = report.workers.iter().map(|worker| (worker.hostname.clone(), worker.state)).collect();
            let open = world.told.book.open().len();
            (workers, report.verdict.fleet.state, report.verdict.fleet.expected, open)
        };
        prop_assert_eq!(end(true), end(false));
    }

    /// Each incident is told from its beginning to its end, once, whatever happens and however often Headcount is killed.
    #[test]
    fn never_a_recovery_without_its_down_and_never_a_down_twice(
        happenings in prop::collection::vec(prop_oneof![9 => happening(), 1 => Just(Happening::Restart)], 1..40),
    ) {
        let mut world = World::new(spec(Expected::Auto, None), 4);
        for happening in &happenings {
            happens(&mut world, happening);
        }
        world.sight(Sight::Clear);
        world.run(700_000);
        let mut open: Option<&crate::alert::IncidentId> = None;
        for (_, id, turn, _) in &world.told.all {
            match turn {
                Turn::Opened => {
                    prop_assert!(open.is_none(), "{:#?}", world.told.all);
                    open = Some(id);
                }
                Turn::Recovered => {
                    prop_assert_eq!(open, Some(id));
                    open = None;
                }
                _ => prop_assert_eq!(open, Some(id)),
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::property::cases(48))]

    /// A fleet that leaves itself alone until its next deadline sleeps through none.
    #[test]
    fn no_deadline_is_slept_through(
        solo in any::<bool>(),
        happenings in prop::collection::vec(prop_oneof![9 => happening_at_work(), 1 => Just(Happening::Restart)], 1..30),
    ) {
        sleeps_through_nothing(solo, &happenings);
    }
}

/// Four workers of a pool of processes, and a solo one if wanted, live through it, beside a fleet that never rests.
fn sleeps_through_nothing(solo: bool, happenings: &[Happening]) {
    let mut world = World::new(spec(Expected::Auto, None), 4);
    if solo {
        world.start("sms@h4", Pool::Solo);
    }
    world.run(20_000);
    for happening in happenings {
        match happening {
            Happening::Wait(ms) => world.run_beside_one_awake(*ms),
            other => happens(&mut world, other),
        }
    }
    world.run_beside_one_awake(120_000);
}

/// One whose connection has gone while its silence was judged has crashed: at once, and not a step later than one who does
/// not rest would say.
#[test]
fn a_better_diagnosis_is_not_slept_through() {
    use Happening::{Restart, Set, Shown, Wait};
    let (frozen, dead) = (1, 2);
    sleeps_through_nothing(true, &[Set(4, frozen), Restart, Wait(9_000), Shown(4, false)]);
    sleeps_through_nothing(true, &[Restart, Set(4, frozen), Wait(8_250), Set(4, dead)]);
}

/// What a worker, a broker or a clock may send in its worst hour.
#[derive(Clone, Debug)]
enum Nonsense {
    Tick,
    Sighted(Vec<Sighting>),
    Probed(Vec<(CompactString, Probed)>),
    Learned(Vec<(CompactString, Learned)>),
    Means(Vec<(CompactString, Means)>),
    Takers(Option<u32>),
    Worked(Vec<(CompactString, WorkLook)>),
    Unprobed,
    Found(Vec<(CompactString, Duration)>),
    Queues(Vec<QueueStatus>),
    Sight(Sight),
    Restart,
}

fn name() -> impl Strategy<Value = CompactString> {
    prop_oneof![
        6 => (0_u8..4).prop_map(|n| CompactString::from(format!("sms@h{n}"))),
        1 => Just(CompactString::from("")),
        1 => any::<String>().prop_map(CompactString::from),
    ]
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        any::<u64>().prop_map(Duration::from_micros),
        (0_u64..100_000).prop_map(Duration::from_millis),
        Just(Duration::ZERO),
        Just(Duration::MAX),
    ]
}

fn mono() -> impl Strategy<Value = Mono> {
    prop_oneof![
        any::<u64>().prop_map(Mono::from_micros),
        (0_u64..100_000).prop_map(|ms| Mono::from_micros(ms * 1_000)),
    ]
}

fn of_each<T: std::fmt::Debug>(what: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<(CompactString, T)>> {
    prop::collection::vec((name(), what), 0..5)
}

fn sighting() -> impl Strategy<Value = Sighting> {
    let word = prop_oneof![Just(Word::Nothing), Just(Word::Online), Just(Word::Goodbye)];
    let counts = (any::<u32>(), any::<u32>(), any::<Option<u64>>(), any::<Option<u64>>());
    let spans = (span(), prop::option::of(span()), prop::option::of(span()), mono());
    let process = (any::<Option<u32>>(), any::<bool>());
    (name(), process, word, counts, spans, any::<bool>()).prop_map(
        |(
            hostname,
            (pid, anew),
            word,
            (beats, tasks, active, processed),
            (age, interval, longest_gap, last),
            shared,
        )| {
            Sighting {
                hostname,
                pid,
                anew,
                word,
                beats,
                tasks,
                last,
                age,
                interval,
                longest_gap,
                active,
                processed,
                software: shared.then(|| "py-celery 5.7.0 (Linux)".into()),
                unfinished: None,
                shared,
            }
        },
    )
}

fn queue() -> impl Strategy<Value = QueueStatus> {
    (name(), any::<u64>(), any::<Option<u32>>()).prop_map(|(name, length, consumers)| QueueStatus {
        name,
        length,
        consumers,
    })
}

fn nonsense() -> impl Strategy<Value = Nonsense> {
    let queues = || prop::option::of(prop::collection::vec(name(), 0..3));
    let probed =
        (prop::option::of(span()), any::<Option<bool>>()).prop_map(|(answer, present)| Probed { answer, present });
    let pool = prop::option::of(prop_oneof![Just(Pool::Prefork), Just(Pool::Solo)]);
    let learned = (pool, queues()).prop_map(|(pool, queues)| Learned { pool, queues });
    let means = (
        any::<Option<u32>>(),
        any::<Option<u64>>(),
        prop::option::of(span()),
        prop::option::of(span()),
        any::<Option<bool>>(),
    )
        .prop_map(|(slots, prefetch, time_limit, slowest_rate, serves_one)| Means {
            slots,
            prefetch,
            time_limit,
            slowest_rate,
            serves_one,
        });
    let look = (
        queues(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
    )
        .prop_map(|(queues, running, reserved, scheduled)| WorkLook {
            queues,
            running,
            reserved,
            scheduled,
        });
    let sight = prop_oneof![
        Just(Sight::Clear),
        Just(Sight::Blind),
        span().prop_map(Sight::ClearAfterOutage)
    ];
    prop_oneof![
        8 => Just(Nonsense::Tick),
        8 => prop::collection::vec(sighting(), 0..5).prop_map(Nonsense::Sighted),
        4 => of_each(probed).prop_map(Nonsense::Probed),
        2 => of_each(learned).prop_map(Nonsense::Learned),
        1 => of_each(means).prop_map(Nonsense::Means),
        1 => any::<Option<u32>>().prop_map(Nonsense::Takers),
        2 => of_each(look).prop_map(Nonsense::Worked),
        1 => Just(Nonsense::Unprobed),
        1 => of_each(span()).prop_map(Nonsense::Found),
        1 => prop::collection::vec(queue(), 0..4).prop_map(Nonsense::Queues),
        2 => sight.prop_map(Nonsense::Sight),
        1 => Just(Nonsense::Restart),
    ]
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        Just(Expected::Auto),
        any::<u32>().prop_map(Expected::Count),
        prop::collection::vec(name(), 0..4).prop_map(Expected::Names),
    ]
}

proptest! {
    #![proptest_config(crate::property::cases(256))]

    /// Any input at any time, backwards too: no panic, and a fleet that cannot be seen is unknown.
    #[test]
    fn nonsense_never_panics(
        expected in expected(),
        minimum in any::<Option<u32>>(),
        inputs in prop::collection::vec((nonsense(), mono(), any::<i64>()), 1..60),
    ) {
        let mut fleet = FleetDetector::new(spec(expected, minimum), Vec::new(), now(0));
        let mut book = crate::alert::IncidentBook::default();
        let mut seeing = false;
        let mut outputs = Vec::new();
        for (input, mono, wall) in inputs {
            let now = Now { mono, wall: Wall::from_micros(wall) };
            let input = match &input {
                Nonsense::Tick => Input::Tick,
                Nonsense::Sighted(all) => Input::Sighted(all),
                Nonsense::Probed(all) => Input::Probed(all),
                Nonsense::Learned(all) => Input::Learned(all),
                Nonsense::Means(all) => Input::Means(all),
                Nonsense::Takers(takers) => Input::Takers(*takers),
                Nonsense::Worked(all) => Input::Worked(all),
                Nonsense::Unprobed => Input::Unprobed,
                Nonsense::Found(all) => Input::Found(all),
                Nonsense::Queues(queues) => Input::Queues(queues.clone()),
                Nonsense::Sight(sight) => {
                    seeing = *sight != Sight::Blind;
                    Input::Sight(*sight)
                }
                Nonsense::Restart => {
                    fleet = FleetDetector::new(fleet.spec().clone(), fleet.memory("redis://h"), now);
                    seeing = false;
                    Input::Tick
                }
            };
            fleet.step(now, input, &mut outputs);
            let report = fleet.report(now);
            prop_assert!(seeing || report.verdict.fleet.state == FleetState::Unknown);
            let incident = book.fleet(now.wall, &report.verdict);
            prop_assert!(seeing || incident.is_none());
            if let Some(incident) = incident {
                let turn = crate::alert::debounce::turn(&incident).unwrap_or(Turn::Opened);
                let notice = crate::alert::Notice { turn, at: now.wall, incident, link: None };
                prop_assert!(!notice.text().is_empty());
            }
        }
    }
}

#[test]
fn a_step_in_which_nothing_happens_allocates_nothing() {
    let mut world = World::new(spec(Expected::Auto, None), 100);
    world.run(60_000);
    let mut outputs = Vec::new();
    // The first may look at everybody; for a moment after that nothing is due.
    world.fleet.step(now(world.ms), Input::Tick, &mut outputs);
    outputs.clear();
    let counted = allocation_counter::measure(|| {
        world.fleet.step(now(world.ms + 1), Input::Tick, &mut outputs);
        world.fleet.step(now(world.ms + 2), Input::Tick, &mut outputs);
    });
    assert_eq!(counted.count_total, 0);
}
