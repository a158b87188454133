//! Every form of the line, as tables.

use std::time::Duration;

use crate::alert::{Cover, Evidence, Incident, IncidentId, Kind, Missing, Notice, Scene, Severity, Shared, Turn};
use crate::detect::{Diagnosis, Signal, WorkerState};
use crate::time::Wall;

const NOW: Wall = Wall::from_micros(1_795_507_392_000_000);

fn ago(secs: u64) -> Wall {
    NOW - Duration::from_secs(secs)
}

fn missing(hostname: &str, diagnosis: Option<Diagnosis>, silent: u64) -> Missing {
    Missing {
        hostname: hostname.into(),
        state: WorkerState::Down,
        diagnosis,
        last_seen: Some(ago(silent)),
        since: None,
    }
}

fn crashed(hostname: &str, silent: u64) -> Missing {
    missing(hostname, Some(Diagnosis::Crashed), silent)
}

fn fleet(severity: Severity, up: u32, expected: u32, missing: Vec<Missing>) -> Incident {
    Incident {
        id: IncidentId("k3f9".into()),
        kind: Kind::Fleet,
        subject: "sms".into(),
        broker: "main".into(),
        severity,
        diagnosis: None,
        opened_at: ago(2),
        changed_at: ago(2),
        resolved_at: None,
        unwatched: false,
        began: None,
        scene: Scene {
            up,
            expected,
            minimum: 1,
            missing,
            ..Scene::default()
        },
        evidence: Vec::new(),
        told: None,
    }
}

fn text(turn: Turn, incident: Incident) -> String {
    Notice {
        turn,
        at: NOW,
        incident,
        link: None,
    }
    .text()
}

fn opened(incident: Incident) -> String {
    text(Turn::Opened, incident)
}

#[test]
fn one_and_three_crashed() {
    assert_eq!(
        opened(fleet(Severity::Degraded, 2, 3, vec![crashed("sms@host2", 8)])),
        "DEGRADED sms: 2 of 3 workers up; sms@host2 crashed 8 s ago"
    );
    let three = vec![crashed("sms@h1", 9), crashed("sms@h2", 8), crashed("sms@h3", 8)];
    assert_eq!(
        text(Turn::Worsened, fleet(Severity::Down, 0, 3, three)),
        "DOWN sms: 0 of 3 workers up; sms@h1, sms@h2 and sms@h3 crashed 9 s ago"
    );
}

#[test]
fn many_are_counted() {
    let many = |n: usize| (0..n).map(|i| crashed(&format!("sms@h{i}"), 9)).collect::<Vec<_>>();
    assert_eq!(
        opened(fleet(Severity::Down, 0, 7, many(7))),
        "DOWN sms: 0 of 7 workers up; sms@h0, sms@h1, sms@h2 and 4 more crashed 9 s ago"
    );
    // The list is bounded. Of those it leaves out the reason is known only where the incident has one for all.
    let mut thousand = fleet(Severity::Down, 0, 1_000, many(50));
    assert_eq!(
        opened(thousand.clone()),
        "DOWN sms: 0 of 1000 workers up; sms@h0, sms@h1 and sms@h2 crashed 9 s ago, and 997 more"
    );
    thousand.diagnosis = Some(Diagnosis::Crashed);
    assert_eq!(
        opened(thousand),
        "DOWN sms: 0 of 1000 workers up; sms@h0, sms@h1, sms@h2 and 997 more crashed 9 s ago"
    );
}

#[test]
fn mixed_reasons() {
    let mixed = vec![
        crashed("sms@h1", 9),
        crashed("sms@h2", 9),
        missing("sms@h3", Some(Diagnosis::Frozen), 40),
        missing("sms@h4", Some(Diagnosis::Unreachable), 40),
    ];
    assert_eq!(
        opened(fleet(Severity::Degraded, 1, 5, mixed)),
        "DEGRADED sms: 1 of 5 workers up; sms@h1 and sms@h2 crashed 9 s ago, sms@h3 frozen for 40 s, and 1 more"
    );
    assert_eq!(
        opened(fleet(
            Severity::Down,
            0,
            2,
            vec![crashed("sms@h1", 11_100), crashed("sms@h2", 9)]
        )),
        "DOWN sms: 0 of 2 workers up; sms@h1 and sms@h2 crashed 9 s to 3 h 5 min ago"
    );
}

#[test]
fn each_reason_in_words() {
    use WorkerState as S;
    let table = [
        (S::Down, Some(Diagnosis::Crashed), Some(8), "crashed 8 s ago"),
        (S::Down, Some(Diagnosis::Crashed), None, "crashed"),
        (S::Down, Some(Diagnosis::Frozen), Some(40), "frozen for 40 s"),
        (
            S::Down,
            Some(Diagnosis::Unreachable),
            Some(130),
            "unreachable for 2 min 10 s",
        ),
        (S::Down, None, Some(8), "down for 8 s"),
        (S::Suspect, None, Some(4), "silent for 4 s"),
        (S::Offline, None, Some(60), "said goodbye 1 min ago"),
        (S::Stalled, None, Some(1), "alive but consuming nothing"),
        (
            S::Stalled,
            Some(Diagnosis::Stalled),
            Some(20),
            "alive but consuming nothing for 20 s",
        ),
        (
            S::Stalled,
            Some(Diagnosis::Stuck),
            Some(600),
            "alive but stuck in what it has taken for 10 min",
        ),
        (S::Down, Some(Diagnosis::Flapping), None, "down and up again and again"),
        (S::Unknown, None, Some(8), "not seen for 8 s"),
        (S::Unknown, None, None, "not seen yet"),
        (S::Up, Some(Diagnosis::Crashed), Some(1), "up"),
    ];
    for (state, diagnosis, silent, words) in table {
        let one = Missing {
            hostname: "a@b".into(),
            state,
            diagnosis,
            last_seen: silent.map(ago),
            since: None,
        };
        assert_eq!(super::plight(&one, NOW), words);
    }
    let tomorrow = Missing {
        last_seen: Some(NOW + Duration::from_secs(86_400)),
        ..crashed("a@b", 0)
    };
    assert_eq!(super::plight(&tomorrow, NOW), "crashed under 1 s ago");
}

#[test]
fn alive_and_of_no_use() {
    let idle = |diagnosis| Missing {
        state: WorkerState::Stalled,
        since: Some(ago(20)),
        ..missing("sms@host2", Some(diagnosis), 1)
    };
    let mut stalled = fleet(Severity::Stalled, 2, 3, vec![idle(Diagnosis::Stalled)]);
    stalled.scene.waiting = Some(41);
    assert_eq!(
        opened(stalled),
        "STALLED sms: 2 of 3 workers up; sms@host2 alive but consuming nothing for 20 s; 41 tasks wait"
    );
    let stuck = fleet(Severity::Stuck, 2, 3, vec![idle(Diagnosis::Stuck)]);
    assert_eq!(
        opened(stuck),
        "STALLED sms: 2 of 3 workers up; sms@host2 alive but stuck in what it has taken for 20 s"
    );
    let flaps = Missing {
        last_seen: None,
        ..missing("sms@host2", Some(Diagnosis::Flapping), 1)
    };
    assert_eq!(
        opened(fleet(Severity::Flapping, 2, 3, vec![flaps])),
        "FLAPPING sms: 2 of 3 workers up; sms@host2 down and up again and again; told again only when that ends, or if it stays down"
    );
    let mut steady = fleet(Severity::Flapping, 3, 3, Vec::new());
    steady.resolved_at = Some(NOW);
    assert_eq!(
        text(Turn::Recovered, steady),
        "RECOVERED sms: 3 of 3 workers up, and steady again; incident k3f9, lasted 2 s"
    );
}

#[test]
fn what_the_lost_share_is_named_before_their_names() {
    let three = vec![crashed("a@web3", 9), crashed("b@web3", 8), crashed("c@web3", 8)];
    let mut together = fleet(Severity::Degraded, 7, 10, three);
    for (shared, words) in [
        (Shared::Host("web3".into()), "all 3 on host web3"),
        (
            Shared::Software("py-celery 5.7.0 (Linux)".into()),
            "all 3 with py-celery 5.7.0 (Linux)",
        ),
        (Shared::Queue("mail".into()), "all 3 that consumed mail"),
    ] {
        together.scene.shared = Some(shared);
        assert_eq!(
            opened(together.clone()),
            format!("DEGRADED sms: 7 of 10 workers up; {words} crashed 9 s ago")
        );
    }
    together.kind = Kind::Fleets;
    together.subject = "main".into();
    together.scene.shared = Some(Shared::Host("web3".into()));
    let cover = |fleet: &str, down| Cover {
        fleet: fleet.into(),
        lost: 1,
        workers: Vec::new(),
        down,
    };
    together.scene.covers = vec![cover("sms", false), cover("mail", false), cover("cron", true)];
    assert_eq!(
        opened(together),
        "DEGRADED main: 7 of 10 workers up; all 3 on host web3 crashed 9 s ago; fleet cron down, fleets sms and mail degraded"
    );
}

#[test]
fn eased_recovered_and_both() {
    assert_eq!(
        text(
            Turn::Eased,
            fleet(Severity::Degraded, 2, 3, vec![crashed("sms@h1", 70)])
        ),
        "DEGRADED sms: 2 of 3 workers up again; sms@h1 crashed 1 min 10 s ago"
    );
    let mut over = fleet(Severity::Down, 3, 3, vec![]);
    over.opened_at = ago(140);
    over.resolved_at = Some(ago(10));
    assert_eq!(
        text(Turn::Recovered, over.clone()),
        "RECOVERED sms: 3 of 3 workers up; incident k3f9, lasted 2 min 10 s"
    );
    over.opened_at = ago(50);
    assert_eq!(
        text(Turn::OpenedAndRecovered, over.clone()),
        "RECOVERED sms: 3 of 3 workers up; was DOWN for 40 s (told late: it began at 2026-11-24 08:02:22 UTC); \
         incident k3f9"
    );
    over.scene = Scene::default();
    assert_eq!(
        text(Turn::Recovered, over),
        "RECOVERED sms: no worker is expected any more; incident k3f9, lasted 40 s"
    );
}

#[test]
fn a_broker() {
    let mut broker = fleet(Severity::BrokerDown, 0, 0, vec![]);
    broker.kind = Kind::Broker;
    broker.subject = "main".into();
    broker.opened_at = ago(7);
    assert_eq!(opened(broker.clone()), "BROKER DOWN main: unreachable for 7 s");
    broker.evidence.push(Evidence {
        at: ago(12),
        subject: "main".into(),
        signal: None,
        says: "connection lost: reset by peer".into(),
    });
    broker.scene.fleets = vec!["sms".into()];
    assert_eq!(
        opened(broker.clone()),
        "BROKER DOWN main: unreachable for 12 s; fleet sms unknown"
    );
    broker.scene.fleets = vec!["sms".into(), "tracker".into()];
    assert_eq!(
        opened(broker.clone()),
        "BROKER DOWN main: unreachable for 12 s; fleets sms and tracker unknown"
    );
    broker.scene.fleets = ["a", "b", "c", "d", "e"].map(Into::into).to_vec();
    assert_eq!(
        opened(broker.clone()),
        "BROKER DOWN main: unreachable for 12 s; fleets a, b, c and 2 more unknown"
    );
    broker.scene.fleets = vec!["sms".into()];
    broker.scene.blocked = true;
    assert_eq!(
        opened(broker.clone()),
        "BROKER DOWN main: blocks publishers (its memory or disk is short), nothing heard for 12 s; fleet sms unknown"
    );
    broker.scene.blocked = false;
    broker.scene.refused = true;
    assert_eq!(
        opened(broker.clone()),
        "BROKER DOWN main: refuses Headcount (user, password or permissions), nothing heard for 12 s; fleet sms unknown"
    );
    broker.resolved_at = Some(NOW);
    assert_eq!(
        text(Turn::Recovered, broker),
        "RECOVERED main: reachable again; incident k3f9, lasted 7 s"
    );
}

#[test]
fn a_worker_of_its_own() {
    let mut worker = fleet(Severity::Stalled, 0, 0, vec![]);
    worker.kind = Kind::Worker;
    worker.subject = "sms@h1".into();
    assert_eq!(opened(worker.clone()), "STALLED sms@h1: alive but consuming nothing");
    worker.evidence.push(Evidence {
        at: ago(1),
        subject: "sms@h1".into(),
        signal: Some(Signal::Work),
        says: "its queue sms has waited\nfor 60 s".into(),
    });
    assert_eq!(
        opened(worker),
        "STALLED sms@h1: its queue sms has waited\u{FFFD}for 60 s"
    );
}

#[test]
fn a_test() {
    assert_eq!(
        Notice::test(NOW).text(),
        "TEST headcount: this is a test of a notifier, nothing happened"
    );
}

#[test]
fn hostile_names_stay_on_one_short_line() {
    let hostile = [
        "\n\nDOWN billing: ",
        "\u{202E}sms@h",
        "x\0\u{7}\u{1b}[2J",
        "<!channel> & `rm`",
    ];
    for name in hostile {
        let mut bad = fleet(Severity::Down, 0, 900, vec![crashed(&name.repeat(5_000), 1); 50]);
        bad.subject = name.repeat(5_000).into();
        bad.id = IncidentId(name.repeat(5_000).into());
        bad.resolved_at = Some(NOW);
        for turn in [
            Turn::Opened,
            Turn::Worsened,
            Turn::Eased,
            Turn::Recovered,
            Turn::OpenedAndRecovered,
            Turn::Test,
        ] {
            let line = text(turn, bad.clone());
            assert!(!line.contains(['\n', '\r', '\0', '\u{1b}', '\u{202E}']), "{line:?}");
            assert!(line.chars().count() < 600, "{}", line.chars().count());
        }
    }
}

/// Of those who never came nothing is known: what happened to the others is not said of them.
#[test]
fn who_was_never_seen_has_not_crashed() {
    let incident = Incident {
        diagnosis: Some(Diagnosis::Crashed),
        ..fleet(Severity::Down, 1, 4, vec![crashed("sms@host1", 6)])
    };
    assert_eq!(
        opened(incident),
        "DOWN sms: 1 of 4 workers up; sms@host1 crashed 6 s ago, and 2 not seen"
    );
}
