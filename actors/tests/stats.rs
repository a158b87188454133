//! The counts of tasks: a store that fails delays them, and for long loses some, which is counted.

use std::sync::Arc;

use headcount_core::celery::TaskKind;
use headcount_core::stats::TaskCount;
use headcount_core::time::Wall;

use super::support::house::Watch;
use super::support::store::{FakeStore, Fate};
use super::support::{World, age, live, pass, secs, until};
use crate::messages::TasksCounted;
use crate::stats_processor::StatsProcessor;

fn counts(from: i64, how_many: i64) -> TasksCounted {
    let count = |n| TaskCount {
        fleet: "sms".into(),
        task: "t".into(),
        outcome: TaskKind::Succeeded,
        minute: Wall::from_micros(n),
        count: 1,
    };
    TasksCounted((from..from + how_many).map(count).collect())
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
            stats.send(counts(n * 10_000, 10_000)).await.unwrap();
        }
        pass(secs(2)).await;
        assert_eq!(lost.get(), 0);
        // There is room for two thirds of this one, whether the others wait or are just being written.
        stats.send(counts(90_000, 15_000)).await.unwrap();
        stats.send(counts(105_000, 500)).await.unwrap();
        assert_eq!(lost.get(), 5_500);
        until("all the others", || store.counts().len() == 100_000).await;
        let minutes: Vec<_> = store.counts().iter().map(|count| count.minute.as_micros()).collect();
        assert!(minutes.into_iter().eq(0..100_000), "each once, in order");
        stats.send(counts(200_000, 10)).await.unwrap();
        until("there is room again", || store.counts().len() == 100_010).await;
        assert_eq!(lost.get(), 5_500);
    });
}
