//! Notices of every turn, ordinary and hostile, for the tests of every notifier.

use std::time::Duration;

use compact_str::CompactString;
use headcount_core::alert::{Evidence, Incident, IncidentId, Kind, Missing, Notice, Scene, Severity, Turn};
use headcount_core::detect::{Diagnosis, Signal, WorkerState};
use headcount_core::time::Wall;

/// 2026-11-24 08:03:12 UTC.
const NOW: Wall = Wall::from_micros(1_795_507_392_000_000);

fn ago(secs: u64) -> Wall {
    NOW - Duration::from_secs(secs)
}

fn missing(hostname: &str) -> Missing {
    Missing {
        hostname: hostname.into(),
        state: WorkerState::Down,
        diagnosis: Some(Diagnosis::Crashed),
        last_seen: Some(ago(8)),
        since: None,
    }
}

fn evidence(subject: &str, says: &str) -> Evidence {
    Evidence {
        at: ago(2),
        subject: subject.into(),
        signal: Some(Signal::Presence),
        says: says.into(),
    }
}

fn fleet(severity: Severity, up: u32, expected: u32, gone: Vec<Missing>) -> Incident {
    Incident {
        id: IncidentId("k3f9".into()),
        kind: Kind::Fleet,
        subject: "sms".into(),
        broker: "main".into(),
        severity,
        diagnosis: Some(Diagnosis::Crashed),
        opened_at: ago(2),
        changed_at: ago(2),
        resolved_at: None,
        unwatched: false,
        began: None,
        evidence: gone
            .iter()
            .take(20)
            .map(|m| evidence(&m.hostname, "its connection is gone"))
            .collect(),
        scene: Scene {
            up,
            expected,
            minimum: 1,
            missing: gone,
            ..Scene::default()
        },
        told: None,
    }
}

fn notice(turn: Turn, incident: Incident) -> Notice {
    Notice {
        turn,
        at: NOW,
        incident,
        link: Some("https://headcount.example/#/incidents/k3f9".into()),
    }
}

/// An ordinary opening.
pub(super) fn opened() -> Notice {
    notice(
        Turn::Opened,
        fleet(Severity::Degraded, 2, 3, vec![missing("sms@host2")]),
    )
}

/// The same incident, worse.
pub(super) fn worsened() -> Notice {
    notice(
        Turn::Worsened,
        fleet(
            Severity::Down,
            0,
            3,
            ["sms@h1", "sms@h2", "sms@h3"].map(missing).to_vec(),
        ),
    )
}

/// The same incident, over.
pub(super) fn recovered() -> Notice {
    let mut over = fleet(Severity::Down, 3, 3, vec![]);
    over.opened_at = ago(140);
    over.resolved_at = Some(ago(10));
    notice(Turn::Recovered, over)
}

/// Texts that want to be more than text.
pub(super) const HOSTILE: [&str; 7] = [
    "<!channel> <@U012AB3CD> <https://evil.example|click>",
    "@here @channel #general :skull:",
    "&&&&<<<<>>>>",
    "`*_~```\n> quote\r\n\0\u{1b}[31m",
    "\u{202E}gnp.exe\u{2066}\u{200B}",
    "😀\u{10FFFF}é",
    "",
];

/// One of each, by name.
pub(super) fn all() -> Vec<(String, Notice)> {
    let mut broker = fleet(Severity::BrokerDown, 0, 0, vec![]);
    broker.kind = Kind::Broker;
    broker.subject = "main".into();
    broker.diagnosis = None;
    broker.scene.fleets = (0..60).map(|n| CompactString::from(format!("fleet{n}"))).collect();
    broker.evidence = vec![Evidence {
        signal: None,
        ..evidence("main", "connection lost: reset by peer")
    }];

    let thousand = (0..Scene::MAX_MISSING)
        .map(|n| missing(&format!("sms@host{n}")))
        .collect();
    let mut late = recovered();
    late.turn = Turn::OpenedAndRecovered;
    let mut eased = opened();
    eased.turn = Turn::Eased;
    let mut bare = opened();
    bare.link = None;
    bare.incident.evidence.clear();
    bare.incident.scene = Scene::default();
    bare.incident.opened_at = Wall::from_micros(i64::MIN);

    let mut all = vec![
        ("opened".to_owned(), opened()),
        ("worsened".to_owned(), worsened()),
        ("eased".to_owned(), eased),
        ("recovered".to_owned(), recovered()),
        ("opened_and_recovered".to_owned(), late),
        (
            "thousand_missing".to_owned(),
            notice(Turn::Opened, fleet(Severity::Down, 0, 1_000, thousand)),
        ),
        ("broker_down".to_owned(), notice(Turn::Opened, broker)),
        ("bare".to_owned(), bare),
        (
            "test".to_owned(),
            Notice {
                at: NOW,
                ..Notice::test(NOW)
            },
        ),
    ];
    for (n, text) in HOSTILE.iter().enumerate() {
        for (size, text) in [("short", (*text).to_owned()), ("long", text.repeat(2_000))] {
            let mut bad = fleet(Severity::Down, 0, 900, vec![missing(&text); Scene::MAX_MISSING]);
            bad.id = IncidentId(text.as_str().into());
            bad.subject = text.as_str().into();
            bad.broker = text.as_str().into();
            bad.scene.fleets = vec![text.as_str().into(); 50];
            bad.evidence = vec![evidence(&text, &text); Incident::MAX_EVIDENCE];
            let mut bad = notice(Turn::Opened, bad);
            bad.link = Some(format!("https://headcount.example/{text}"));
            all.push((format!("hostile_{n}_{size}"), bad));
        }
    }
    all
}
