//! What becomes of runs, whatever the order of their news.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::schedule::run::{may_be_a_run, task_id};
use crate::schedule::{News, Run, RunState, Word};

fn claimed() -> Run {
    let at = wall("2026-01-01T00:00:00Z");
    Run {
        job: "purge".into(),
        slot: at,
        id: "u".into(),
        due: at,
        own: false,
        state: RunState::Claimed,
        claimed_at: at,
        sent_at: None,
        started_at: None,
        ended_at: None,
        heard_at: at,
        worker: None,
        runtime: None,
        why: None,
    }
}

fn news(word: Word, second: i64) -> News {
    let from_worker = matches!(
        word,
        Word::Received
            | Word::Started
            | Word::Retried
            | Word::Succeeded
            | Word::Failed
            | Word::Revoked
            | Word::Rejected
    );
    News {
        worker: from_worker.then(|| "sms@h1".into()),
        runtime: (word == Word::Succeeded).then_some(0.25),
        ..News::new(
            "u".into(),
            word,
            Wall::from_micros(claimed().slot.as_micros() + second * 1_000_000),
        )
    }
}

fn after(words: &[Word]) -> Run {
    let mut run = claimed();
    for (second, word) in words.iter().enumerate() {
        run.hear(&news(*word, second as i64));
        assert_eq!(run.ended_at.is_none(), run.state.is_open(), "{words:?}");
    }
    run
}

#[test]
fn the_usual_ways() {
    use Word as W;
    for (words, state) in [
        (&[W::Sent][..], RunState::Sent),
        (&[W::Sent, W::Received, W::Started, W::Succeeded], RunState::Succeeded),
        (&[W::Sent, W::Received, W::Started, W::Failed], RunState::Failed),
        (&[W::Received, W::Sent, W::Started], RunState::Started),
        (
            &[
                W::Sent,
                W::Received,
                W::Started,
                W::Retried,
                W::Received,
                W::Started,
                W::Succeeded,
            ],
            RunState::Succeeded,
        ),
        (&[W::Sent, W::Received, W::Started, W::Retried], RunState::Retrying),
        (&[W::Sent, W::Revoked], RunState::Revoked),
        (&[W::Sent, W::Lost], RunState::Lost),
        (&[W::Sent, W::Lost, W::Started], RunState::Started),
        (
            &[W::Sent, W::Lost, W::Started, W::Succeeded, W::Lost],
            RunState::Succeeded,
        ),
        (&[W::Expired], RunState::Expired),
        (&[W::Expired, W::Received], RunState::Received),
        (&[W::Superseded, W::Sent], RunState::Superseded),
        (&[W::Sent, W::Expired], RunState::Sent),
        (&[W::Succeeded, W::Failed], RunState::Succeeded),
    ] {
        assert_eq!(after(words).state, state, "{words:?}");
    }
    let done = after(&[W::Sent, W::Received, W::Started, W::Succeeded]);
    assert_eq!((done.runtime, done.worker.as_deref()), (Some(0.25), Some("sms@h1")));
    assert!(done.sent_at < done.started_at && done.started_at < done.ended_at);
}

#[test]
fn news_heard_twice_change_nothing() {
    let mut run = claimed();
    for word in [Word::Sent, Word::Received, Word::Started, Word::Succeeded] {
        assert!(run.hear(&news(word, 1)));
        assert!(!run.hear(&news(word, 2)), "{word:?}");
    }
}

#[test]
fn who_is_quicker_than_the_brokers_yes_was_sent_all_the_same() {
    use RunState as S;
    for (words, states) in [
        (&[Word::Sent, Word::Received][..], &[S::Sent, S::Received][..]),
        (&[Word::Received, Word::Sent], &[S::Sent, S::Received]),
        (&[Word::Succeeded, Word::Sent, Word::Started], &[S::Sent, S::Succeeded]),
        (&[Word::Expired, Word::Started], &[S::Expired, S::Sent, S::Started]),
        (&[Word::Expired, Word::Sent], &[S::Expired]),
        (&[Word::Lost], &[S::Lost]),
    ] {
        let (mut run, mut seen) = (claimed(), Vec::new());
        for (second, word) in words.iter().enumerate() {
            let before = run.clone();
            run.hear(&news(*word, second as i64));
            seen.extend(run.states_since(&before));
        }
        assert_eq!(
            seen.iter().map(|run| run.state).collect::<Vec<_>>(),
            states,
            "{words:?}"
        );
        let sent = seen.iter().filter(|run| run.state == S::Sent);
        assert!(
            sent.clone().all(|run| run.sent_at.is_some() && run.ended_at.is_none()),
            "{words:?}"
        );
    }
}

#[test]
fn ids_are_made_of_job_task_and_slot() {
    let at = wall("2026-01-01T03:00:00Z");
    let id = task_id("purge", "sms.purge", at).to_string();
    // Known for ever: a run that was claimed before an update must have the same id after it.
    assert_eq!(id, "dbb0c8b6-d961-53fc-a103-ce0948746435", "as Python's uuid5 has it");
    assert!(may_be_a_run(&id), "{id}");
    for other in [
        task_id("purge2", "sms.purge", at),
        task_id("purge", "sms.purge2", at),
        task_id("purge", "sms.purge", Wall::from_micros(at.as_micros() + 1)),
    ] {
        assert_ne!(id, other.to_string());
    }
    assert!(!may_be_a_run("9bd5ac3c-9d3c-4a6e-a2bd-4ac5ff4a7a11") && !may_be_a_run("") && !may_be_a_run("é"));
}

proptest! {
    /// Whatever comes in between, and in whatever order: an end that a worker told stays.
    #[test]
    fn an_end_is_an_end(noise in proptest::collection::vec(0..7_usize, 0..12), place in any::<Index>()) {
        let words = [Word::Sent, Word::Received, Word::Started, Word::Retried, Word::Lost, Word::Expired, Word::Superseded];
        let mut all: Vec<Word> = noise.into_iter().map(|at| words[at]).collect();
        all.insert(place.index(all.len() + 1), Word::Succeeded);
        prop_assert_eq!(after(&all).state, RunState::Succeeded, "{:?}", all);
    }

    #[test]
    fn a_run_in_any_order_ends_the_same(order in Just([Word::Sent, Word::Received, Word::Started, Word::Failed]).prop_shuffle()) {
        prop_assert_eq!(after(&order).state, RunState::Failed, "{:?}", order);
    }
}
