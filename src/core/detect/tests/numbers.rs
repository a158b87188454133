//! How many are expected: by names, by a number that is learned, and while a fleet is rolled out.

use super::world::*;
use crate::celery::inspect::Pool;
use crate::detect::*;

/// A fleet of pods: each few minutes one goes, with a goodbye or without, and one of a new name comes.
struct Pods {
    world: World,
    names: Vec<String>,
    made: usize,
}

impl Pods {
    fn new(count: usize) -> Self {
        let mut pods = Self {
            world: World::new(spec(Expected::Auto, None), 0),
            names: Vec::new(),
            made: 0,
        };
        (0..count).for_each(|_| pods.add());
        pods.world.run(60_000);
        pods
    }

    fn add(&mut self) {
        let name = format!("sms@pod-{}", self.made);
        self.made += 1;
        self.world.start(&name, Pool::Prefork);
        self.names.push(name);
    }

    fn leave(&mut self) {
        let name = self.names.remove(0);
        self.world.goodbye(&name);
    }

    /// It goes without a word, as a spot instance does.
    fn kill(&mut self) {
        let name = self.names.remove(0);
        self.world.workers.remove(name.as_str());
    }

    /// Names change for a while, with goodbyes, a few at a time.
    fn churn(&mut self, turns: usize) {
        for _ in 0..turns {
            self.leave();
            self.world.run(20_000);
            self.add();
            self.world.run(400_000);
        }
    }
}

#[test]
fn a_killed_pod_that_is_replaced_is_no_loss_once_the_names_are_known_to_change() {
    let mut pods = Pods::new(8);
    pods.churn(8);
    pods.world.told.heard();
    for _ in 0..6 {
        pods.kill();
        pods.world.run(60_000);
        pods.add();
        pods.world.run(200_000);
    }
    assert_eq!(pods.world.told.heard(), [""; 0]);
    assert_eq!(pods.world.verdict().fleet.down, 0, "the replaced are let go");
}

#[test]
fn scaling_by_half_and_back_is_quiet() {
    let mut pods = Pods::new(12);
    pods.churn(8);
    pods.world.told.heard();
    for _ in 0..2 {
        for _ in 0..6 {
            pods.leave();
            pods.world.run(60_000);
        }
        pods.kill();
        pods.world.run(60_000);
        pods.add();
        for _ in 0..12 {
            pods.add();
            pods.world.run(60_000);
        }
        for _ in 0..6 {
            pods.leave();
            pods.world.run(60_000);
        }
    }
    assert_eq!(pods.world.told.heard(), [""; 0], "{:?}", pods.world.states);
}

#[test]
fn one_that_is_missing_is_no_plural() {
    for (there, says) in [(2, "1 of 3 workers is missing"), (1, "2 of 3 workers are missing")] {
        let mut world = World::new(spec(Expected::Count(3), None), there);
        world.run(120_000);
        let evidence = world.verdict().evidence;
        assert!(evidence.iter().any(|one| one.says.starts_with(says)), "{evidence:?}");
    }
}

#[test]
fn half_of_it_lost_at_once_is_told_at_once() {
    let mut pods = Pods::new(8);
    pods.churn(8);
    pods.world.told.heard();
    let began = pods.world.ms;
    (0..4).for_each(|_| pods.kill());
    pods.world.run(12_000);
    let found = pods.world.entered(FleetState::Degraded, began).unwrap();
    assert!(found <= 9_000, "{found} ms");
    let heard = pods.world.told.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let evidence = pods.world.verdict().evidence;
    assert!(
        evidence.iter().any(|e| e.subject == "sms" && e.says.contains("median")),
        "{evidence:?}"
    );
}

#[test]
fn a_killed_pod_that_nobody_replaces_is_told_where_it_is_more_than_a_fifth() {
    let mut pods = Pods::new(4);
    pods.churn(8);
    pods.world.told.heard();
    pods.kill();
    pods.world.run(100_000);
    assert_eq!(pods.world.told.heard(), [""; 0], "it may yet be replaced");
    pods.world.run(60_000);
    assert_eq!(pods.world.told.heard().len(), 1);
}

#[test]
fn after_one_deployment_a_single_crash_is_still_told() {
    let mut pods = Pods::new(8);
    for _ in 0..8 {
        pods.leave();
        pods.world.run(10_000);
        pods.add();
        pods.world.run(20_000);
    }
    assert_eq!(pods.world.told.heard(), [""; 0], "the deployment itself is quiet");
    pods.world.run(3_600_000);
    pods.kill();
    pods.world.run(15_000);
    assert_eq!(pods.world.told.heard().len(), 1);
}

#[test]
fn what_is_learned_survives_a_restart() {
    let mut pods = Pods::new(8);
    pods.churn(8);
    let before = pods.world.verdict().fleet.expected;
    pods.world.told.heard();
    pods.world.restart();
    pods.world.run(20_000);
    assert_eq!(pods.world.verdict().fleet.expected, before);
    pods.kill();
    pods.world.run(60_000);
    pods.add();
    pods.world.run(200_000);
    assert_eq!(pods.world.told.heard(), [""; 0]);
}

#[test]
fn a_stand_in_that_falls_and_is_replaced_leaves_the_fleet_whole() {
    let mut pods = Pods::new(3);
    for _ in 0..4 {
        pods.kill();
        pods.world.run(20_000);
        pods.add();
        pods.world.run(10_000);
        let fleet = pods.world.verdict().fleet;
        assert_eq!((fleet.up, fleet.expected), (3, 3));
    }
}

#[test]
fn a_replacement_is_remembered_across_a_restart() {
    let mut pods = Pods::new(3);
    pods.kill();
    pods.world.run(20_000);
    pods.add();
    pods.world.run(10_000);
    assert_eq!(pods.world.state(), FleetState::Healthy);
    pods.world.restart();
    pods.world.run(20_000);
    assert_eq!(pods.world.state(), FleetState::Healthy);
    assert_eq!(pods.world.verdict().fleet.expected, 3);
}

#[test]
fn a_rollout_of_a_fixed_number_gets_more_time() {
    let mut world = World::new(spec(Expected::Count(3), None), 3);
    world.run(60_000);
    world.goodbye("sms@h0");
    world.goodbye("sms@h1");
    world.run(150_000);
    assert!(world.quiet_since(0), "{:?}", world.states);
    world.run(60_000);
    assert_eq!(world.state(), FleetState::Degraded);
}
