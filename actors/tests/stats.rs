//! The counts of tasks: a store that fails delays them, and for long loses some, which is counted.

use std::sync::Arc;

use headcount_core::celery::TaskKind;
use headcount_core::stats::bucket::Width;
use headcount_core::stats::task::{TaskKey, TaskRollup, Times};
use headcount_core::time::Wall;

use super::support::house::Watch;
use super::support::store::{FakeStore, Fate};
use super::support::{World, age, live, pass, secs, until};
use crate::messages::TasksCounted;
use crate::stats_processor::StatsProcessor;

fn rollup(minute: i64) -> TaskRollup {
    let mut times = Times::default();
    times.runtime.add(1.0);
    TaskRollup {
        key: TaskKey {
            width: Width::MINUTE,
            start: Wall::from_micros(minute * 60_000_000),
            fleet: "sms".into(),
            task: "t".into(),
            queue: "q".into(),
            outcome: TaskKind::Succeeded,
        },
        count: 2,
        times,
    }
}

fn counted(minutes: std::ops::Range<i64>) -> TasksCounted {
    TasksCounted(minutes.map(rollup).collect())
}

#[test]
fn what_a_failing_store_has_no_room_for_is_counted() {
    live(async {
        let store = FakeStore::new(&Arc::new(World::default()));
        let watch = Watch::new();
        let (end, lost) = (age() + secs(10), watch.meters.task_counts_lost.clone());
        store.fare(move |_, _| if age() < end { Fate::Fails } else { Fate::Works });
        let (to, meters) = (store.clone(), watch.meters.clone());
        let stats = watch.start("StatsProcessor", move || StatsProcessor::new(to, meters));
        for n in 0..9 {
            stats.send(counted(n * 2_000..(n + 1) * 2_000)).await.unwrap();
        }
        pass(secs(2)).await;
        assert_eq!(lost.get(), 0);
        // There is room for two thirds of this one.
        stats.send(counted(18_000..21_000)).await.unwrap();
        stats.send(counted(21_000..21_500)).await.unwrap();
        let lost_in_all = lost.get();
        assert_eq!(lost_in_all, 2 * 1_500);
        // Those that wait already take more of the same minute (these are not among the first, which are being written at times).
        stats.send(counted(15_000..15_010)).await.unwrap();
        assert_eq!(lost.get(), lost_in_all);
        let written = |store: &FakeStore| store.rollups().iter().map(|rollup| rollup.count).sum::<u64>();
        until("all the others", || written(&store) == 2 * 20_010).await;
        let rollups = store.rollups();
        assert!(rollups.len() <= 20_010, "{} roll-ups were written", rollups.len());
        let measured: u64 = rollups.iter().map(|rollup| rollup.times.runtime.count()).sum();
        assert_eq!(measured, 20_010);
        stats.send(counted(30_000..30_010)).await.unwrap();
        until("there is room again", || written(&store) == 2 * 20_020).await;
        assert_eq!(lost.get(), lost_in_all);
    });
}

/// Between two times of tidying the store is not filled without bound.
#[test]
fn so_much_that_is_written_is_a_reason_to_tidy() {
    live(async {
        let store = FakeStore::new(&Arc::new(World::default()));
        let watch = Watch::new();
        let (to, meters) = (store.clone(), watch.meters.clone());
        let stats = watch.start("StatsProcessor", move || StatsProcessor::new(to, meters));
        let tidied = |store: &FakeStore| {
            store
                .calls()
                .iter()
                .filter(|call| **call == "thin_task_rollups")
                .count()
        };
        for n in 1..=10 {
            assert_eq!(tidied(&store), 0);
            stats.send(counted(n * 10_000..(n + 1) * 10_000)).await.unwrap();
            until("it is written", || store.rollups().len() as i64 == n * 10_000).await;
        }
        until("the store has been tidied", || tidied(&store) == 1).await;
    });
}
