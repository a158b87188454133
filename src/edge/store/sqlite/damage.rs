//! Rows that somebody or something has damaged: each costs itself alone, and is kept as it was.

use std::path::Path;
use std::sync::Arc;

use headcount_actors::ports::{Act, Kept, Receipt, RollupQuery, Store};
use headcount_core::alert::debounce::turn;
use headcount_core::alert::{IncidentId, Turn};
use headcount_core::celery::TaskKind;
use headcount_core::stats::bucket::Width;
use headcount_core::stats::task::{TaskKey, TaskRollup, Times};
use headcount_core::time::Wall;
use rusqlite::Connection;

use crate::store::conformance::{at, incident, owes, resolved, told, worker};
use crate::store::{Config, open};

fn store_at(path: &Path) -> Arc<dyn Store> {
    open(&Config {
        url: format!("sqlite:{}", path.display()),
    })
    .unwrap()
}

/// Three incidents told to one channel, the second of which is over, and two fleets.
async fn fill(path: &Path) {
    let store = store_at(path);
    let mut all = [incident("a", 10), resolved(incident("b", 20), 25), incident("c", 30)];
    for (n, one) in all.iter_mut().enumerate() {
        one.subject = format!("fleet{n}").into();
        store.save_incidents(vec![one.clone()]).await.unwrap();
        let owed = [Turn::Opened, Turn::Worsened].map(|turn| owes(one, "slack", turn, Act::Post));
        store.tell(one.id.clone(), told(false), owed.to_vec()).await.unwrap();
    }
    let first = store.owed("slack", 1).await.unwrap().remove(0);
    store
        .paid(first.id, at(40), Some(Receipt("r".to_owned())))
        .await
        .unwrap();
    store
        .save_workers("sms", vec![worker("sms@h1"), worker("sms@h2")])
        .await
        .unwrap();
    store.save_workers("billing", vec![worker("billing@h1")]).await.unwrap();
}

fn damage(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn set_aside(path: &Path) -> Vec<(String, Vec<u8>)> {
    let db = Connection::open(path).unwrap();
    let mut all = db
        .prepare("SELECT source, document FROM set_aside ORDER BY id")
        .unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

async fn ids(store: &dyn Store) -> Vec<String> {
    let loaded = store.load().await.unwrap().incidents;
    loaded.iter().map(|one| one.id.to_string()).collect()
}

#[tokio::test]
async fn an_incident_costs_itself_and_what_is_owed_for_it_is_paid() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    for broken in ["'{\"id\":'", "CAST(x'ff00' AS TEXT)", "'[]'"] {
        let _ = std::fs::remove_file(&path);
        fill(&path).await;
        damage(&path, &format!("UPDATE incidents SET doc = {broken} WHERE id = 'a'"));
        let store = store_at(&path);
        for _ in 0..2 {
            assert_eq!(ids(&*store).await, ["b", "c"], "{broken}");
        }
        assert_eq!(store.owed("slack", 10).await.unwrap().len(), 5);
        assert!(store.receipt(&IncidentId("a".into()), "slack").await.unwrap().is_some());
        drop(store);
        assert_eq!(set_aside(&path).len(), 1, "set aside once, whoever reads it again");

        // Whoever still knows it makes it good; otherwise it is forgotten when what is owed is paid.
        let store = store_at(&path);
        store.save_incidents(vec![incident("a", 10)]).await.unwrap();
        assert_eq!(ids(&*store).await, ["a", "b", "c"]);
        drop(store);
        damage(&path, &format!("UPDATE incidents SET doc = {broken} WHERE id = 'a'"));
        let store = store_at(&path);
        assert_eq!(ids(&*store).await, ["b", "c"]);
        for debt in store.owed("slack", 10).await.unwrap() {
            store.paid(debt.id, at(50), None).await.unwrap();
        }
        store.forget_before(at(1_000)).await.unwrap();
        assert!(store.receipt(&IncidentId("a".into()), "slack").await.unwrap().is_none());
        assert_eq!(ids(&*store).await, ["b", "c"]);
    }
}

#[tokio::test]
async fn where_it_is_lost_how_much_was_told_it_is_told_how_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fill(&path).await;
    damage(&path, "UPDATE incidents SET told = '{' WHERE id IN ('a', 'b')");
    let store = store_at(&path);
    for _ in 0..2 {
        let turns: Vec<_> = store.load_incidents().await.unwrap().iter().map(turn).collect();
        assert_eq!(turns, [Some(Turn::Worsened), Some(Turn::Recovered), None]);
    }
    drop(store);
    assert_eq!(set_aside(&path), vec![("incidents".to_owned(), b"{".to_vec()); 2]);
}

#[tokio::test]
async fn debts_and_receipts_cost_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fill(&path).await;
    damage(
        &path,
        "UPDATE debts SET notice = 'no' WHERE id = 2; UPDATE debts SET notice = CAST(x'ff' AS TEXT) WHERE id = 3;
         UPDATE debts SET act = 'shout' WHERE id = 4; UPDATE receipts SET receipt = CAST(x'ff' AS TEXT)",
    );
    let store = store_at(&path);
    // The bad ones come first, and are more than are asked for.
    let left: Vec<_> = store
        .owed("slack", 2)
        .await
        .unwrap()
        .iter()
        .map(|debt| debt.id.0)
        .collect();
    assert_eq!(left, [5, 6]);
    assert_eq!(store.receipt(&IncidentId("a".into()), "slack").await.unwrap(), None);
    drop(store);
    let (sources, documents): (Vec<_>, Vec<_>) = set_aside(&path).into_iter().unzip();
    assert_eq!(sources, ["debts", "debts", "debts", "receipts"]);
    assert_eq!(
        (&*documents[0], &*documents[1], &*documents[3]),
        (&b"no"[..], &b"\xff"[..], &b"\xff"[..])
    );
}

#[tokio::test]
async fn a_worker_costs_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fill(&path).await;
    damage(
        &path,
        "UPDATE fleets SET workers = replace(workers, '\"sms@h1\"', '7') WHERE name = 'sms';
         UPDATE fleets SET history = '{\"samples\": 7}' WHERE name = 'billing';
         INSERT INTO fleets (name, workers) VALUES ('broken', '[{'), (CAST(x'ff' AS TEXT), '[]')",
    );
    let store = store_at(&path);
    for _ in 0..2 {
        let remembered = store.load().await.unwrap();
        assert_eq!(remembered.incidents.len(), 3);
        let expected = [
            ("billing".into(), vec![worker("billing@h1")]),
            ("sms".into(), vec![worker("sms@h2")]),
        ];
        assert_eq!(remembered.workers, expected);
        assert_eq!(remembered.histories, []);
    }
    drop(store);
    assert_eq!(set_aside(&path).len(), 4);
}

/// A file of the first version is taken over as it is.
#[tokio::test]
async fn an_older_file_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fill(&path).await;
    damage(
        &path,
        "ALTER TABLE fleets DROP COLUMN history; ALTER TABLE incidents DROP COLUMN bad; DROP TABLE set_aside;
         DROP TABLE jobs; DROP TABLE job_runs;
         DROP TABLE task_rollups; DROP TABLE task_rollups_size;
         CREATE TABLE task_counts (
             minute  INTEGER NOT NULL,
             fleet   TEXT NOT NULL,
             task    TEXT NOT NULL,
             outcome TEXT NOT NULL,
             count   INTEGER NOT NULL,
             PRIMARY KEY (minute, fleet, task, outcome)
         ) STRICT, WITHOUT ROWID;
         INSERT INTO task_counts VALUES (60000000, 'sms', 't', '\"succeeded\"', 7), (60000000, 'sms', 't', '\"failed\"', 2);
         PRAGMA user_version = 1",
    );
    let store = store_at(&path);
    assert_eq!(ids(&*store).await, ["a", "b", "c"]);
    assert_eq!(store.owed("slack", 10).await.unwrap().len(), 5);
    let counted = store.task_rollups(rollups()).await.unwrap();
    let mut counted: Vec<_> = counted
        .iter()
        .map(|one| (one.key.outcome, one.key.start, one.count))
        .collect();
    counted.sort();
    let minute = Wall::from_micros(60_000_000);
    assert_eq!(
        counted,
        [(TaskKind::Succeeded, minute, 7), (TaskKind::Failed, minute, 2)]
    );
    // The bound on their size knows of them.
    let bounds = |bytes| Kept {
        minutes_from: Wall::default(),
        from: Wall::default(),
        bytes,
    };
    assert!(!store.thin_task_rollups(bounds(2 * 68)).await.unwrap());
    assert!(store.thin_task_rollups(bounds(2 * 68 - 1)).await.unwrap());
}

fn rollups() -> RollupQuery {
    RollupQuery {
        from: Wall::default(),
        to: at(1_000_000),
        fleet: None,
        after: None,
        limit: 100,
    }
}

/// A roll-up of tasks whose times are damaged still counts, and they are measured anew from there.
#[tokio::test]
async fn times_cost_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut rollup = TaskRollup {
        key: TaskKey {
            width: Width::MINUTE,
            start: Wall::from_micros(60_000_000),
            fleet: "sms".into(),
            task: "t".into(),
            queue: "".into(),
            outcome: TaskKind::Succeeded,
        },
        count: 2,
        times: Times::default(),
    };
    rollup.times.runtime.add(3.0);
    store_at(&path).add_task_rollups(vec![rollup.clone()]).await.unwrap();
    for (n, broken) in ["x'01'", "x'02'", "x'01ff'", "x'010000000000'"].into_iter().enumerate() {
        damage(&path, &format!("UPDATE task_rollups SET times = {broken}"));
        let store = store_at(&path);
        let found = store.task_rollups(rollups()).await.unwrap();
        assert_eq!(
            (found[0].count, found[0].times.is_empty()),
            (2 * (n as u64 + 1), true),
            "{broken}"
        );
        store.add_task_rollups(vec![rollup.clone()]).await.unwrap();
        let found = store.task_rollups(rollups()).await.unwrap();
        assert_eq!(
            (found[0].count, found[0].times.runtime.count()),
            (2 * (n as u64 + 2), 1),
            "{broken}"
        );
        drop(store);
        assert_eq!(set_aside(&path).len(), n + 1);
    }
    damage(
        &path,
        "UPDATE task_rollups SET fleet = CAST(x'ff' AS TEXT), outcome = 'unheard'",
    );
    let store = store_at(&path);
    let found = store.task_rollups(rollups()).await.unwrap();
    assert_eq!(
        (found[0].key.fleet.as_str(), found[0].key.outcome),
        ("\u{fffd}", TaskKind::Custom)
    );
}
