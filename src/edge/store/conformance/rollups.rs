//! Roll-ups of task events: they add up, come in pages, get coarser with age, and make room.

use super::*;
use TaskKind::{Failed, Succeeded};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
/// The start of an hour, in the seconds of [`at`].
const START: i64 = 2_800;

/// A roll-up of the minute that starts so many seconds after [`START`], with as many runs of one second.
fn rollup(task: &str, outcome: TaskKind, secs: i64, count: u64) -> TaskRollup {
    let mut times = Times::default();
    if count < 1_000 {
        (0..count).for_each(|_| times.runtime.add(1.0));
    }
    TaskRollup {
        key: TaskKey {
            width: Width::MINUTE,
            start: at(START + secs),
            fleet: "sms".into(),
            task: task.into(),
            queue: "q".into(),
            outcome,
        },
        count,
        times,
    }
}

fn all() -> RollupQuery {
    RollupQuery {
        from: Wall::default(),
        to: at(i64::from(u32::MAX)),
        fleet: None,
        after: None,
        limit: 10_000,
    }
}

fn kept() -> Kept {
    Kept {
        minutes_from: Wall::default(),
        from: Wall::default(),
        bytes: u64::MAX,
    }
}

/// Thins until nothing is left to do.
async fn thin(store: &dyn Store, kept: Kept) {
    for _ in 0..10_000 {
        if !store.thin_task_rollups(kept).await.unwrap() {
            return;
        }
    }
    panic!("there is always more to do");
}

async fn total(store: &dyn Store) -> u64 {
    let all = store.task_rollups(all()).await.unwrap();
    all.iter().map(|rollup| rollup.count).sum()
}

pub(in crate::store) async fn task_rollups_add_up(open: Open) {
    let store = open();
    let add = async |rollups| store.add_task_rollups(rollups).await.unwrap();
    add(vec![rollup("t", Succeeded, 0, 5), rollup("t", Failed, 0, 1)]).await;
    add(vec![
        rollup("t", Succeeded, 0, 7),
        rollup("u", Succeeded, MINUTE, u64::MAX),
    ])
    .await;
    add(vec![
        rollup("u", Succeeded, MINUTE, 3),
        rollup("t", Succeeded, 2 * MINUTE, 1),
    ])
    .await;
    drop(store);
    let store = open();
    let two_minutes = RollupQuery {
        from: at(START),
        to: at(START + 2 * MINUTE),
        ..all()
    };
    let mut found = store.task_rollups(two_minutes).await.unwrap();
    found.sort_by_key(|rollup| (rollup.key.start, rollup.key.task.clone(), rollup.key.outcome));
    let huge = found.pop().unwrap();
    assert_eq!(found, [rollup("t", Succeeded, 0, 12), rollup("t", Failed, 0, 1)]);
    assert!(
        huge.count >= i64::MAX as u64 && huge.times.runtime.count() == 3,
        "a sum that does not fit stays great, and breaks nothing"
    );
    let mut other = rollup("t", Succeeded, 0, 1);
    other.key.fleet = "other".into();
    store.add_task_rollups(vec![other.clone()]).await.unwrap();
    let of_fleet = RollupQuery {
        fleet: Some("other".into()),
        ..all()
    };
    assert_eq!(store.task_rollups(of_fleet).await.unwrap(), [other]);
    assert_eq!(store.task_rollups(all()).await.unwrap().len(), 5);
}

pub(in crate::store) async fn task_rollups_come_in_pages(open: Open) {
    let store = open();
    let written: Vec<_> = (0..50)
        .flat_map(|n| {
            [
                rollup("", Succeeded, n / 2 * HOUR, 1),
                rollup("ü|'", Failed, n * MINUTE, 2),
            ]
        })
        .collect();
    store.add_task_rollups(written.clone()).await.unwrap();
    thin(
        &*store,
        Kept {
            minutes_from: at(START + 20 * HOUR),
            ..kept()
        },
    )
    .await;
    let everything = store.task_rollups(all()).await.unwrap();
    assert!(everything.is_sorted_by_key(|rollup| (rollup.key.width, rollup.key.start)));
    assert!(everything.iter().any(|rollup| rollup.key.width == Width::HOUR));
    for limit in [1, 7, everything.len()] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = RollupQuery {
                after: after.take(),
                limit,
                ..all()
            };
            let page = store.task_rollups(page).await.unwrap();
            assert!(page.len() <= limit);
            after = page.last().map(|last| last.key.clone());
            pages.extend(page);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, everything);
    }
}

pub(in crate::store) async fn minutes_become_hours(open: Open) {
    let store = open();
    let minutes: Vec<_> = (0..180)
        .flat_map(|n| {
            [
                rollup("t", Succeeded, n * MINUTE, 3),
                rollup("t", Failed, n * MINUTE, 1),
            ]
        })
        .collect();
    store.add_task_rollups(minutes).await.unwrap();
    // The second hour has not ended by then.
    let old = Kept {
        minutes_from: at(START + 2 * HOUR - 1),
        ..kept()
    };
    thin(&*store, old).await;
    let found = store.task_rollups(all()).await.unwrap();
    let mut hours: Vec<_> = found.iter().filter(|rollup| rollup.key.width == Width::HOUR).collect();
    hours.sort_by_key(|rollup| rollup.key.outcome);
    let mut expected = rollup("t", Succeeded, 0, 180);
    expected.key.width = Width::HOUR;
    assert_eq!(hours.len(), 2);
    assert_eq!(*hours[0], expected);
    assert_eq!(found.len(), 2 + 2 * 120);
    // What comes late to an hour that is one goes there.
    store
        .add_task_rollups(vec![rollup("t", Succeeded, MINUTE, 4)])
        .await
        .unwrap();
    thin(&*store, old).await;
    assert_eq!(store.task_rollups(all()).await.unwrap().len(), 2 + 2 * 120);
    assert_eq!(total(&*store).await, 4 * 180 + 4);
    let none_so_old = Kept {
        from: at(START + HOUR),
        ..old
    };
    thin(&*store, none_so_old).await;
    let found = store.task_rollups(all()).await.unwrap();
    assert!(found.iter().all(|rollup| rollup.key.start >= at(START + HOUR)) && found.len() == 240);
}

pub(in crate::store) async fn the_oldest_make_room(open: Open) {
    let store = open();
    let names: Vec<String> = (0..20).map(|n| format!("task{n}")).collect();
    let rollups = |minutes: std::ops::Range<i64>| {
        let of_minute = |n| names.iter().map(move |name| rollup(name, Succeeded, n * MINUTE, 1));
        minutes.flat_map(of_minute).collect::<Vec<_>>()
    };
    store.add_task_rollups(rollups(0..300)).await.unwrap();
    // Five hours of minutes take more than 400 kB. Hours do not: nothing that was counted is lost.
    let little = Kept {
        bytes: 150_000,
        ..kept()
    };
    thin(&*store, little).await;
    assert_eq!(total(&*store).await, 6_000);
    let found = store.task_rollups(all()).await.unwrap();
    let minutes: Vec<_> = found
        .iter()
        .filter(|rollup| rollup.key.width == Width::MINUTE)
        .collect();
    assert!(minutes.iter().all(|minute| minute.key.start >= at(START + 3 * HOUR)) && minutes.len() >= 1_200);
    // Where that is not enough, the oldest goes, and the newest stays.
    let less = Kept {
        bytes: 10_000,
        ..kept()
    };
    thin(&*store, less).await;
    let found = store.task_rollups(all()).await.unwrap();
    assert!(!found.is_empty() && found.len() < 120, "{}", found.len());
    assert!(found.iter().any(|rollup| rollup.key.start == at(START + 299 * MINUTE)));
    drop(store);
    // A count of what there is, kept from the start: with nothing left it is nothing.
    let store = open();
    let nothing = Kept {
        from: at(START + 10 * HOUR),
        ..less
    };
    thin(&*store, nothing).await;
    assert_eq!(store.task_rollups(all()).await.unwrap(), []);
    store.add_task_rollups(rollups(0..1)).await.unwrap();
    thin(&*store, less).await;
    assert_eq!(total(&*store).await, 20, "these fit");
}
