//! Incidents and workers: saved, loaded, asked for, bounded, forgotten.

use super::*;

pub(in crate::store) async fn an_empty_store_remembers_nothing(open: Open) {
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

pub(in crate::store) async fn workers_are_replaced(open: Open) {
    let store = open();
    store
        .save_workers("sms", vec![worker("sms@h1"), worker("sms@h2")])
        .await
        .unwrap();
    store.save_workers("billing", vec![worker("billing@h1")]).await.unwrap();
    store.save_workers("sms", vec![worker("sms@h3")]).await.unwrap();
    store.save_workers("old", vec![worker("old@h1")]).await.unwrap();
    store.save_workers("old", vec![]).await.unwrap();
    // A fleet's past stays when its workers are replaced, and goes with the last of them.
    for fleet in ["billing", "old"] {
        store.save_history(fleet, history(7)).await.unwrap();
    }
    store.save_history("sms", history(1)).await.unwrap();
    store.save_history("sms", history(2)).await.unwrap();
    store.save_workers("sms", vec![worker("sms@h3")]).await.unwrap();
    store.save_history("billing", FleetHistory::default()).await.unwrap();
    drop(store);
    let Remembered {
        mut workers, histories, ..
    } = open().load().await.unwrap();
    assert_eq!(histories, vec![("sms".into(), history(2))]);
    workers.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        workers,
        [
            ("billing".into(), vec![worker("billing@h1")]),
            ("sms".into(), vec![worker("sms@h3")])
        ]
    );
}

pub(in crate::store) async fn incidents_come_back(open: Open) {
    let store = open();
    let (a, b) = (incident("a", 10), resolved(incident("b", 20), 30));
    let silent = resolved(incident("silent", 30), 31);
    store.save_incidents(vec![a.clone(), b.clone(), silent]).await.unwrap();
    store.tell(b.id.clone(), told(false), vec![]).await.unwrap();
    let b = Incident {
        told: Some(told(false)),
        ..b
    };
    drop(store);
    let store = open();
    // The second is over, and nobody has been told that it is. Of the last nobody ever heard: it stays in the history.
    assert_eq!(store.load().await.unwrap().incidents, [a.clone(), b.clone()]);
    assert_eq!(store.load_incidents().await.unwrap(), [a.clone(), b.clone()]);
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

pub(in crate::store) async fn one_trouble_is_open_once(open: Open) {
    let store = open();
    let other_kind = Incident {
        kind: Kind::Broker,
        ..incident("k", 50)
    };
    let all = [
        incident("new", 30),
        incident("old", 10),
        incident("mid", 20),
        other_kind.clone(),
    ];
    store.save_incidents(all.to_vec()).await.unwrap();
    store.tell(IncidentId("mid".into()), told(false), vec![]).await.unwrap();
    drop(store);
    let store = open();
    for _ in 0..2 {
        let loaded = store.load().await.unwrap().incidents;
        let ids: Vec<_> = loaded.iter().map(|one| (&*one.id.0, one.is_open())).collect();
        // Of the second people were told, so they will be told of its end; nobody ever heard of the newest.
        assert_eq!(ids, [("old", true), ("mid", false), ("k", true)]);
        assert!(loaded[1].unwatched && loaded[1].told == Some(told(false)));
        assert_eq!(store.load_incidents().await.unwrap(), loaded);
    }
    let newest = store.incident(&IncidentId("new".into())).await.unwrap().unwrap().0;
    assert_eq!(newest.resolved_at, Some(at(30)), "it is in the history");
}

pub(in crate::store) async fn a_save_keeps_what_was_told(open: Open) {
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

pub(in crate::store) async fn queries_select(open: Open) {
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

pub(in crate::store) async fn documents_are_bounded(open: Open) {
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

pub(in crate::store) async fn forgetting_spares_what_is_owed(open: Open) {
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
