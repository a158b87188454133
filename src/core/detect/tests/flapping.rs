//! Workers that fall and return again and again.

use super::world::*;
use crate::alert::{Severity, Turn};
use crate::celery::inspect::Pool;
use crate::detect::*;

fn flapping(world: &mut World) {
    world.run(60_000);
    for _ in 0..3 {
        world.falls_for("sms@h1", 20_000);
        world.run(20_000);
    }
}

fn first_words(heard: &[String]) -> Vec<&str> {
    heard.iter().filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn it_is_told_once_and_then_that_it_is_over() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    flapping(&mut world);
    assert_eq!(
        first_words(&world.told.heard()),
        ["DEGRADED", "RECOVERED", "DEGRADED", "RECOVERED", "FLAPPING"]
    );
    for _ in 0..30 {
        world.falls_for("sms@h1", 20_000);
        world.run(20_000);
    }
    assert_eq!(world.told.heard(), [""; 0], "and nothing while it goes on");
    world.run(3_600_000);
    let heard = world.told.heard();
    assert_eq!(first_words(&heard), ["RECOVERED"], "{heard:?}");
    assert!(
        heard[0].starts_with("RECOVERED sms: 3 of 3 workers up, and steady again"),
        "{heard:?}"
    );
}

#[test]
fn the_state_shows_how_it_is_all_the_while() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    flapping(&mut world);
    let verdict = world.verdict();
    assert_eq!((verdict.fleet.state, verdict.fleet.up), (FleetState::Healthy, 3));
    assert_eq!(
        verdict.finding,
        Finding::Trouble {
            severity: Severity::Flapping,
            up: 2
        }
    );
    assert_eq!(verdict.missing[0].diagnosis, Some(Diagnosis::Flapping));
    world.set("sms@h1", Truth::Dead);
    world.run(20_000);
    assert_eq!(world.state(), FleetState::Degraded);
}

#[test]
fn who_stays_down_is_lost_after_all() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    flapping(&mut world);
    world.told.heard();
    world.set("sms@h1", Truth::Dead);
    world.run(110_000);
    assert_eq!(world.told.heard(), [""; 0]);
    world.run(30_000);
    let heard = world.told.heard();
    assert_eq!(first_words(&heard), ["DEGRADED"], "{heard:?}");
    assert!(heard[0].contains("2 of 3 workers up; sms@h1 crashed"), "{heard:?}");
    world.set("sms@h1", Truth::Well);
    world.run(3_600_000);
    assert_eq!(first_words(&world.told.heard()), ["RECOVERED"]);
}

#[test]
fn a_steady_workers_loss_beside_it_is_told_as_ever() {
    let mut world = World::new(spec(Expected::Auto, None), 4);
    flapping(&mut world);
    world.told.heard();
    world.set("sms@h2", Truth::Dead);
    world.run(15_000);
    let heard = world.told.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].starts_with("DEGRADED sms: 2 of 4 workers up; sms@h2 crashed"),
        "{heard:?}"
    );
    for _ in 0..3 {
        world.falls_for("sms@h1", 20_000);
        world.run(20_000);
    }
    assert_eq!(world.told.heard(), [""; 0], "its turns worsen nothing");
    world.set("sms@h2", Truth::Well);
    world.run(3_600_000);
    let heard = world.told.heard();
    assert_eq!(first_words(&heard), ["RECOVERED"], "{heard:?}");
}

#[test]
fn the_only_worker_of_a_fleet_flaps_and_the_fleet_is_not_down_at_each_turn() {
    let mut world = World::new(spec(Expected::Auto, None), 1);
    world.run(60_000);
    for _ in 0..10 {
        world.falls_for("sms@h0", 20_000);
        world.run(20_000);
    }
    assert_eq!(
        first_words(&world.told.heard()),
        ["DOWN", "RECOVERED", "DOWN", "RECOVERED", "FLAPPING"]
    );
}

#[test]
fn it_survives_a_restart() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    flapping(&mut world);
    world.told.heard();
    world.restart();
    world.run(20_000);
    for _ in 0..5 {
        world.falls_for("sms@h1", 20_000);
        world.run(20_000);
    }
    assert_eq!(world.told.heard(), [""; 0]);
    assert!(world.told.turns.iter().all(|(_, turn, _)| *turn != Turn::Recovered));
}

#[test]
fn one_that_is_replaced_hides_nobody_elses_loss() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    flapping(&mut world);
    world.told.heard();
    world.set("sms@h1", Truth::Dead);
    world.run(10_000);
    world.start("sms@h9", Pool::Prefork);
    world.run(5_000);
    assert_eq!(world.told.heard(), [""; 0], "it may yet come back");
    world.set("sms@h2", Truth::Dead);
    world.run(10_000);
    let heard = world.told.heard();
    assert_eq!(first_words(&heard), ["DEGRADED"], "{heard:?}");
    assert!(heard[0].contains("sms@h2 crashed"), "{heard:?}");
}

#[test]
fn nothing_follows_but_its_end_also_across_restarts() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    flapping(&mut world);
    world.told.heard();
    for _ in 0..4 {
        world.set("sms@h1", Truth::Dead);
        world.run(10_000);
        world.restart();
        world.run(15_000);
        world.set("sms@h1", Truth::Well);
        world.run(20_000);
        world.restart();
        world.run(20_000);
    }
    assert_eq!(world.told.heard(), [""; 0]);
    world.run(600_000);
    world.restart();
    world.run(3_600_000);
    let heard = world.told.heard();
    assert_eq!(first_words(&heard), ["RECOVERED"], "{heard:?}");
}
