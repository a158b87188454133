//! Who is lost, who returns, and who is none of both.

use std::time::Duration;

use super::world::*;
use crate::alert::Missing;
use crate::celery::inspect::Pool;
use crate::detect::*;

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

/// A solo worker that is lost sight of for so long after a minute, with these rules and means: its diagnosis then.
fn silent_solo(rules: Rules, means: Means, seconds: u64) -> Option<Missing> {
    let spec = FleetSpec {
        rules,
        ..spec(Expected::Auto, None)
    };
    let mut world = World::empty(FleetDetector::new(spec, Vec::new(), now(0)));
    world.start("sms@solo", Pool::Solo);
    world.sight(Sight::ClearAfterOutage(Duration::ZERO));
    world.step(Input::Means(&[("sms@solo".into(), means)]));
    world.run(60_000);
    world.set("sms@solo", Truth::Frozen);
    world.run(seconds * 1_000);
    world.verdict().missing.first().cloned()
}

#[test]
fn a_solo_worker_is_excused_for_as_long_as_its_task_may_run() {
    let limited = Means {
        time_limit: Some(Duration::from_secs(1_200)),
        ..Means::default()
    };
    let long = Rules {
        stuck_after: Duration::from_secs(1_200),
        ..Rules::default()
    };
    assert_eq!(silent_solo(Rules::default(), limited, 750), None, "its limit");
    assert_eq!(silent_solo(long, Means::default(), 750), None, "what was configured");
    let endless = Means {
        time_limit: Some(Duration::MAX),
        ..Means::default()
    };
    assert_eq!(silent_solo(Rules::default(), endless, 750), None, "whatever it says");
    let found = silent_solo(Rules::default(), Means::default(), 750).unwrap();
    assert_eq!(found.diagnosis, Some(Diagnosis::Frozen));
    let found = silent_solo(Rules::default(), limited, 1_300).unwrap();
    assert_eq!(
        found.diagnosis,
        Some(Diagnosis::Frozen),
        "nothing runs beyond its limit"
    );
}

#[test]
fn how_long_a_solo_worker_was_busy_is_remembered_and_the_next_time_believed() {
    let mut world = World::empty(FleetDetector::new(spec(Expected::Auto, None), Vec::new(), now(0)));
    world.start("sms@solo", Pool::Solo);
    world.sight(Sight::ClearAfterOutage(Duration::ZERO));
    world.backlog = 1;
    world.run(60_000);
    let busy = |world: &mut World, seconds: u64| {
        world.set("sms@solo", Truth::Frozen);
        world.run(seconds * 1_000);
        world.set("sms@solo", Truth::Well);
    };
    busy(&mut world, 400);
    world.run(10_000);
    assert!(world.quiet_since(0), "{:?}", world.states);
    let since = world.ms;
    busy(&mut world, 750);
    world.run(10_000);
    assert!(world.quiet_since(since), "{:?}", world.states);
    // One that is killed meanwhile has no connection, and is found as soon as ever.
    world.set("sms@solo", Truth::Frozen);
    world.run(60_000);
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
fn a_goodbye_does_not_hide_that_others_crashed() {
    let mut world = World::new(spec(Expected::Auto, Some(1)), 3);
    world.run(60_000);
    world.goodbye("sms@h0");
    world.set("sms@h1", Truth::Dead);
    world.set("sms@h2", Truth::Dead);
    world.run(20_000);
    // Whether all are gone is not sure yet; that two are is.
    let found = world.entered(FleetState::Degraded, 60_000).unwrap();
    assert!(found <= 12_000, "{found} ms");
    world.run(60_000);
    assert_eq!(world.state(), FleetState::Down);
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
    let memory: FleetMemory = serde_json::from_str(&text).unwrap();
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

#[test]
fn a_broker_that_restarts_every_night_keeps_nobody_on_the_list() {
    let mut spec = spec(Expected::Auto, None);
    spec.rules.forget_after = Duration::from_secs(600);
    let mut world = World::new(spec, 3);
    world.run(60_000);
    world.set("sms@h1", Truth::Dead);
    for _ in 0..7 {
        world.run(100_000);
        world.sight(Sight::Blind);
        world.run(5_000);
        world.sight(Sight::ClearAfterOutage(Duration::from_secs(5)));
    }
    assert_eq!(world.fleet.report(now(world.ms)).workers.len(), 2);
}

/// What was told, and how long after `from`, in milliseconds.
fn told_after(world: &mut World, from: u64) -> Vec<(u64, String)> {
    let told = std::mem::take(&mut world.told.turns).into_iter();
    told.map(|(ms, _, text)| (ms - from, text)).collect()
}

#[test]
fn a_fleet_that_falls_silent_at_once_is_told_once_where_nobody_shows_connections() {
    for truth in [Truth::Dead, Truth::Frozen] {
        let mut world = World::new(spec(Expected::Auto, None), 6);
        world.mailboxes = truth == Truth::Frozen;
        world.run(60_000);
        for n in 0..6 {
            world.set(&format!("sms@h{n}"), truth);
        }
        world.run(40_000);
        let told = told_after(&mut world, 60_000);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].1.starts_with("DOWN sms: 0 of 6 workers up"), "{told:?}");
        assert!(told[0].0 <= 18_000, "{told:?}");
    }
}

#[test]
fn one_that_falls_silent_alone_is_told_at_its_deadline() {
    let mut world = World::new(spec(Expected::Auto, None), 6);
    world.mailboxes = false;
    world.run(60_000);
    world.set("sms@h1", Truth::Dead);
    // Another is suspected, and its deadline is far.
    world.run(8_000);
    world.set("sms@h2", Truth::Dead);
    world.run(9_000);
    let found = world.entered(FleetState::Degraded, 60_000).unwrap();
    let told = told_after(&mut world, 60_000);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, found);
}

/// Who left is expected no longer, and its return would make up for nobody's loss.
#[test]
fn a_goodbye_makes_up_for_no_loss() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(60_000);
    world.goodbye("sms@h0");
    world.run(14_000);
    world.set("sms@h1", Truth::Dead);
    world.run(8_000);
    assert_eq!(world.told.words(), ["DEGRADED sms"]);
    // Another leaves while it is missed: that is no recovery, and a loss of all once it is not back as after a rollout.
    world.goodbye("sms@h2");
    world.run(200_000);
    assert_eq!(world.told.words(), ["DEGRADED sms", "DOWN sms"]);
    world.set("sms@h1", Truth::Well);
    world.run(20_000);
    assert_eq!(world.told.words().last().map(String::as_str), Some("RECOVERED sms"));
}

#[test]
fn a_goodbye_that_is_not_believed_yet_survives_a_restart() {
    let mut world = World::new(spec(Expected::Auto, None), 2);
    world.run(60_000);
    world.goodbye("sms@h0");
    world.run(2_000);
    world.restart();
    world.run(120_000);
    assert!(world.told.words().is_empty(), "{:?}", world.told.words());
}

/// Those that fell while Headcount was away are waited for, as are those that fall while it looks.
#[test]
fn who_is_looked_for_after_a_restart_may_fall_within_moments() {
    let mut world = World::new(spec(Expected::Auto, None), 2);
    world.run(60_000);
    world.set("sms@h0", Truth::Dead);
    world.set("sms@h1", Truth::Dead);
    world.restart();
    let mut waited_for = false;
    while world.state() != FleetState::Down && world.ms < 120_000 {
        world.run(STEP);
        waited_for |= world.verdict().unsettled;
    }
    assert!(waited_for, "before they are found");
}

/// A reconnect takes up to 4 s (measured), and what is heard of it may wait for the lane's next flush.
#[test]
fn a_reconnect_is_awaited_until_its_word_can_have_come() {
    let mut world = World::new(spec(Expected::Auto, None), 2);
    world.run(60_000);
    let beaten = |world: &World| (world.ms + world.workers["sms@h1"].phase) % BEAT < STEP;
    while !beaten(&world) {
        world.run(STEP);
    }
    world.set("sms@h1", Truth::Reconnecting);
    world.run(BEAT + 4_000);
    assert_eq!(world.state(), FleetState::Healthy);
    world.run(STEP);
    assert_eq!(world.state(), FleetState::Degraded);
}

/// Who is used to being late is suspected later than the others. Where the broker no longer sees it either, they fell together,
/// and are told as what that is.
#[test]
fn one_that_is_often_late_falls_with_the_others() {
    let mut world = World::new(spec(Expected::Auto, None), 3);
    world.run(20_000);
    world.set("sms@h2", Truth::Frozen);
    world.run(4_000);
    world.set("sms@h2", Truth::Well);
    world.run(10_000);
    for name in ["sms@h0", "sms@h1", "sms@h2"] {
        world.set(name, Truth::Dead);
    }
    world.run(30_000);
    assert_eq!(world.told.words(), ["DOWN sms"], "{:#?}", world.told.all);
}
