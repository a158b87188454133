//! What every store must do, written against the port alone. A store passes by one line:
//! `conformance!(fresh)`, where `fresh()` gives a new empty place and a way to open it again and again.

use std::sync::Arc;
use std::time::Duration;

use headcount_actors::ports::{Act, Debt, DebtId, IncidentQuery, Owed, Receipt, Store};
use headcount_core::alert::{Evidence, Incident, IncidentId, Kind, Missing, Notice, Scene, Severity, Told, Turn};
use headcount_core::celery::TaskKind;
use headcount_core::detect::{Diagnosis, Signal, WorkerMemory, WorkerState};
use headcount_core::stats::TaskCount;
use headcount_core::time::Wall;

/// Opens one and the same store; what was opened before must have been dropped.
pub(super) type Open = Box<dyn Fn() -> Arc<dyn Store>>;

macro_rules! conformance {
    ($fresh:path) => {
        $crate::store::conformance::conformance!($fresh:
            an_empty_store_remembers_nothing, workers_are_replaced, incidents_come_back, a_save_keeps_what_was_told,
            telling_is_all_or_nothing, debts_keep_their_order, paying_twice_is_paying_once,
            the_first_receipt_is_kept, a_failure_leaves_the_debt, merging_is_all_or_nothing, queries_select,
            documents_are_bounded, task_counts_add_up, forgetting_spares_what_is_owed, hostile_text_comes_back,
            calls_at_once_do_not_mix);
    };
    ($fresh:path: $($check:ident),+) => {
        $(#[tokio::test]
        async fn $check() {
            $crate::store::conformance::$check($fresh()).await;
        })+
    };
}
pub(super) use conformance;

pub(super) fn at(secs: i64) -> Wall {
    Wall::from_micros(1_700_000_000_000_000 + secs * 1_000_000)
}

pub(super) fn incident(id: &str, opened: i64) -> Incident {
    Incident {
        id: IncidentId(id.into()),
        kind: Kind::Fleet,
        subject: "sms".into(),
        broker: "main".into(),
        severity: Severity::Degraded,
        diagnosis: Some(Diagnosis::Crashed),
        opened_at: at(opened),
        changed_at: at(opened),
        resolved_at: None,
        scene: Scene {
            up: 2,
            expected: 3,
            minimum: 1,
            missing: vec![Missing {
                hostname: "sms@h1".into(),
                state: WorkerState::Down,
                diagnosis: Some(Diagnosis::Crashed),
                last_seen: Some(at(opened - 8)),
            }],
            fleets: vec![],
        },
        evidence: vec![Evidence {
            at: at(opened),
            subject: "sms@h1".into(),
            signal: Some(Signal::Presence),
            says: "connection gone".into(),
        }],
        told: None,
    }
}

fn resolved(mut incident: Incident, when: i64) -> Incident {
    incident.resolved_at = Some(at(when));
    incident
}

pub(super) fn told(recovered: bool) -> Told {
    Told {
        severity: Severity::Degraded,
        missing: 1,
        recovered,
        at: at(0),
    }
}

pub(super) fn owes(incident: &Incident, notifier: &str, turn: Turn, act: Act) -> Owed {
    Owed {
        notifier: notifier.into(),
        act,
        notice: Notice {
            turn,
            at: at(1),
            incident: incident.clone(),
            link: Some("http://h/#x".into()),
        },
    }
}

fn receipt(text: &str) -> Option<Receipt> {
    Some(Receipt(text.into()))
}

async fn turns(store: &dyn Store, notifier: &str) -> Vec<(DebtId, Turn)> {
    let debts = store.owed(notifier, 1_000).await.unwrap();
    debts
        .into_iter()
        .map(|Debt { id, owed }| (id, owed.notice.turn))
        .collect()
}

fn worker(hostname: &str) -> WorkerMemory {
    WorkerMemory {
        hostname: hostname.into(),
        pid: Some(42),
        state: WorkerState::Up,
        diagnosis: None,
        since: at(0),
        last_seen: Some(at(5)),
        interval_us: Some(2_000_000),
        pool: None,
        queues: vec!["sms".into()],
        answers: true,
        shows_presence: false,
    }
}

pub(super) async fn an_empty_store_remembers_nothing(open: Open) {
    for _ in 0..2 {
        let store = open();
        assert_eq!(store.load().await.unwrap(), Default::default());
        assert_eq!(store.owed("slack", 10).await.unwrap(), vec![]);
        assert_eq!(store.receipt(&IncidentId("no".into()), "slack").await.unwrap(), None);
        assert!(store.incident(&IncidentId("no".into())).await.unwrap().is_none());
        assert!(
            store
                .incidents(IncidentQuery {
                    limit: 10,
                    ..Default::default()
                })
                .await
                .unwrap()
                .is_empty()
        );
    }
}

pub(super) async fn workers_are_replaced(open: Open) {
    let store = open();
    store
        .save_workers("sms", vec![worker("sms@h1"), worker("sms@h2")])
        .await
        .unwrap();
    store.save_workers("billing", vec![worker("billing@h1")]).await.unwrap();
    store.save_workers("sms", vec![worker("sms@h3")]).await.unwrap();
    store.save_workers("old", vec![worker("old@h1")]).await.unwrap();
    store.save_workers("old", vec![]).await.unwrap();
    drop(store);
    let mut workers = open().load().await.unwrap().workers;
    workers.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        workers,
        [
            ("billing".into(), vec![worker("billing@h1")]),
            ("sms".into(), vec![worker("sms@h3")])
        ]
    );
}

pub(super) async fn incidents_come_back(open: Open) {
    let store = open();
    let (a, b) = (incident("a", 10), resolved(incident("b", 20), 30));
    store.save_incidents(vec![a.clone(), b.clone()]).await.unwrap();
    drop(store);
    let store = open();
    // The second is over, and nobody has been told that it is.
    assert_eq!(store.load().await.unwrap().incidents, [a.clone(), b.clone()]);
    store.tell(b.id.clone(), told(true), vec![]).await.unwrap();
    assert_eq!(store.load().await.unwrap().incidents, [a]);
    // Over and told: no longer what a restart needs, and still known.
    assert_eq!(
        store.incident(&b.id).await.unwrap().unwrap().0,
        Incident {
            told: Some(told(true)),
            ..b
        }
    );
}

pub(super) async fn a_save_keeps_what_was_told(open: Open) {
    let store = open();
    let mut a = incident("a", 10);
    a.told = Some(told(true));
    store.save_incidents(vec![a.clone()]).await.unwrap();
    assert_eq!(
        store.load().await.unwrap().incidents[0].told,
        None,
        "saving tells nothing"
    );
    store.tell(a.id.clone(), told(false), vec![]).await.unwrap();
    a.told = None;
    a.severity = Severity::Down;
    store.save_incidents(vec![a.clone()]).await.unwrap();
    let found = store.load().await.unwrap().incidents.remove(0);
    assert_eq!(
        found,
        Incident {
            told: Some(told(false)),
            ..a
        }
    );
}

pub(super) async fn telling_is_all_or_nothing(open: Open) {
    let store = open();
    let a = incident("a", 10);
    let owed = vec![owes(&a, "slack", Turn::Opened, Act::Post)];
    assert!(
        store.tell(a.id.clone(), told(false), owed.clone()).await.is_err(),
        "no such incident"
    );
    assert_eq!(turns(&*store, "slack").await, []);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    store.tell(a.id.clone(), told(false), owed.clone()).await.unwrap();
    drop(store);
    let store = open();
    let debts = store.owed("slack", 10).await.unwrap();
    assert_eq!(debts.iter().map(|d| d.owed.clone()).collect::<Vec<_>>(), owed);
    assert_eq!(store.load().await.unwrap().incidents[0].told, Some(told(false)));
}

pub(super) async fn debts_keep_their_order(open: Open) {
    let store = open();
    let (a, b) = (incident("a", 10), incident("b", 20));
    store.save_incidents(vec![a.clone(), b.clone()]).await.unwrap();
    let post = |i: &Incident, turn| owes(i, "slack", turn, Act::Post);
    store
        .tell(b.id.clone(), told(false), vec![post(&b, Turn::Opened)])
        .await
        .unwrap();
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![
                post(&a, Turn::Opened),
                owes(&a, "stdout", Turn::Opened, Act::Post),
                post(&a, Turn::Worsened),
            ],
        )
        .await
        .unwrap();
    let refresh = owes(&b, "slack", Turn::Recovered, Act::Refresh);
    store
        .tell(b.id.clone(), told(true), vec![post(&b, Turn::Recovered), refresh])
        .await
        .unwrap();
    drop(store);
    let store = open();
    let debts = store.owed("slack", 100).await.unwrap();
    let order: Vec<_> = debts
        .iter()
        .map(|d| (&*d.owed.notice.incident.id.0, d.owed.notice.turn, d.owed.act))
        .collect();
    assert_eq!(
        order,
        [
            ("b", Turn::Opened, Act::Post),
            ("a", Turn::Opened, Act::Post),
            ("a", Turn::Worsened, Act::Post),
            ("b", Turn::Recovered, Act::Post),
            ("b", Turn::Recovered, Act::Refresh)
        ]
    );
    assert!(debts.is_sorted_by(|x, y| x.id < y.id));
    assert_eq!(store.owed("slack", 2).await.unwrap(), debts[..2]);
    assert_eq!(store.owed("slack", 0).await.unwrap(), []);
    assert_eq!(turns(&*store, "stdout").await.len(), 1);
    // Paid in the middle: the others stay as they were.
    store.paid(debts[1].id, at(2), None).await.unwrap();
    let left: Vec<_> = store.owed("slack", 100).await.unwrap();
    assert_eq!(left, [&debts[..1], &debts[2..]].concat());
}

pub(super) async fn paying_twice_is_paying_once(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![owes(&a, "slack", Turn::Opened, Act::Post)],
        )
        .await
        .unwrap();
    let debt = store.owed("slack", 1).await.unwrap()[0].id;
    store.paid(debt, at(5), receipt("first")).await.unwrap();
    store.paid(debt, at(9), receipt("second")).await.unwrap();
    store.unpaid(debt, "too late".into()).await.unwrap();
    let (_, history) = store.incident(&a.id).await.unwrap().unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].queued_at, history[0].delivered_at), (at(1), Some(at(5))));
    assert_eq!(history[0].error, None);
    assert!(history[0].text.starts_with("DEGRADED sms: 2 of 3 workers up"));
    assert_eq!(store.receipt(&a.id, "slack").await.unwrap(), receipt("first"));
    assert_eq!(turns(&*store, "slack").await, []);
    // A number that was never given is nobody's debt.
    store
        .paid(DebtId(debt.0 + 1_000), at(9), receipt("third"))
        .await
        .unwrap();
}

pub(super) async fn the_first_receipt_is_kept(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    let owed = vec![
        owes(&a, "slack", Turn::Opened, Act::Post),
        owes(&a, "slack", Turn::Worsened, Act::Refresh),
        owes(&a, "slack", Turn::Worsened, Act::Post),
        owes(&a, "other", Turn::Opened, Act::Post),
    ];
    store.tell(a.id.clone(), told(false), owed).await.unwrap();
    let debts = turns(&*store, "slack").await;
    store.paid(debts[0].0, at(5), receipt("first")).await.unwrap();
    store.paid(debts[1].0, at(6), None).await.unwrap();
    store.paid(debts[2].0, at(7), receipt("second")).await.unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.receipt(&a.id, "slack").await.unwrap(), receipt("first"));
    assert_eq!(store.receipt(&a.id, "other").await.unwrap(), None);
    let (_, history) = store.incident(&a.id).await.unwrap().unwrap();
    let messages: Vec<_> = history.iter().map(|n| (&*n.notifier, n.delivered_at)).collect();
    assert_eq!(
        messages,
        [("slack", Some(at(5))), ("slack", Some(at(7))), ("other", None)],
        "a refreshed message is no further message"
    );
}

pub(super) async fn a_failure_leaves_the_debt(open: Open) {
    let store = open();
    let a = incident("a", 10);
    store.save_incidents(vec![a.clone()]).await.unwrap();
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![owes(&a, "slack", Turn::Opened, Act::Post)],
        )
        .await
        .unwrap();
    let before = store.owed("slack", 10).await.unwrap();
    store.unpaid(before[0].id, "HTTP 503".into()).await.unwrap();
    store.unpaid(before[0].id, "HTTP 502 ".repeat(10_000)).await.unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.owed("slack", 10).await.unwrap(), before);
    let error = store.incident(&a.id).await.unwrap().unwrap().1.remove(0).error.unwrap();
    assert!(error.starts_with("HTTP 502") && error.len() < 2_000);
    store.paid(before[0].id, at(5), None).await.unwrap();
    assert_eq!(store.incident(&a.id).await.unwrap().unwrap().1.remove(0).error, None);
}

pub(super) async fn merging_is_all_or_nothing(open: Open) {
    let store = open();
    let (a, b) = (incident("a", 10), incident("b", 11));
    store.save_incidents(vec![a.clone(), b.clone()]).await.unwrap();
    let post = |turn| owes(&a, "slack", turn, Act::Post);
    store
        .tell(
            a.id.clone(),
            told(false),
            vec![post(Turn::Opened), post(Turn::Worsened), post(Turn::Recovered)],
        )
        .await
        .unwrap();
    store
        .tell(
            b.id.clone(),
            told(false),
            vec![owes(&b, "slack", Turn::Opened, Act::Post)],
        )
        .await
        .unwrap();
    let debts: Vec<DebtId> = turns(&*store, "slack").await.into_iter().map(|(id, _)| id).collect();
    let before = store.owed("slack", 10).await.unwrap();
    let both = post(Turn::OpenedAndRecovered);

    assert!(
        store.merge(debts.clone(), both.clone()).await.is_err(),
        "one belongs to another incident"
    );
    assert!(store.merge(vec![], both.clone()).await.is_err(), "nothing to merge");
    assert!(
        store
            .merge(vec![debts[0]], owes(&a, "other", Turn::Opened, Act::Post))
            .await
            .is_err()
    );
    assert_eq!(
        store.owed("slack", 10).await.unwrap(),
        before,
        "a refused merge changes nothing"
    );

    store.merge(debts[..3].to_vec(), both.clone()).await.unwrap();
    drop(store);
    let store = open();
    let left = store.owed("slack", 10).await.unwrap();
    assert_eq!(left[0], before[3]);
    assert_eq!(left[1].owed, both);
    assert!(left[1].id > debts[3], "a number is never used again");
    assert_eq!(left.len(), 2);
    assert_eq!(store.incident(&a.id).await.unwrap().unwrap().1.len(), 1);

    // A late answer for a debt that was merged away pays nothing.
    store.paid(debts[0], at(9), receipt("late")).await.unwrap();
    assert_eq!(store.owed("slack", 10).await.unwrap(), left);
    // What has been delivered cannot be taken back.
    store.paid(left[1].id, at(9), receipt("r")).await.unwrap();
    assert!(store.merge(vec![left[1].id], both).await.is_err());
    assert_eq!(store.receipt(&a.id, "slack").await.unwrap(), receipt("r"));
}

pub(super) async fn queries_select(open: Open) {
    let store = open();
    let other = Incident {
        subject: "billing".into(),
        ..incident("d", 400)
    };
    let all = vec![
        incident("a", 100),
        resolved(incident("b", 200), 250),
        resolved(incident("c", 300), 350),
        other,
    ];
    store.save_incidents(all).await.unwrap();
    let ids = async |query: IncidentQuery| -> String {
        store
            .incidents(query)
            .await
            .unwrap()
            .iter()
            .map(|(i, _)| i.id.0.as_str())
            .collect()
    };
    let ten = || IncidentQuery {
        limit: 10,
        ..Default::default()
    };
    assert_eq!(ids(ten()).await, "dcba");
    assert_eq!(ids(IncidentQuery { limit: 2, ..ten() }).await, "dc");
    assert_eq!(ids(IncidentQuery { limit: 0, ..ten() }).await, "");
    assert_eq!(
        ids(IncidentQuery {
            limit: usize::MAX,
            ..ten()
        })
        .await,
        "dcba"
    );
    assert_eq!(
        ids(IncidentQuery {
            open: Some(true),
            ..ten()
        })
        .await,
        "da"
    );
    assert_eq!(
        ids(IncidentQuery {
            open: Some(false),
            ..ten()
        })
        .await,
        "cb"
    );
    assert_eq!(
        ids(IncidentQuery {
            subject: Some("sms".into()),
            ..ten()
        })
        .await,
        "cba"
    );
    assert_eq!(
        ids(IncidentQuery {
            since: Some(at(250)),
            ..ten()
        })
        .await,
        "dcba"
    );
    assert_eq!(
        ids(IncidentQuery {
            since: Some(at(251)),
            ..ten()
        })
        .await,
        "dca"
    );
    assert_eq!(
        ids(IncidentQuery {
            since: Some(at(999)),
            open: Some(false),
            ..ten()
        })
        .await,
        ""
    );
}

pub(super) async fn documents_are_bounded(open: Open) {
    let store = open();
    let mut a = incident("a", 10);
    let numbered = |i: i64| Evidence {
        at: at(i),
        says: "x".into(),
        ..incident("a", 10).evidence[0].clone()
    };
    a.evidence = (0..1_000).map(numbered).collect();
    a.scene.missing = vec![a.scene.missing[0].clone(); 1_000];
    store.save_incidents(vec![a]).await.unwrap();
    let found = store.load().await.unwrap().incidents.remove(0);
    assert_eq!(found.evidence.len(), Incident::MAX_EVIDENCE);
    assert_eq!(found.evidence.last().unwrap().at, at(999), "the newest are kept");
    assert_eq!(found.scene.missing.len(), Scene::MAX_MISSING);

    // Months of flapping: the history stays bounded, and nothing that is owed is dropped for it.
    let turns_of = |n: usize| vec![owes(&found, "slack", Turn::Worsened, Act::Post); n];
    store.tell(found.id.clone(), told(false), turns_of(300)).await.unwrap();
    assert_eq!(store.owed("slack", 1_000).await.unwrap().len(), 300);
    for debt in store.owed("slack", 250).await.unwrap() {
        store.paid(debt.id, at(20), None).await.unwrap();
    }
    assert_eq!(store.owed("slack", 1_000).await.unwrap().len(), 50);
    let (_, history) = store.incident(&found.id).await.unwrap().unwrap();
    assert!(history.len() < 250, "{}", history.len());
}

pub(super) async fn task_counts_add_up(open: Open) {
    let store = open();
    let count = |task: &str, outcome, minute: i64, count| TaskCount {
        fleet: "sms".into(),
        task: task.into(),
        outcome,
        minute: at(minute * 60),
        count,
    };
    use TaskKind::{Failed, Succeeded};
    store
        .add_task_counts(vec![count("t", Succeeded, 0, 5), count("t", Failed, 0, 1)])
        .await
        .unwrap();
    store
        .add_task_counts(vec![count("t", Succeeded, 0, 7), count("u", Succeeded, 1, u64::MAX)])
        .await
        .unwrap();
    store
        .add_task_counts(vec![count("u", Succeeded, 1, 3), count("t", Succeeded, 2, 1)])
        .await
        .unwrap();
    drop(store);
    let store = open();
    let mut found = store.task_counts(at(0), at(120)).await.unwrap();
    found.sort_by_key(|c| (c.minute, c.task.clone(), c.outcome));
    let huge = found.pop().unwrap();
    assert_eq!(found, [count("t", Succeeded, 0, 12), count("t", Failed, 0, 1)]);
    assert!(
        huge.count >= i64::MAX as u64,
        "a sum that does not fit stays great, and breaks nothing"
    );
    assert_eq!(store.task_counts(at(120), at(120)).await.unwrap(), []);
    store.forget_before(at(120)).await.unwrap();
    assert_eq!(
        store.task_counts(at(0), at(999)).await.unwrap(),
        [count("t", Succeeded, 2, 1)]
    );
}

pub(super) async fn forgetting_spares_what_is_owed(open: Open) {
    let store = open();
    let ids = ["open", "owing", "untold", "done", "silent", "young"];
    let all = ids.map(|id| match id {
        "open" => incident(id, 0),
        "young" => resolved(incident(id, 0), 5_000),
        _ => resolved(incident(id, 0), 10),
    });
    store.save_incidents(all.to_vec()).await.unwrap();
    for one in &all {
        let owed = match &*one.id.0 {
            "owing" | "done" => vec![owes(one, "slack", Turn::Recovered, Act::Post)],
            "silent" => continue,
            _ => vec![],
        };
        store
            .tell(one.id.clone(), told(&*one.id.0 != "untold"), owed)
            .await
            .unwrap();
    }
    let debts = store.owed("slack", 10).await.unwrap();
    let done = debts.iter().find(|d| &*d.owed.notice.incident.id.0 == "done").unwrap();
    store.paid(done.id, at(20), receipt("r")).await.unwrap();
    store.forget_before(at(1_000)).await.unwrap();
    drop(store);
    let store = open();
    let left = store
        .incidents(IncidentQuery {
            limit: 10,
            ..Default::default()
        })
        .await
        .unwrap();
    let mut left: Vec<_> = left.iter().map(|(i, _)| &*i.id.0).collect();
    left.sort_unstable();
    assert_eq!(left, ["open", "owing", "untold", "young"]);
    assert_eq!(store.owed("slack", 10).await.unwrap().len(), 1);
    assert_eq!(store.receipt(&IncidentId("done".into()), "slack").await.unwrap(), None);
}

pub(super) async fn hostile_text_comes_back(open: Open) {
    let store = open();
    for (n, text) in [
        "'; DROP TABLE incidents; --",
        "nul\0inside",
        "\u{202E}ü\u{10FFFF}",
        "",
        "%_?",
    ]
    .iter()
    .enumerate()
    {
        let mut bad = incident(&format!("i{n}"), 0);
        bad.subject = (*text).into();
        bad.evidence[0].says = (*text).repeat(100);
        store.save_incidents(vec![bad.clone()]).await.unwrap();
        store
            .tell(
                bad.id.clone(),
                told(false),
                vec![owes(&bad, text, Turn::Opened, Act::Post)],
            )
            .await
            .unwrap();
        store.save_workers(text, vec![worker(text)]).await.unwrap();
        bad.told = Some(told(false));
        let query = IncidentQuery {
            subject: Some((*text).into()),
            limit: 10,
            ..Default::default()
        };
        let found = store.incidents(query).await.unwrap();
        assert_eq!(found.len(), 1, "{text:?}");
        assert_eq!(found[0].0, bad);
        let debts = store.owed(text, 10).await.unwrap();
        assert_eq!(debts.len(), 1, "{text:?}");
        store.paid(debts[0].id, at(5), receipt(text)).await.unwrap();
        assert_eq!(store.receipt(&bad.id, text).await.unwrap(), receipt(text));
        assert!(
            store
                .load()
                .await
                .unwrap()
                .workers
                .contains(&((*text).into(), vec![worker(text)]))
        );
    }
}

pub(super) async fn calls_at_once_do_not_mix(open: Open) {
    const WRITERS: usize = 200;
    let store = open();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let one = incident(&format!("i{n:03}"), 0);
                store.save_incidents(vec![one.clone()]).await.unwrap();
                let owed = [Turn::Opened, Turn::Worsened].map(|turn| owes(&one, "slack", turn, Act::Post));
                store.tell(one.id.clone(), told(false), owed.to_vec()).await.unwrap();
                if n % 2 == 0 {
                    // A caller that ceases to wait breaks nothing.
                    let _ = tokio::time::timeout(Duration::ZERO, store.owed("slack", 1)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let debts = store.owed("slack", 10 * WRITERS).await.unwrap();
    assert_eq!(debts.len(), 2 * WRITERS);
    for n in 0..WRITERS {
        let id = format!("i{n:03}");
        let mine: Vec<_> = debts.iter().filter(|d| *d.owed.notice.incident.id.0 == id).collect();
        assert_eq!(
            mine.iter().map(|d| d.owed.notice.turn).collect::<Vec<_>>(),
            [Turn::Opened, Turn::Worsened]
        );
        assert_eq!(mine[0].id.0 + 1, mine[1].id.0, "what is told at once stays together");
    }
}
