//! The prober: what its own questions cannot tell is no news of a worker, and what it knows survives a panic.

use std::sync::Arc;

use headcount_core::alert::Evidence;
use headcount_core::detect::{Diagnosis, FleetState, Sight, Signal, WorkerState};

use super::support::broker::{Asking, FakeBroker, Truth};
use super::support::site::Site;
use super::support::store::{FakeStore, Fate};
use super::support::{World, age, live, pass, secs, until};
use crate::store_watch::{Harm, PATIENCE, Said};

const THREE: [&str; 3] = ["sms@h1", "sms@h2", "sms@h3"];

async fn well(site: &Site) {
    until("the fleet is well", || site.state() == Some(FleetState::Healthy)).await;
    pass(secs(15)).await;
    assert_eq!(site.count(WorkerState::Up), 3);
}

#[test]
fn a_crash_is_found_and_its_end_too() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = Site::new(&broker);
        well(&site).await;
        broker.set("sms@h2", Truth::Dead);
        let began = age();
        until("degraded", || site.state() == Some(FleetState::Degraded)).await;
        assert!(age() - began <= secs(12), "{:?}", age() - began);
        broker.set("sms@h2", Truth::Well);
        until("well again", || site.state() == Some(FleetState::Healthy)).await;
    });
}

/// An answer that somebody passes on shows no connection, so whoever is gone is never said to be frozen or crashed; and who
/// was not asked has missed nothing.
#[test]
fn where_connections_are_hidden_that_is_said_and_nothing_is_made_of_them() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        broker.state().hides = Some("seen through a keyhole");
        let site = Site::new(&broker);
        well(&site).await;
        let answer = |index: usize| site.report().workers[index].signals.answer.clone();
        assert_eq!(
            (answer(0).ok, answer(1).ok),
            (None, Some(true)),
            "the first is left out"
        );
        broker.set("sms@h2", Truth::Dead);
        until("degraded", || site.state() == Some(FleetState::Degraded)).await;
        let report = site.report();
        assert_eq!(report.workers[1].diagnosis, Some(Diagnosis::Unreachable));
        for worker in &report.workers {
            assert_eq!(worker.signals.presence.ok, None);
            assert_eq!(worker.signals.presence.detail, "seen through a keyhole");
        }
        let of_presence = |evidence: &&Evidence| evidence.signal == Some(Signal::Presence);
        let evidence = report.verdict.evidence.iter().find(of_presence).unwrap();
        assert_eq!(
            (&*evidence.subject, &*evidence.says),
            ("sms@h2", "seen through a keyhole")
        );
    });
}

/// A worker is silent for longer than a missed ping or three would allow, and the pings themselves cannot be made.
#[test]
fn a_probe_that_could_not_be_made_is_no_missed_ping() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = Site::new(&broker);
        well(&site).await;
        broker.state().asking = Asking::Fails;
        broker.set("sms@h2", Truth::Frozen);
        let before = broker.state().probes;
        assert_eq!(site.watch.probe_failures("sms"), 0);
        // Frozen takes 15 s of silence and three missed pings: there is the silence.
        pass(secs(25)).await;
        assert!(broker.state().probes > before + 10, "it goes on to ask");
        assert_eq!(site.count(WorkerState::Down), 0);
        assert_eq!(site.count(WorkerState::Suspect), 1);
        let failed = site.watch.probe_failures("sms");
        assert!(failed > 10, "each one is counted: {failed}");
        // But nobody is kept for ever by pings that cannot be made.
        until("unreachable", || site.count(WorkerState::Down) == 1).await;
    });
}

/// A question that hangs is given up: the next ones are asked.
#[test]
fn questions_that_hang_do_not_end_the_asking() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = Site::new(&broker);
        well(&site).await;
        broker.state().asking = Asking::Hangs;
        pass(secs(60)).await;
        assert_eq!(site.state(), Some(FleetState::Healthy));
        broker.state().asking = Asking::Works;
        broker.set("sms@h2", Truth::Dead);
        until("degraded", || site.state() == Some(FleetState::Degraded)).await;
    });
}

#[test]
fn what_it_knows_is_saved_when_it_changes_and_recalled_after_a_panic() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let store = FakeStore::new(&Arc::new(World::default()));
        let site = Site::with(&broker, store, 64);
        well(&site).await;
        let saved = || {
            site.store
                .calls()
                .iter()
                .filter(|call| **call == "save_workers")
                .count()
        };
        assert_eq!(site.store.workers_of("sms").len(), 3);
        let before = saved();
        pass(secs(30)).await;
        assert!(
            saved() <= before + 3,
            "only signs of life are newer: {}",
            saved() - before
        );
        broker.set("sms@h2", Truth::Dead);
        // As soon as it is suspected, its last sign of life is exact: it may be the last that is written.
        let of_h2 = |state: WorkerState| {
            let workers = site.store.workers_of("sms");
            workers
                .into_iter()
                .find(|worker| worker.hostname == "sms@h2" && worker.state == state)
        };
        until("the suspicion is remembered", || of_h2(WorkerState::Suspect).is_some()).await;
        let suspected = of_h2(WorkerState::Suspect).and_then(|worker| worker.last_seen).unwrap();
        let is_down = || {
            let workers = site.store.workers_of("sms");
            workers
                .iter()
                .any(|worker| worker.hostname == "sms@h2" && worker.state == WorkerState::Down)
        };
        until("its end is remembered", is_down).await;
        let lost = of_h2(WorkerState::Down).and_then(|worker| worker.last_seen);
        assert_eq!(lost, Some(suspected));
        assert_eq!(site.state(), Some(FleetState::Degraded));

        // It panics while it saves a newcomer: the dead one is still missed, though nothing is heard of it any more.
        let mut first = true;
        site.store.fare(move |_, call| match call {
            "save_workers" if std::mem::take(&mut first) => Fate::PanicsAfterwards,
            _ => Fate::Works,
        });
        broker.set("sms@h4", Truth::Well);
        until("the restart", || site.watch.restarts("FleetProber") == 1).await;
        let began = site.states().len();
        until("it is missed again", || site.state() == Some(FleetState::Degraded)).await;
        let after = site.states().split_off(began);
        assert!(!after.contains(&FleetState::Healthy), "{after:?}");
        assert_eq!(site.watch.restarts("BrokerListener"), 0);
    });
}

/// The store cannot be read after a panic: it is asked until it can.
#[test]
fn a_store_that_fails_after_a_panic_delays_the_recall() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = Site::new(&broker);
        well(&site).await;
        broker.set("sms@h2", Truth::Dead);
        until("degraded", || site.state() == Some(FleetState::Degraded)).await;
        pass(secs(5)).await;
        let mut panics = 1;
        let end = age() + secs(20);
        site.store.fare(move |_, call| match call {
            "save_workers" if panics > 0 => {
                panics -= 1;
                Fate::PanicsAfterwards
            }
            _ if age() < end => Fate::Fails,
            _ => Fate::Works,
        });
        broker.set("sms@h4", Truth::Well);
        until("the restart", || site.watch.restarts("FleetProber") == 1).await;
        let began = site.states().len();
        until("it is missed again", || {
            site.states().len() > began && site.state() == Some(FleetState::Degraded)
        })
        .await;
        assert!(age() >= end);
    });
}

#[test]
fn sight_arrives_also_after_a_panic_in_blindness() {
    live(async {
        let broker = FakeBroker::new(&THREE);
        let site = Site::new(&broker);
        well(&site).await;
        broker.state().canary = false;
        until("blind", || *site.sight.borrow() == Sight::Blind).await;
        until("unknown", || site.state() == Some(FleetState::Unknown)).await;
        let mut first = true;
        site.store.fare(move |_, call| match call {
            "save_workers" if std::mem::take(&mut first) => Fate::PanicsAfterwards,
            _ => Fate::Works,
        });
        broker.set("sms@h4", Truth::Well);
        until("the restart", || site.watch.restarts("FleetProber") == 1).await;
        pass(secs(30)).await;
        assert_eq!(site.state(), Some(FleetState::Unknown));
        broker.state().canary = true;
        until("well", || site.state() == Some(FleetState::Healthy)).await;
    });
}

/// A full disk: three fleets want to write, each every 2 s. It is one error, of no fleet, once it lasts.
#[test]
fn a_store_that_goes_on_failing_is_one_error_for_all_fleets() {
    live(async {
        let broker = FakeBroker::new(&["sms@h1", "mail@h1", "web@h1"]);
        let site = Site::new(&broker);
        let end = age() + secs(300);
        site.store
            .fare(move |_, _| if age() < end { Fate::Fails } else { Fate::Works });
        let said = || site.store_watch.said.lock().unwrap().clone();
        until("it is said that it fails", || !said().is_empty()).await;
        assert_eq!(said(), [(Said::Begins(Harm::Unlearned), None)]);
        let (view, began) = (
            site.store_watch.view(),
            site.store_watch.view().borrow().clone().unwrap(),
        );
        assert_eq!(
            (began.error.as_str(), began.alerts_wait),
            ("the store failed: as the test says", false)
        );
        assert_eq!(began.meanwhile, [Harm::Unlearned.in_words()]);
        let meters = &site.watch.meters.store;
        assert_eq!(meters.failing.get(), 1);
        pass(PATIENCE.saturating_sub(secs(5))).await;
        assert_eq!(said().len(), 1, "not yet: {:?}", said());
        until("it is said that it goes on", || said().len() > 1).await;
        let failed = site
            .store
            .calls()
            .iter()
            .filter(|call| **call == "save_workers")
            .count();
        assert!(failed > 30, "of three fleets: {failed}");
        assert!(meters.failures.get() >= failed as u64, "{}", meters.failures.get());
        assert_eq!(view.borrow().as_ref().map(|still| still.since), Some(began.since));
        assert_eq!(meters.failing.get(), 1);
        pass(secs(300)).await;
        assert_eq!((meters.failing.get(), view.borrow().clone()), (0, None));
        let said = said();
        let [_, (Said::Lasts(lasted, harms), None), (Said::Over(whole), None)] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(*whole > secs(290) && *whole < secs(310), "{whole:?}");
        assert!(*lasted >= PATIENCE && *lasted < PATIENCE + secs(5), "{lasted:?}");
        assert_eq!(harms, &[Harm::Unlearned]);
        for fleet in ["sms", "mail", "web"] {
            assert_eq!(site.store.workers_of(fleet).len(), 1, "{fleet}");
        }
    });
}
