//! The program is killed at every single call of the store, before and after it is done, and started again: people
//! hear of each trouble once, and of its end once.

use std::sync::Arc;
use std::time::Duration;

use headcount_core::alert::Turn;
use headcount_core::detect::BrokerState;

use super::support::house::House;
use super::support::notifier::{Answer, Channel, Heard};
use super::support::store::{FakeStore, Fate};
use super::support::{World, age, live, ms, pass, reports, secs};
use crate::ports::Act;

/// What is true in the world, whoever looks: how many of the fleet are missing, from when on (in seconds).
const TRUTH: [(u64, u32); 9] = [
    (0, 0),
    (3, 1),
    (6, 3),
    (9, 2),
    (12, 0),
    (15, 2),
    (19, 0),
    (22, 3),
    (26, 0),
];
/// Stretches of trouble in it.
const TROUBLES: usize = 3;
/// When everything has been said, also by a channel that was away.
const END: Duration = secs(60);

fn missing(at: Duration) -> u32 {
    let now = TRUTH.iter().rfind(|(from, _)| secs(*from) <= at);
    now.map_or(0, |(_, missing)| *missing)
}

struct Scenario {
    world: Arc<World>,
    store: Arc<FakeStore>,
    channels: [Arc<Channel>; 2],
    began: Duration,
}

impl Scenario {
    fn new(away: fn(Duration) -> bool) -> Self {
        let world = Arc::new(World::default());
        let channels = [
            Channel::new(&world, "webhook", false),
            Channel::new(&world, "bot", true),
        ];
        let began = live(async { age() });
        for channel in &channels {
            channel.answer(move |_, _| {
                if away(age() - began) {
                    Answer::Later(None)
                } else {
                    Answer::Accepts
                }
            });
        }
        Self {
            store: FakeStore::new(&world),
            world,
            channels,
            began,
        }
    }

    /// One life: reports the truth until the end, or until the world stops. Whether it came to the end.
    fn life(&self) -> bool {
        self.life_until(END)
    }

    fn life_until(&self, end: Duration) -> bool {
        self.world.go_on();
        let whole = live(async {
            let house = House::build(&self.store, &self.channels);
            let reporting = async {
                while age() - self.began < end {
                    let _ = house
                        .aggregator
                        .try_send(reports::broker("main", BrokerState::Heard, false));
                    let missing = missing(age() - self.began);
                    let _ = house.aggregator.try_send(reports::fleet("sms", "main", missing));
                    pass(ms(250)).await;
                }
            };
            tokio::select! {
                () = reporting => true,
                () = self.world.stopped() => false,
            }
        });
        if !whole {
            self.channels.iter().for_each(|channel| channel.mark_unknown());
        }
        whole
    }

    fn check(&self, how: &str) {
        let incidents = self.store.all_incidents();
        assert_eq!(incidents.len(), TROUBLES, "{how}: one trouble is one incident");
        assert_eq!(self.store.debts(), [], "{how}: nothing is owed");
        for channel in &self.channels {
            let heard = channel.heard();
            for incident in &incidents {
                assert!(!incident.is_open(), "{how}");
                // A message whose acceptance the kill has cut off comes once more: better twice than never.
                let of_it: Vec<&Heard> = heard
                    .iter()
                    .filter(|heard| heard.incident == incident.id && !heard.unknown)
                    .collect();
                conversation(&of_it, how);
            }
            let unknown = heard.iter().filter(|heard| heard.unknown).count();
            assert!(
                unknown <= 1,
                "{how}: at most one message of a channel is cut off by one kill"
            );
        }
    }
}

/// Opened, worse, better, over: each once, and in this order; or both in one.
fn conversation(heard: &[&Heard], how: &str) {
    let posts: Vec<&&Heard> = heard.iter().filter(|heard| heard.act == Act::Post).collect();
    let turns: Vec<Turn> = posts.iter().map(|post| post.turn).collect();
    match turns.as_slice() {
        [Turn::OpenedAndRecovered] => {}
        [Turn::Opened, between @ .., Turn::Recovered] => {
            assert!(
                between.iter().all(|turn| matches!(turn, Turn::Worsened | Turn::Eased)),
                "{how}: {turns:?}"
            );
            let worse: Vec<u32> = posts
                .iter()
                .filter(|p| p.turn == Turn::Worsened)
                .map(|p| p.missing)
                .collect();
            assert!(
                worse.is_sorted_by(|a, b| a < b),
                "{how}: nothing is told to be worse twice: {worse:?}"
            );
        }
        other => panic!("{how}: {other:?}"),
    }
    assert!(
        posts.iter().skip(1).all(|post| post.in_thread),
        "{how}: what follows knows its first message"
    );
}

/// Kills at each call of an undisturbed life, then lets the next one finish.
fn kill_everywhere(away: fn(Duration) -> bool) {
    let undisturbed = Scenario::new(away);
    assert!(undisturbed.life());
    undisturbed.check("undisturbed");
    let calls = undisturbed.store.calls();
    assert!(calls.len() > 20, "{calls:?}");
    // The outbox is read once a second though nothing is in it: a kill at one of those is like a kill at another.
    let idle = |n: usize| n > 0 && calls[n] == "owed" && calls[n - 1] == "owed" && calls.get(n + 1) == Some(&"owed");
    for n in (0..calls.len()).filter(|n| !idle(*n)) {
        for fate in [Fate::KillsBefore, Fate::KillsAfter] {
            let scenario = Scenario::new(away);
            let fares = move |number, _: &str| if number == n { fate } else { Fate::Works };
            scenario.store.fare(fares);
            let how = format!("{fate:?} call {n} ({})", calls[n]);
            assert!(!scenario.life(), "{how}: the kill came");
            assert!(scenario.life(), "{how}");
            scenario.check(&how);
        }
    }
}

#[test]
fn each_trouble_is_told_once_over_a_kill_at_any_call() {
    kill_everywhere(|_| false);
}

#[test]
fn each_trouble_is_told_once_over_a_kill_at_any_call_while_the_channels_are_away() {
    // Away over the worsening and the end of the first trouble, the whole second, and the opening of the third.
    kill_everywhere(|at| at > secs(5) && at < secs(24));
}

/// Killed again and again: at every k-th call of each life.
#[test]
fn each_trouble_is_told_once_over_many_kills() {
    for every in 2..40 {
        for fate in [Fate::KillsBefore, Fate::KillsAfter] {
            let scenario = Scenario::new(|_| false);
            scenario
                .store
                .fare(move |number, _| if number % every == every - 1 { fate } else { Fate::Works });
            while !scenario.life() {}
            scenario.store.fare(|_, _| Fate::Works);
            assert!(scenario.life_until(END * 2));
            let how = format!("{fate:?} every {every}th call");
            assert_eq!(scenario.store.debts(), [], "{how}");
            for channel in &scenario.channels {
                let heard = channel.heard();
                for incident in scenario.store.all_incidents() {
                    let of_it: Vec<&Heard> = heard
                        .iter()
                        .filter(|heard| heard.incident == incident.id && !heard.unknown)
                        .collect();
                    match &incident.told {
                        Some(_) => conversation(&of_it, &how),
                        None => assert!(of_it.is_empty(), "{how}: over before it was told: silent"),
                    }
                }
            }
        }
    }
}
