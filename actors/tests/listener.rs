//! The listener and its lane: what is heard reaches the prober, and whether anything is heard is known.

use std::sync::Arc;

use headcount_core::detect::{BrokerState, FleetState, Sight, WorkerState};

use super::support::broker::{FakeBroker, Truth};
use super::support::site::Site;
use super::support::store::{FakeStore, Fate};
use super::support::{World, age, live, ms, pass, secs, until};
use crate::ports::BrokerError;
use crate::vitals::Vital;

const THREE: [&str; 3] = ["sms@h1", "sms@h2", "sms@h3"];

/// A site that hears its three workers.
async fn heard(broker: &Arc<FakeBroker>) -> Site {
    let site = Site::new(broker);
    until("all workers are up", || site.count(WorkerState::Up) == 3).await;
    until("the fleet is well", || site.state() == Some(FleetState::Healthy)).await;
    site
}

#[test]
fn events_reach_the_prober() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        assert!(site.broker_is(BrokerState::Heard));
        assert!(site.received() >= 3);
        broker.set("sms@h4", Truth::Well);
        until("a new one", || site.count(WorkerState::Up) == 4).await;
    });
}

#[test]
fn malformed_messages_are_counted_and_stop_nothing() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        let bad = [
            b"".to_vec(),
            b"{".to_vec(),
            b"[[[[".to_vec(),
            b"null".to_vec(),
            b"\"text\"".to_vec(),
            vec![0xff; 1_000],
            "[".repeat(100_000).into_bytes(),
            br#"{"type":7,"hostname":[]}"#.to_vec(),
            vec![b' '; 20_000_000],
        ];
        for round in 1..=20 {
            broker.state().garbage = bad.to_vec();
            until("all are counted", || site.malformed() == round * bad.len() as u64).await;
        }
        pass(secs(20)).await;
        assert_eq!(site.count(WorkerState::Up), 3);
        assert_eq!(site.state(), Some(FleetState::Healthy));
        assert_eq!(broker.state().sessions.len(), 1, "the session stood");
        assert_eq!(site.watch.restarts("BrokerListener"), 0);
    });
}

/// The prober does not come to its mailbox of one: what changes meanwhile is told when it does.
#[test]
fn a_full_mailbox_of_a_prober_loses_nothing() {
    live(async {
        let names: Vec<String> = (0..200).map(|n| format!("sms@h{n:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let broker = FakeBroker::new(&names[..100]);
        let store = FakeStore::new(&Arc::new(World::default()));
        // It panics some times, and rests for longer each time: up to 6.4 s.
        let mut panics = 7;
        store.fare(move |_, call| {
            if call == "save_workers" && panics > 0 {
                panics -= 1;
                return Fate::PanicsAfterwards;
            }
            Fate::Works
        });
        let site = Site::with(&broker, store, 1);
        let resting = || {
            site.watch
                .vitals
                .report()
                .iter()
                .any(|one| one.vital == Vital::Restarting)
        };
        until("the last rest", || site.watch.restarts("FleetProber") == 6 && resting()).await;
        for name in &names[100..] {
            broker.set(name, Truth::Well);
            pass(ms(50)).await;
        }
        until("all of them", || site.count(WorkerState::Up) == 200).await;
    });
}

#[test]
fn a_late_canary_blinds_and_its_return_opens_the_eyes() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        broker.state().canary = false;
        let began = age();
        until("blind", || *site.sight.borrow() == Sight::Blind).await;
        assert!(age() - began < secs(4), "{:?}", age() - began);
        until("the fleet is unknown", || site.state() == Some(FleetState::Unknown)).await;
        until("the broker is down", || site.reported().is_some_and(|(_, down)| down)).await;
        broker.state().canary = true;
        until("seeing", || matches!(*site.sight.borrow(), Sight::ClearAfterOutage(_))).await;
        until("heard", || site.broker_is(BrokerState::Heard)).await;
        until("the fleet is well", || site.state() == Some(FleetState::Healthy)).await;
        assert_eq!(broker.state().sessions.len(), 1);
        let states = site.states();
        assert!(
            !states.contains(&FleetState::Degraded) && !states.contains(&FleetState::Down),
            "{states:?}"
        );
    });
}

/// A hiccup changes nothing of what was known before it: silences go on, and none begins anew.
#[test]
fn a_canary_that_is_late_for_a_moment_does_not_reset_what_is_known() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        broker.state().canary = false;
        until("blind", || *site.sight.borrow() == Sight::Blind).await;
        broker.state().canary = true;
        until("seeing", || *site.sight.borrow() == Sight::Clear).await;
        until("the fleet is well", || site.state() == Some(FleetState::Healthy)).await;
        assert!(site.reported().is_some_and(|(_, down)| !down));
    });
}

#[test]
fn a_broker_that_blocks_publishers_is_lost_though_the_session_stands() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        broker.state().blocked = true;
        let mut says = String::new();
        until("lost", || {
            let reported = site.reported();
            says = reported
                .as_ref()
                .and_then(|(status, _)| status.error.clone())
                .unwrap_or_default();
            reported.is_some_and(|(status, _)| status.state == BrokerState::Lost)
        })
        .await;
        assert!(says.contains("blocks publishers"), "{says}");
        // For much longer than a silent worker would take to be down.
        pass(secs(120)).await;
        broker.state().blocked = false;
        until("heard", || site.broker_is(BrokerState::Heard)).await;
        until("the fleet is well", || site.state() == Some(FleetState::Healthy)).await;
        let states = site.states();
        assert!(
            !states.contains(&FleetState::Degraded) && !states.contains(&FleetState::Down),
            "{states:?}"
        );
    });
}

#[test]
fn a_broker_that_refuses_is_there_and_says_so_until_it_is_gone() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        let refused = || site.reported().is_some_and(|(status, _)| status.refused);
        {
            let mut state = broker.state();
            state.breaks = true;
            state.closed = Some(BrokerError::Refused("wrong password".to_owned()));
        }
        until("refused", refused).await;
        broker.state().closed = Some(BrokerError::Connect("nobody listens".to_owned()));
        until("gone", || !refused()).await;
    });
}

#[test]
fn sessions_that_end_are_opened_again_with_growing_rests() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        {
            let mut state = broker.state();
            state.breaks = true;
            state.closed = Some(BrokerError::Connect("nobody listens".to_owned()));
        }
        let began = age();
        let mut retry_at = None;
        until("a word on when it is tried again", || {
            let reported = site.reported();
            retry_at = reported.and_then(|(status, _)| status.retry_at);
            retry_at.is_some()
        })
        .await;
        until("the broker is down", || site.reported().is_some_and(|(_, down)| down)).await;
        assert!(age() - began < secs(5), "{:?}", age() - began);
        pass(secs(40)).await;
        let tries = broker.state().sessions.clone();
        let rests: Vec<_> = tries.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
        assert!(rests[0] < ms(500), "{rests:?}");
        assert!(rests.iter().all(|rest| *rest <= secs(6)), "{rests:?}");
        assert!(*rests.last().unwrap() >= secs(5), "{rests:?}");
        broker.state().closed = None;
        until("heard", || site.broker_is(BrokerState::Heard)).await;
        pass(secs(3)).await;
        let (status, down) = site.reported().expect("it goes on to report");
        assert_eq!((status.error, status.retry_at, down), (None, None, false));
    });
}

#[test]
fn a_panic_while_reading_opens_a_new_session() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        broker.state().panics = true;
        until("the restart", || site.watch.restarts("BrokerListener") == 1).await;
        assert_eq!(*site.sight.borrow(), Sight::Blind);
        until("heard", || site.broker_is(BrokerState::Heard)).await;
        assert_eq!(broker.state().sessions.len(), 2);
        broker.set("sms@h4", Truth::Well);
        until("a new one", || site.count(WorkerState::Up) == 4).await;
        let states = site.states();
        assert!(
            !states.contains(&FleetState::Degraded) && !states.contains(&FleetState::Down),
            "{states:?}"
        );
        assert_eq!(site.watch.restarts("FleetProber"), 0);
    });
}

/// A broker that is lost for less than people should know.
#[test]
fn a_short_break_is_not_reported_as_an_outage() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = heard(&broker).await;
        broker.state().breaks = true;
        pass(secs(20)).await;
        assert_eq!(broker.state().sessions.len(), 2);
        assert!(site.brokers.take().iter().all(|report| !report.down));
    });
}
