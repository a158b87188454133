//! Fleets of one broker on a virtual clock: who falls when, and what is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::alert::debounce::{self, Decision};
use crate::alert::{IncidentId, Notice, Turn};
use crate::detect::{Diagnosis, FleetState, WorkerState};
use crate::status::FleetStatus;
use crate::time::Wall;

/// A broker's fleets, and all that people were told of them.
struct House {
    ms: u64,
    fleets: BTreeMap<CompactString, FleetVerdict>,
    correlator: Correlator,
    book: IncidentBook,
    pending: BTreeMap<IncidentId, (Change, Mono)>,
    told: Vec<String>,
}

fn well(name: &str) -> FleetVerdict {
    FleetVerdict {
        fleet: FleetStatus {
            name: name.into(),
            broker: "main".into(),
            state: FleetState::Healthy,
            seen: true,
            expected: 3,
            minimum: 1,
            up: 3,
            suspect: 0,
            down: 0,
            stalled: 0,
            since: Wall::default(),
            queues: Vec::new(),
        },
        finding: Finding::Well,
        missing: Vec::new(),
        shared: None,
        evidence: Vec::new(),
        unsettled: false,
        may_follow: false,
    }
}

impl House {
    fn new(names: &[&str]) -> Self {
        Self {
            ms: 1_000,
            fleets: names.iter().map(|name| ((*name).into(), well(name))).collect(),
            correlator: Correlator::default(),
            book: IncidentBook::default(),
            pending: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono::from_micros(self.ms * 1_000),
            wall: Wall::from_micros(i64::try_from(self.ms).unwrap() * 1_000),
        }
    }

    /// A fleet has lost its workers on these hosts.
    fn lost(&mut self, name: &str, hosts: &[&str]) {
        let seen = self.now().wall - Duration::from_secs(8);
        let fleet = self.fleets.get_mut(name).unwrap();
        let lost = u32::try_from(hosts.len()).unwrap();
        fleet.unsettled = false;
        fleet.fleet.up = 3 - lost;
        fleet.finding = match lost {
            0 => Finding::Well,
            3 => Finding::Trouble {
                severity: Severity::Down,
                up: 0,
            },
            _ => Finding::Trouble {
                severity: Severity::Degraded,
                up: 3 - lost,
            },
        };
        let missing = |host: &&str| Missing {
            hostname: format!("{name}@{host}").into(),
            state: WorkerState::Down,
            diagnosis: Some(Diagnosis::Crashed),
            last_seen: Some(seen),
            since: None,
        };
        fleet.missing = hosts.iter().map(missing).collect();
    }

    /// Nothing is known of any fleet, for so long; afterwards they are as they were.
    fn blind(&mut self, ms: u64) {
        let known: Vec<_> = self.fleets.values().map(|fleet| fleet.finding).collect();
        self.fleets
            .values_mut()
            .for_each(|fleet| fleet.finding = Finding::Unknown);
        self.run(ms);
        for (fleet, finding) in self.fleets.values_mut().zip(known) {
            fleet.finding = finding;
        }
    }

    fn unsettled(&mut self, name: &str) {
        self.fleets.get_mut(name).unwrap().unsettled = true;
    }

    /// As the aggregator and the debouncer do it, every 100 ms.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.ms += 100;
            let now = self.now();
            let fleets: Vec<&FleetVerdict> = self.fleets.values().collect();
            let changes = self.correlator.judge(now, &mut self.book, &"main".into(), &fleets);
            for mut change in changes {
                let known = self.pending.get(&change.incident.id);
                change.incident.told = known.and_then(|(known, _)| known.incident.told.clone());
                let since = known.map_or(now.mono, |(_, since)| *since);
                self.pending.insert(change.incident.id.clone(), (change, since));
            }
            for (change, since) in self.pending.values_mut() {
                let incident = &mut change.incident;
                if incident.told.as_ref().is_some_and(|told| told.recovered) {
                    continue;
                }
                if let Decision::Tell(turn) = debounce::decide(now.mono, incident, change.unsettled, *since) {
                    incident.told = Some(debounce::told(incident, turn, now.wall));
                    *since = now.mono;
                    let notice = Notice {
                        turn,
                        at: now.wall,
                        incident: incident.clone(),
                        link: None,
                    };
                    if !matches!(turn, Turn::Eased | Turn::Relapsed | Turn::Shifted) {
                        self.told.push(notice.text());
                    }
                }
            }
        }
    }

    /// The process is killed and started again: what was open is open, what waited is forgotten.
    fn restart(&mut self) {
        self.book = IncidentBook::resume(self.book.open());
        self.correlator = Correlator::default();
    }

    fn heard(&mut self) -> Vec<String> {
        let words = |line: String| line.split("; incident").next().unwrap_or_default().to_owned();
        std::mem::take(&mut self.told).into_iter().map(words).collect()
    }
}

const FIVE: [&str; 5] = ["cron", "mail", "pay", "sms", "web"];

#[test]
fn a_host_that_dies_under_five_fleets_is_one_message_and_one_recovery() {
    let mut house = House::new(&FIVE);
    house.run(1_000);
    FIVE.iter().for_each(|name| house.unsettled(name));
    // They are found one after the other.
    for name in FIVE {
        house.lost(name, &["web3"]);
        house.run(300);
    }
    house.run(5_000);
    assert_eq!(
        house.heard(),
        [
            "DEGRADED main: 10 of 15 workers up; all 5 on host web3 crashed 9 s ago; fleets cron, mail, pay and 2 more degraded"
        ]
    );
    assert_eq!(house.book.open().len(), 1);
    for name in FIVE {
        house.lost(name, &[]);
        house.run(1_000);
    }
    house.run(20_000);
    assert_eq!(house.heard(), ["RECOVERED main: 15 of 15 workers up"]);
    assert!(house.book.open().is_empty());
}

#[test]
fn one_fleet_alone_waits_for_nobody() {
    let mut house = House::new(&FIVE);
    house.run(1_000);
    house.lost("sms", &["web3"]);
    house.run(100);
    assert_eq!(
        house.heard(),
        ["DEGRADED sms: 2 of 3 workers up; sms@web3 crashed 8 s ago"]
    );
    house.lost("sms", &[]);
    house.run(100);
    assert_eq!(house.heard(), ["RECOVERED sms: 3 of 3 workers up"]);
}

#[test]
fn who_waits_in_vain_is_told_alone_within_two_seconds() {
    let mut house = House::new(&["mail", "sms"]);
    house.run(1_000);
    house.unsettled("mail");
    house.lost("sms", &["web3"]);
    house.run(1_900);
    assert_eq!(house.heard(), [""; 0]);
    house.run(300);
    assert_eq!(house.heard().len(), 1);
}

#[test]
fn two_fleets_on_two_hosts_are_two_troubles() {
    let mut house = House::new(&["mail", "sms"]);
    house.run(1_000);
    house.lost("sms", &["web3"]);
    house.lost("mail", &["web4"]);
    house.run(3_000);
    let heard = house.heard();
    assert!(heard.iter().any(|line| line.starts_with("DEGRADED sms")), "{heard:?}");
    assert!(heard.iter().any(|line| line.starts_with("DEGRADED mail")), "{heard:?}");
}

#[test]
fn all_workers_of_a_broker_are_one_trouble_and_say_so() {
    let mut house = House::new(&["mail", "sms"]);
    house.run(1_000);
    house.lost("sms", &["a", "b", "c"]);
    house.lost("mail", &["a", "b", "c"]);
    house.run(3_000);
    assert_eq!(
        house.heard(),
        ["DOWN main: 0 of 6 workers up; mail@a, mail@b, mail@c and 3 more crashed 8 s ago; fleets mail and sms down"]
    );
}

#[test]
fn a_further_loss_is_the_fleets_own_and_both_end() {
    let mut house = House::new(&["mail", "sms"]);
    house.run(1_000);
    house.lost("sms", &["web3"]);
    house.lost("mail", &["web3"]);
    house.run(3_000);
    assert_eq!(house.heard().len(), 1);
    house.lost("sms", &["web3", "web4"]);
    house.run(3_000);
    let heard = house.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("DEGRADED sms: 1 of 3 workers up"), "{heard:?}");
    house.lost("sms", &[]);
    house.lost("mail", &[]);
    house.run(3_000);
    let heard = house.heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard.iter().all(|line| line.starts_with("RECOVERED")));
    assert!(house.book.open().is_empty());
}

#[test]
fn what_returned_and_falls_again_is_another_loss() {
    let mut house = House::new(&["mail", "sms"]);
    house.run(1_000);
    house.lost("sms", &["web3"]);
    house.lost("mail", &["web3"]);
    house.run(3_000);
    house.lost("sms", &[]);
    house.run(60_000);
    house.heard();
    house.lost("sms", &["web4"]);
    house.run(3_000);
    assert_eq!(
        house.heard(),
        ["DEGRADED sms: 2 of 3 workers up; sms@web4 crashed 8 s ago"]
    );
}

#[test]
fn covers_survive_a_restart_and_blindness() {
    let mut house = House::new(&["mail", "sms"]);
    house.run(1_000);
    house.lost("sms", &["web3"]);
    house.lost("mail", &["web3"]);
    house.run(3_000);
    assert_eq!(house.heard().len(), 1);
    house.restart();
    house.blind(10_000);
    house.run(10_000);
    assert_eq!(house.heard(), [""; 0], "nothing is told twice");
    house.lost("sms", &[]);
    house.lost("mail", &[]);
    house.run(3_000);
    assert_eq!(house.heard(), ["RECOVERED main: 6 of 6 workers up"]);
}

/// `sms` and `mail` have lost a worker each on web3, and people know.
fn lost_together() -> House {
    let mut house = House::new(&["mail", "sms"]);
    house.run(1_000);
    house.lost("sms", &["web3"]);
    house.lost("mail", &["web3"]);
    house.run(3_000);
    assert_eq!(house.heard().len(), 1);
    house
}

#[test]
fn another_that_falls_while_nobody_looks_is_another_loss() {
    for restarted in [false, true] {
        let mut house = lost_together();
        if restarted {
            house.restart();
        }
        house.blind(10_000);
        house.lost("sms", &["web4"]);
        house.run(3_000);
        assert_eq!(
            house.heard(),
            ["DEGRADED sms: 2 of 3 workers up; sms@web4 crashed 8 s ago"]
        );
        house.lost("mail", &[]);
        house.run(3_000);
        assert_eq!(house.heard(), ["RECOVERED main: 5 of 6 workers up"]);
        house.lost("sms", &[]);
        house.run(3_000);
        assert_eq!(house.heard(), ["RECOVERED sms: 3 of 3 workers up"]);
    }
}

#[test]
fn what_was_lost_together_ends_with_the_return_of_those_who_were() {
    let mut house = lost_together();
    house.lost("sms", &["web3", "web4"]);
    house.run(3_000);
    house.heard();
    house.lost("sms", &["web4"]);
    house.run(3_000);
    let group = house.book.find(Kind::Fleets, &"main".into()).unwrap();
    let named: Vec<_> = group.scene.missing.iter().map(|one| one.hostname.as_str()).collect();
    assert_eq!(named, ["mail@web3"], "the fleet's own loss is not its");
    house.lost("mail", &[]);
    house.run(3_000);
    assert_eq!(house.heard(), ["RECOVERED main: 5 of 6 workers up"]);
    house.lost("sms", &[]);
    house.run(3_000);
    assert_eq!(house.heard(), ["RECOVERED sms: 3 of 3 workers up"]);
}

#[test]
fn who_is_forgotten_and_still_counted_is_no_new_loss() {
    let mut house = lost_together();
    house.fleets.get_mut("sms").unwrap().missing.clear();
    house.run(20_000);
    assert_eq!(house.heard(), [""; 0]);
    house.lost("sms", &[]);
    house.lost("mail", &[]);
    house.run(3_000);
    assert_eq!(house.heard(), ["RECOVERED main: 6 of 6 workers up"]);
}

#[test]
fn a_cover_from_before_it_had_names_counts() {
    let text = r#"{"fleet":"sms","lost":1,"down":false}"#;
    let cover: Cover = serde_json::from_str(text).unwrap();
    assert!(cover.workers.is_empty());
    let mut house = lost_together();
    let mut open = house.book.open();
    for cover in &mut open[0].scene.covers {
        cover.workers.clear();
    }
    house.book = IncidentBook::resume(open);
    house.run(20_000);
    assert_eq!(house.heard(), [""; 0]);
    house.lost("sms", &["web3", "web4"]);
    house.run(3_000);
    assert_eq!(house.heard().len(), 1);
}

#[test]
fn more_than_can_be_named_are_counted() {
    let many = |from: usize, to: usize| -> Vec<Missing> {
        let one = |n: usize| Missing {
            hostname: format!("sms@{n}").into(),
            state: WorkerState::Down,
            diagnosis: Some(Diagnosis::Crashed),
            last_seen: None,
            since: None,
        };
        (from..to).take(Scene::MAX_MISSING).map(one).collect()
    };
    let mut house = House::new(&["mail", "sms"]);
    let lost = |house: &mut House, from, to| {
        let sms = house.fleets.get_mut("sms").unwrap();
        sms.fleet.expected = 100;
        let gone = u32::try_from(to - from).unwrap();
        sms.finding = Finding::Trouble {
            severity: Severity::Degraded,
            up: 100 - gone,
        };
        sms.missing = many(from, to);
        sms.shared = Some(Shared::Host("web3".into()));
    };
    house.run(1_000);
    lost(&mut house, 0, 80);
    house.lost("mail", &["web3"]);
    house.run(3_000);
    assert_eq!(house.heard().len(), 1);
    // The first thirty return: others than before are named, and none of them is new.
    lost(&mut house, 30, 80);
    house.run(20_000);
    assert_eq!(house.heard(), [""; 0]);
    lost(&mut house, 30, 81);
    house.fleets.get_mut("sms").unwrap().shared = None;
    house.run(3_000);
    assert_eq!(house.heard().len(), 1, "one more than were left");
}

proptest::proptest! {
    /// Whatever is lost and returns in whatever order: each incident is opened once and resolved at most once, and when
    /// all is well in the end nothing is open.
    #[test]
    fn every_recovery_has_its_down(steps in proptest::collection::vec((0_usize..3, 0_u8..4, 0_u64..4_000, 0_u8..8), 1..60)) {
        let names = ["mail", "sms", "web"];
        let mut house = House::new(&names);
        for (fleet, lost, wait, special) in steps {
            let hosts: Vec<&str> = ["web1", "web2", "web3"].into_iter().take(usize::from(lost)).collect();
            match special {
                0 => house.fleets.get_mut(names[fleet]).unwrap().finding = Finding::Unknown,
                1 => house.restart(),
                2 => house.unsettled(names[fleet]),
                _ => house.lost(names[fleet], &hosts),
            }
            house.run(wait);
        }
        for name in names {
            house.lost(name, &[]);
        }
        house.run(30_000);
        proptest::prop_assert!(house.book.open().is_empty(), "{:?}", house.book.open());
        let count = |words: &[&str]| house.told.iter().filter(|line| words.iter().any(|word| line.starts_with(word))).count();
        let recovered = count(&["RECOVERED"]);
        let opened = house.pending.values().filter(|(change, _)| change.incident.told.is_some()).count();
        proptest::prop_assert_eq!(recovered, opened, "{:#?}", house.told);
    }

    /// Whoever falls and returns in whatever company: as long as it is missing an open incident names it, and the one
    /// that stands for several fleets is open for nobody else.
    #[test]
    fn whoever_is_missing_is_named(steps in proptest::collection::vec((0_usize..3, 0_u8..8, 0_u8..8), 1..40)) {
        let names = ["mail", "sms", "web"];
        let mut house = House::new(&names);
        for (fleet, lost, special) in steps {
            let at = |n: &usize| lost & (1 << n) != 0;
            let hosts: Vec<&str> = (0..3).filter(at).map(|n| ["web1", "web2", "web3"][n]).collect();
            house.lost(names[fleet], &hosts);
            match special {
                0 => house.blind(3_000),
                1 => house.restart(),
                2 => house.run(500),
                _ => house.run(5_000),
            }
        }
        house.run(5_000);
        let group = house.book.find(Kind::Fleets, &"main".into());
        let covers = group.map_or(&[][..], |group| &group.scene.covers);
        for (name, verdict) in &house.fleets {
            let missing: Vec<_> = verdict.missing.iter().map(|one| &one.hostname).collect();
            let own = house.book.find(Kind::Fleet, name).map_or(&[][..], |own| &own.scene.missing);
            let covered = covers.iter().find(|cover| cover.fleet == *name).map_or(&[][..], |cover| &cover.workers);
            for one in &missing {
                let told = covered.contains(one) || own.iter().any(|own| own.hostname == **one);
                proptest::prop_assert!(told, "{one}: {:?}", house.book.open());
            }
            proptest::prop_assert!(covered.iter().all(|one| missing.contains(&one)), "{:?}", house.book.open());
        }
    }
}
