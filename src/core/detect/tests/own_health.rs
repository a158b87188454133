//! Headcount doubts itself before it doubts a worker.

use super::world::*;
use crate::detect::*;

/// How long after its last beat a frozen worker is found, in milliseconds.
fn frozen_found(world: &mut World) -> u64 {
    let began = world.ms;
    world.set("sms@h1", Truth::Frozen);
    world.run(90_000);
    world.entered(FleetState::Degraded, began).unwrap()
}

#[test]
fn failed_probes_of_our_own_give_a_silent_worker_more_time_and_a_crashed_one_none() {
    let mut world = World::new(spec(Expected::Auto, None), 5);
    world.run(60_000);
    (0..4).for_each(|_| world.step(Input::Unprobed));
    let late = frozen_found(&mut world);
    assert!(late > 20_000, "{late} ms");
    let evidence = world.verdict().evidence;
    world.set("sms@h1", Truth::Well);
    world.run(120_000);
    let usual = frozen_found(&mut world);
    assert!(
        usual < 16_500,
        "after a good stretch it is as quick as ever: {usual} ms"
    );
    assert!(
        !evidence.iter().any(|one| one.says.contains("struggling")),
        "and by then it was well again"
    );

    world.set("sms@h1", Truth::Well);
    world.run(60_000);
    (0..8).for_each(|_| world.step(Input::Unprobed));
    let began = world.ms;
    world.set("sms@h2", Truth::Dead);
    world.run(20_000);
    let found = world.entered(FleetState::Degraded, began).unwrap();
    assert!(found <= 7_000, "{found} ms");
    let evidence = world.verdict().evidence;
    assert!(
        evidence
            .iter()
            .any(|one| one.says.starts_with("Headcount itself is struggling")),
        "{evidence:?}"
    );
}

#[test]
fn many_that_beat_on_time_and_miss_one_round_together_are_our_own_trouble() {
    let mut world = World::new(spec(Expected::Auto, None), 5);
    world.run(60_000);
    let nothing = Probed {
        answer: None,
        present: None,
    };
    let round: Vec<_> = world.workers.keys().map(|name| (name.clone(), nothing)).collect();
    world.step(Input::Probed(&round[..3]));
    assert_eq!(world.fleet.health.doubt().score(), 0, "three may be busy");
    world.run(10_000);
    (0..3).for_each(|_| world.step(Input::Probed(&round)));
    assert_eq!(world.fleet.health.doubt().score(), 3);
    world.step(Input::Probed(&round));
    assert_eq!(
        world.fleet.health.doubt().score(),
        3,
        "by now they are known to be deaf"
    );
    assert!(world.quiet_since(0));
}

#[test]
fn a_late_tick_and_a_late_canary_are_noticed() {
    let mut world = World::new(spec(Expected::Auto, None), 2);
    world.run(60_000);
    world.ms += 5_000;
    world.step(Input::Tick);
    assert_eq!(world.fleet.health.doubt().score(), 1);
    world.sight(Sight::Blind);
    world.sight(Sight::Clear);
    assert_eq!(world.fleet.health.doubt().score(), 2);
    world.sight(Sight::Blind);
    world.sight(Sight::ClearAfterOutage(std::time::Duration::from_secs(5)));
    assert_eq!(
        world.fleet.health.doubt().score(),
        2,
        "an outage of the broker's is not ours"
    );
}

#[test]
fn workers_that_fall_together_are_no_trouble_of_ours() {
    let mut world = World::new(spec(Expected::Auto, None), 8);
    world.run(60_000);
    for n in 0..8 {
        world.set(&format!("sms@h{n}"), Truth::Dead);
    }
    world.run(20_000);
    assert_eq!(world.state(), FleetState::Down);
    assert_eq!(
        world.fleet.health.doubt().score(),
        0,
        "the broker answered, and said so"
    );
}

#[test]
fn workers_that_stay_deaf_say_nothing_of_us() {
    let mut world = World::new(spec(Expected::Auto, None), 8);
    world.run(60_000);
    world.deaf = true;
    world.run(300_000);
    assert_eq!(world.fleet.health.doubt().score(), 0);
    let found = frozen_found(&mut world);
    assert!(found < 16_500, "{found} ms");
}
