//! The debouncer: what was told is not told again, and what was not told is.

use std::sync::Arc;

use headcount_core::alert::{Incident, Turn};

use super::support::house::House;
use super::support::notifier::Channel;
use super::support::store::{FakeStore, Fate};
use super::support::{World, age, live, ms, pass, reports, secs, until};
use crate::messages::IncidentChanged;
use crate::ports::Store;

struct Scene {
    store: Arc<FakeStore>,
    channel: Arc<Channel>,
    house: House,
}

impl Scene {
    fn new() -> Self {
        let world = Arc::new(World::default());
        let store = FakeStore::new(&world);
        let channel = Channel::new(&world, "slack", true);
        let house = House::build(&store, std::slice::from_ref(&channel));
        Self { store, channel, house }
    }

    /// As the aggregator does: into the store, and then to the debouncer.
    async fn change(&self, incident: &Incident, unsettled: bool) {
        while self.store.save_incidents(vec![incident.clone()]).await.is_err() {
            pass(ms(100)).await;
        }
        self.say(incident, unsettled).await;
    }

    async fn say(&self, incident: &Incident, unsettled: bool) {
        let incident = incident.clone();
        self.house
            .debouncer
            .send(IncidentChanged { incident, unsettled })
            .await
            .unwrap();
    }

    async fn told(&self, turns: &[Turn]) {
        until("what is told", || self.channel.turns().len() >= turns.len()).await;
        pass(secs(150)).await;
        assert_eq!(
            self.channel.turns(),
            turns,
            "and nothing more over two readings of the store"
        );
    }
}

#[test]
fn an_opening_and_its_end_are_told() {
    live(async {
        let scene = Scene::new();
        let incident = reports::incident("f-1", 1);
        scene.change(&incident, false).await;
        scene.told(&[Turn::Opened]).await;
        scene.change(&reports::resolved(incident), false).await;
        scene.told(&[Turn::Opened, Turn::Recovered]).await;
    });
}

#[test]
fn what_was_over_before_it_was_told_is_silent() {
    live(async {
        let scene = Scene::new();
        let incident = reports::incident("f-1", 1);
        scene.change(&incident, true).await;
        pass(ms(1_000)).await;
        scene.change(&reports::resolved(incident), false).await;
        scene.told(&[]).await;
        assert_eq!(
            scene.store.load().await.unwrap().incidents,
            [],
            "and no later start goes on with it"
        );
    });
}

#[test]
fn what_may_grow_is_held_for_a_moment_and_told_whole() {
    live(async {
        let scene = Scene::new();
        let began = age();
        for missing in 1..=4 {
            let incident = Incident {
                id: reports::incident("f-1", 0).id,
                ..reports::incident("f-1", missing)
            };
            scene.change(&incident, true).await;
            pass(ms(500)).await;
        }
        scene.told(&[Turn::Opened]).await;
        let heard = &scene.channel.heard()[0];
        assert_eq!(heard.missing, 4);
        assert!(
            heard.at - began >= ms(2_000) && heard.at - began < ms(2_500),
            "{:?}",
            heard.at - began
        );
    });
}

/// What follows a held opening is held for a moment of its own, not for what is left of the first.
#[test]
fn a_worsening_is_held_for_a_moment_of_its_own() {
    live(async {
        let scene = Scene::new();
        // The answer to the first is late, so the next comes while it is being told.
        scene
            .store
            .fare(|_, call| if call == "tell" { Fate::IsSlow(200) } else { Fate::Works });
        scene.change(&reports::incident("f-1", 1), true).await;
        pass(ms(2_600)).await;
        for missing in 2..=4 {
            scene.change(&reports::incident("f-1", missing), true).await;
            pass(ms(300)).await;
        }
        scene.told(&[Turn::Opened, Turn::Worsened]).await;
    });
}

/// The store is read, and answers late: by then the end of an incident has been told, of which it does not know.
#[test]
fn what_was_read_before_it_was_told_is_not_told_again() {
    live(async {
        let scene = Scene::new();
        let incident = reports::incident("f-1", 1);
        scene.change(&incident, false).await;
        until("the opening", || scene.channel.turns() == [Turn::Opened]).await;
        scene.store.fare(|_, call| {
            if call == "load" {
                Fate::IsSlow(3_000)
            } else {
                Fate::Works
            }
        });
        let loads = || scene.store.calls().iter().filter(|call| **call == "load").count();
        let before = loads();
        let over = reports::resolved(incident);
        scene.store.save_incidents(vec![over.clone()]).await.unwrap();
        until("the next reading", || loads() > before).await;
        pass(ms(500)).await;
        scene.say(&over, false).await;
        scene.told(&[Turn::Opened, Turn::Recovered]).await;
    });
}

/// The store is read just when an incident was found, before the debouncer hears of it.
#[test]
fn what_is_found_in_the_store_is_held_for_a_moment_too() {
    live(async {
        let scene = Scene::new();
        let loads = || scene.store.calls().iter().filter(|call| **call == "load").count();
        until("the first readings", || loads() == 2).await;
        pass(secs(55)).await;
        scene
            .store
            .save_incidents(vec![reports::incident("f-1", 1)])
            .await
            .unwrap();
        until("the next reading", || loads() == 3).await;
        pass(ms(300)).await;
        scene.change(&reports::incident("f-1", 2), true).await;
        scene.told(&[Turn::Opened]).await;
        assert_eq!(scene.channel.heard()[0].missing, 2);
    });
}

/// A message that was long on its way arrives after the end was told.
#[test]
fn a_late_message_does_not_open_what_is_over() {
    live(async {
        let scene = Scene::new();
        let incident = reports::incident("f-1", 1);
        scene.change(&incident, false).await;
        scene.change(&reports::resolved(incident.clone()), false).await;
        until("the end", || scene.channel.turns().last() == Some(&Turn::Recovered)).await;
        let before = scene.channel.turns();
        scene.say(&incident, false).await;
        scene.told(&before).await;
    });
}

/// The store has done it, and says that it failed: it is asked, not done again.
#[test]
fn a_failure_that_was_none_tells_nothing_twice() {
    live(async {
        for fate in [Fate::FailsAfterwards, Fate::PanicsAfterwards, Fate::Fails] {
            let scene = Scene::new();
            pass(ms(500)).await;
            let mut first = true;
            scene.store.fare(move |_, call| match call {
                "tell" if std::mem::take(&mut first) => fate,
                _ => Fate::Works,
            });
            scene.change(&reports::incident("f-1", 1), false).await;
            scene.told(&[Turn::Opened]).await;
        }
    });
}

#[test]
fn a_store_that_fails_for_minutes_loses_nothing() {
    live(async {
        let scene = Scene::new();
        let incident = reports::incident("f-1", 1);
        scene.change(&incident, false).await;
        until("the opening", || scene.channel.turns() == [Turn::Opened]).await;
        let end = age() + secs(300);
        // It still takes incidents, or nobody could know of them; all else fails.
        scene.store.fare(move |_, call| {
            if age() < end && call != "save_incidents" {
                Fate::Fails
            } else {
                Fate::Works
            }
        });
        for missing in 2..50 {
            scene.change(&reports::incident("f-1", missing), false).await;
            pass(secs(5)).await;
        }
        scene.change(&reports::incident("f-2", 7), false).await;
        scene
            .change(&reports::resolved(reports::incident("f-1", 0)), false)
            .await;
        pass(secs(60)).await;
        scene.told(&[Turn::Opened, Turn::Recovered, Turn::Opened]).await;
    });
}

/// An incident that the store does not know cannot be told of; the others can.
#[test]
fn one_that_cannot_be_told_holds_up_no_other() {
    live(async {
        let scene = Scene::new();
        pass(ms(500)).await;
        scene.say(&reports::incident("a-unknown", 1), false).await;
        scene.change(&reports::incident("f-1", 1), false).await;
        scene.told(&[Turn::Opened]).await;
        assert_eq!(scene.house.watch.restarts("Debouncer"), 0);
    });
}
