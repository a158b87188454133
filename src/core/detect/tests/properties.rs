//! Whatever happens.

use std::time::Duration;

use compact_str::ToCompactString;
use proptest::prelude::*;

use super::world::*;
use crate::celery::inspect::Pool;
use crate::detect::*;

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
        let names = |memory: &FleetMemory| memory.workers.iter().map(|m| m.hostname.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&again.memory("redis://h")), names(&memory));
    }
}
