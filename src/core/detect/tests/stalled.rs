//! What a fleet makes of workers that are alive and of no use.

use super::world::*;
use crate::alert::Severity;
use crate::detect::*;

/// A fleet of three with a queue that is never empty, and workers that deal with it like this.
fn with_trouble(troubles: &[(&str, Working)], minimum: Option<u32>) -> World {
    let mut world = World::new(spec(Expected::Auto, minimum), 3);
    world.backlog = 41;
    world.run(60_000);
    troubles.iter().for_each(|(name, working)| world.works(name, *working));
    let stuck = troubles.iter().any(|(_, working)| *working == Working::Hung);
    world.run(if stuck { 700_000 } else { 30_000 });
    world
}

fn severity(world: &World) -> Option<Severity> {
    match world.verdict().finding {
        Finding::Trouble { severity, .. } => Some(severity),
        Finding::Unknown | Finding::Well => None,
    }
}

#[test]
fn one_that_consumes_nothing_is_counted_apart_and_told_as_what_it_is() {
    let mut world = with_trouble(&[("sms@h1", Working::Unsubscribed)], None);
    let fleet = world.verdict().fleet;
    assert_eq!((fleet.up, fleet.stalled, fleet.down, fleet.expected), (2, 1, 0, 3));
    assert_eq!(
        (fleet.state, severity(&world)),
        (FleetState::Degraded, Some(Severity::Stalled))
    );
    let heard = world.told.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].starts_with("STALLED sms: 2 of 3 workers up; sms@h1 alive but consuming nothing for "),
        "{heard:?}"
    );
    assert!(heard[0].ends_with("; 41 tasks wait"), "{heard:?}");
    let incident = &world.told.book.open()[0];
    assert_eq!(incident.diagnosis.map(Diagnosis::as_str), Some("stalled"));
    assert!(incident.evidence.iter().any(|one| one.signal == Some(Signal::Work)));
}

#[test]
fn a_real_loss_beside_it_is_worse() {
    let mut world = with_trouble(&[("sms@h1", Working::Unsubscribed)], None);
    world.told.heard();
    world.set("sms@h2", Truth::Dead);
    world.run(15_000);
    let heard = world.told.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].starts_with("DEGRADED sms: 1 of 3 workers up; sms@h2 crashed"),
        "{heard:?}"
    );
    assert!(heard[0].contains("sms@h1 alive but consuming nothing"), "{heard:?}");
}

#[test]
fn those_who_are_alive_do_not_make_a_fleet_down() {
    let all = ["sms@h0", "sms@h1", "sms@h2"].map(|name| (name, Working::Hung));
    let mut world = with_trouble(&all, None);
    assert_eq!(
        (world.state(), severity(&world)),
        (FleetState::Degraded, Some(Severity::Stuck))
    );
    let heard = world.told.heard();
    assert!(
        heard[0].starts_with("STALLED sms: 0 of 3 workers up; sms@h0, sms@h1 and sms@h2 alive but stuck"),
        "{heard:?}"
    );
    world.set("sms@h0", Truth::Dead);
    world.run(15_000);
    assert_eq!(world.state(), FleetState::Degraded, "two are alive, and one is enough");

    let mut world = with_trouble(&[all[0], (all[1].0, Working::Unsubscribed)], Some(3));
    assert_eq!(
        (world.state(), severity(&world)),
        (FleetState::Degraded, Some(Severity::Stalled)),
        "one of them is more than stuck"
    );
    world.set("sms@h2", Truth::Dead);
    world.run(15_000);
    assert_eq!(
        world.state(),
        FleetState::Down,
        "with the stalled there are two, and three are the least"
    );
}
