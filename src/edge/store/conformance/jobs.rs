//! What every store of jobs must do, written against the port alone: `job_conformance!(fresh)`.

use std::sync::Arc;

use headcount_actors::ports::jobs::{Claim, Claimed, JobStore};
use headcount_core::schedule::run::task_id;
use headcount_core::schedule::{News, Run, RunState, Word};
use headcount_core::time::Wall;

use super::at;

/// Opens one and the same store; what was opened before must have been dropped.
pub(in crate::store) type OpenJobs = Box<dyn Fn() -> Arc<dyn JobStore>>;

macro_rules! job_conformance {
    ($fresh:path) => {
        $crate::store::conformance::jobs::job_conformance!($fresh:
            a_slot_is_taken_once, a_job_is_settled_up_to_its_last_slot, another_timing_begins_anew,
            too_many_runs_are_skipped, news_are_joined_by_the_id, the_silent_are_found,
            who_dies_is_followed, who_lives_is_not_followed, runs_come_newest_first, old_runs_are_forgotten,
            runs_come_back_as_they_were, of_many_that_claim_at_once_one_wins);
    };
    ($fresh:path: $($check:ident),+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $check() {
            $crate::store::conformance::jobs::$check($fresh()).await;
        })+
    };
}
pub(in crate::store) use job_conformance;

fn run(job: &str, slot: i64) -> Run {
    Run {
        job: job.into(),
        slot: at(slot),
        id: task_id(job, "t", at(slot)).to_string().into(),
        due: at(slot),
        own: false,
        state: RunState::Claimed,
        claimed_at: at(slot),
        sent_at: None,
        started_at: None,
        ended_at: None,
        heard_at: at(slot),
        worker: None,
        runtime: None,
        why: None,
    }
}

fn claim(job: &str, slot: i64, owner: &str) -> Claim {
    Claim {
        run: run(job, slot),
        owner: owner.to_owned(),
        until: at(slot + 30),
        limit: None,
    }
}

async fn hear(store: &dyn JobStore, job: &str, slot: i64, word: Word, when: i64) -> Vec<Run> {
    let news = News {
        worker: (word != Word::Sent).then(|| "sms@h1".into()),
        runtime: (word == Word::Succeeded).then_some(0.5),
        ..News::new(run(job, slot).id, word, at(when))
    };
    store.hear(vec![news]).await.unwrap()
}

async fn settled(store: &dyn JobStore, job: &str, now: i64) -> Wall {
    store.settled(job, "every 10s", at(now)).await.unwrap()
}

pub(in crate::store) async fn a_slot_is_taken_once(open: OpenJobs) {
    let store = open();
    assert_eq!(store.claim(claim("a", 10, "one")).await.unwrap(), Claimed::Won);
    for owner in ["two", "one"] {
        assert_eq!(store.claim(claim("a", 10, owner)).await.unwrap(), Claimed::Taken);
    }
    assert_eq!(
        store.claim(claim("b", 10, "two")).await.unwrap(),
        Claimed::Won,
        "another job"
    );
    assert_eq!(
        store.claim(claim("a", 20, "two")).await.unwrap(),
        Claimed::Won,
        "another slot"
    );
    drop(store);
    assert_eq!(
        open().claim(claim("a", 10, "three")).await.unwrap(),
        Claimed::Taken,
        "after a restart"
    );
}

pub(in crate::store) async fn a_job_is_settled_up_to_its_last_slot(open: OpenJobs) {
    let store = open();
    assert_eq!(
        settled(&*store, "a", 5).await,
        at(5),
        "nothing was missed before it was known"
    );
    assert_eq!(settled(&*store, "a", 99).await, at(5));
    store.claim(claim("a", 20, "one")).await.unwrap();
    store.claim(claim("a", 10, "one")).await.unwrap();
    assert_eq!(settled(&*store, "b", 7).await, at(7));
    drop(store);
    assert_eq!(settled(&*open(), "a", 99).await, at(20));
}

pub(in crate::store) async fn another_timing_begins_anew(open: OpenJobs) {
    let store = open();
    settled(&*store, "a", 5).await;
    store.claim(claim("a", 10, "one")).await.unwrap();
    assert_eq!(store.settled("a", "every 3s", at(50)).await.unwrap(), at(50));
    assert_eq!(store.settled("a", "every 3s", at(60)).await.unwrap(), at(50));
    assert_eq!(
        store.claim(claim("a", 10, "one")).await.unwrap(),
        Claimed::Taken,
        "what was run stays run"
    );
    assert_eq!(
        store.settled("a", "every 3s", at(60)).await.unwrap(),
        at(50),
        "it never goes back"
    );
}

pub(in crate::store) async fn too_many_runs_are_skipped(open: OpenJobs) {
    let store = open();
    let limited = |slot| Claim {
        limit: Some(2),
        ..claim("a", slot, "one")
    };
    assert_eq!(store.claim(limited(10)).await.unwrap(), Claimed::Won);
    assert_eq!(store.claim(claim("b", 10, "one")).await.unwrap(), Claimed::Won);
    assert_eq!(store.claim(limited(20)).await.unwrap(), Claimed::Won);
    assert_eq!(store.claim(limited(30)).await.unwrap(), Claimed::Full(2));
    assert_eq!(store.claim(limited(30)).await.unwrap(), Claimed::Taken, "it is settled");
    let newest = store.runs("a", 1).await.unwrap().remove(0);
    assert_eq!((newest.state, newest.slot), (RunState::Skipped, at(30)));
    assert!(newest.why.unwrap().contains('2') && newest.ended_at.is_some());
    hear(&*store, "a", 10, Word::Succeeded, 31).await;
    assert_eq!(store.claim(limited(40)).await.unwrap(), Claimed::Won);
}

pub(in crate::store) async fn news_are_joined_by_the_id(open: OpenJobs) {
    let store = open();
    store.claim(claim("a", 10, "one")).await.unwrap();
    store.claim(claim("a", 20, "one")).await.unwrap();
    for (word, state, when) in [
        (Word::Sent, RunState::Sent, 11),
        (Word::Received, RunState::Received, 12),
        (Word::Started, RunState::Started, 13),
        (Word::Succeeded, RunState::Succeeded, 14),
    ] {
        let changed = hear(&*store, "a", 10, word, when).await;
        assert_eq!(changed.iter().map(|run| run.state).collect::<Vec<_>>(), [state]);
        assert!(
            hear(&*store, "a", 10, word, when + 50).await.is_empty(),
            "{word:?} again"
        );
    }
    // A worker that is heard of sooner than the broker's yes.
    store.claim(claim("a", 5, "one")).await.unwrap();
    let changed = hear(&*store, "a", 5, Word::Received, 6).await;
    let states: Vec<_> = changed.iter().map(|run| (run.state, run.sent_at)).collect();
    assert_eq!(
        states,
        [(RunState::Sent, Some(at(6))), (RunState::Received, Some(at(6)))]
    );
    assert!(hear(&*store, "a", 5, Word::Sent, 7).await.is_empty());
    drop(store);
    let runs = open().runs("a", 9).await.unwrap();
    assert_eq!(runs[0].state, RunState::Claimed, "the other one");
    let done = &runs[1];
    assert_eq!(
        (done.sent_at, done.started_at, done.ended_at),
        (Some(at(11)), Some(at(13)), Some(at(14)))
    );
    assert_eq!((done.worker.as_deref(), done.runtime), (Some("sms@h1"), Some(0.5)));
    // Of what is not known there is nothing to say.
    assert!(hear(&*open(), "a", 999, Word::Succeeded, 1).await.is_empty());
    assert!(open().hear(Vec::new()).await.unwrap().is_empty());
}

pub(in crate::store) async fn the_silent_are_found(open: OpenJobs) {
    let store = open();
    for slot in [10, 20, 30, 40] {
        store.claim(claim("a", slot, "one")).await.unwrap();
    }
    store.claim(claim("b", 10, "one")).await.unwrap();
    hear(&*store, "a", 10, Word::Sent, 11).await;
    hear(&*store, "a", 20, Word::Started, 21).await;
    hear(&*store, "a", 30, Word::Sent, 31).await;
    hear(&*store, "a", 30, Word::Succeeded, 32).await;
    hear(&*store, "b", 10, Word::Sent, 11).await;
    let slots = async |before, limit| {
        let silent = store.silent("a", at(before), limit).await.unwrap();
        silent.iter().map(|run| run.slot).collect::<Vec<_>>()
    };
    assert_eq!(slots(21, 9).await, [at(10)]);
    assert_eq!(
        slots(99, 9).await,
        [at(10), at(20)],
        "neither the one that ended nor the one that is not sent"
    );
    assert_eq!(slots(99, 1).await, [at(10)]);
}

pub(in crate::store) async fn who_dies_is_followed(open: OpenJobs) {
    let store = open();
    store.claim(claim("a", 10, "one")).await.unwrap();
    store.claim(claim("a", 20, "one")).await.unwrap();
    hear(&*store, "a", 20, Word::Sent, 21).await;
    let own = Run {
        own: true,
        ..run("c", 10)
    };
    let own = Claim {
        run: own,
        ..claim("c", 10, "one")
    };
    store.claim(own).await.unwrap();
    hear(&*store, "c", 10, Word::Started, 11).await;
    assert!(
        store.adopt("two", at(40), at(70)).await.unwrap().is_empty(),
        "its lease is not over"
    );
    let adopted = store.adopt("two", at(41), at(71)).await.unwrap();
    let named: Vec<_> = adopted.iter().map(|run| (run.job.as_str(), run.slot)).collect();
    assert_eq!(
        named,
        [("a", at(10)), ("c", at(10))],
        "what was not sent, and what ran inside of it"
    );
    assert!(
        store.adopt("one", at(60), at(90)).await.unwrap().is_empty(),
        "they are another's now"
    );
    assert_eq!(
        store.adopt("two", at(60), at(90)).await.unwrap().len(),
        2,
        "and its own at any time"
    );
}

pub(in crate::store) async fn who_lives_is_not_followed(open: OpenJobs) {
    let store = open();
    store.claim(claim("a", 10, "one")).await.unwrap();
    store.renew("one", at(100)).await.unwrap();
    store.renew("two", at(900)).await.unwrap();
    assert!(store.adopt("two", at(100), at(130)).await.unwrap().is_empty());
    hear(&*store, "a", 10, Word::Sent, 101).await;
    assert!(
        store.adopt("two", at(500), at(530)).await.unwrap().is_empty(),
        "it is sent"
    );
    assert!(store.adopt("one", at(500), at(530)).await.unwrap().is_empty());
}

pub(in crate::store) async fn runs_come_newest_first(open: OpenJobs) {
    let store = open();
    for slot in [30, 10, 20] {
        store.claim(claim("a", slot, "one")).await.unwrap();
    }
    let slots = async |limit| {
        let runs = store.runs("a", limit).await.unwrap();
        runs.iter().map(|run| run.slot).collect::<Vec<_>>()
    };
    assert_eq!(slots(9).await, [at(30), at(20), at(10)]);
    assert_eq!(slots(2).await, [at(30), at(20)]);
    assert!(slots(0).await.is_empty());
    assert!(store.runs("nobody", 9).await.unwrap().is_empty());
}

pub(in crate::store) async fn old_runs_are_forgotten(open: OpenJobs) {
    let store = open();
    settled(&*store, "a", 0).await;
    for slot in [10, 20, 30, 40, 50] {
        store.claim(claim("a", slot, "one")).await.unwrap();
        hear(&*store, "a", slot, Word::Succeeded, slot + 1).await;
    }
    store.claim(claim("a", 5, "one")).await.unwrap();
    let slots = async || {
        let runs = store.runs("a", 9).await.unwrap();
        runs.iter().map(|run| run.slot).collect::<Vec<_>>()
    };
    store.forget_runs(at(21), 100).await.unwrap();
    assert_eq!(
        slots().await,
        [at(50), at(40), at(30), at(20), at(5)],
        "what is under way stays"
    );
    // Of a job that is configured no more nobody finds out that a run is lost.
    store.claim(claim("removed", 5, "one")).await.unwrap();
    hear(&*store, "removed", 5, Word::Sent, 6).await;
    store.forget_runs(at(6), 100).await.unwrap();
    assert_eq!(store.runs("removed", 10).await.unwrap().len(), 1);
    store.forget_runs(at(22), 100).await.unwrap();
    assert_eq!(
        store.runs("removed", 10).await.unwrap(),
        [],
        "nothing was heard of it for long"
    );
    store.forget_runs(at(0), 2).await.unwrap();
    assert_eq!(slots().await, [at(50), at(40), at(5)]);
    assert_eq!(settled(&*store, "a", 99).await, at(50), "and it is settled as before");
}

pub(in crate::store) async fn runs_come_back_as_they_were(open: OpenJobs) {
    let hostile = Run {
        worker: Some("sms@h'; DROP TABLE job_runs; --\u{1f980}\0".into()),
        runtime: Some(1e300),
        why: Some("\"quoted\"\nand more".to_owned()),
        state: RunState::Skipped,
        ended_at: Some(at(-5)),
        own: true,
        ..run("jöb/'\"", -1_000)
    };
    let claim = Claim {
        run: hostile.clone(),
        ..claim("x", 0, "one")
    };
    assert_eq!(open().claim(claim).await.unwrap(), Claimed::Won);
    assert_eq!(open().runs("jöb/'\"", 1).await.unwrap(), [hostile]);
}

pub(in crate::store) async fn of_many_that_claim_at_once_one_wins(open: OpenJobs) {
    let store = open();
    for slot in 0..20 {
        let claims = (0..8).map(|owner| {
            let store = store.clone();
            tokio::spawn(async move { store.claim(claim("a", slot, &owner.to_string())).await.unwrap() })
        });
        let mut won = 0;
        for claimed in claims.collect::<Vec<_>>() {
            won += usize::from(claimed.await.unwrap() == Claimed::Won);
        }
        assert_eq!(won, 1);
    }
}
