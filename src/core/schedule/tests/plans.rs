//! What is due, after nights without a scheduler too.

use std::time::Duration;

use super::*;
use crate::schedule::plan::{MAX_MISSED, ON_TIME};
use crate::schedule::{Missed, Plan};
use crate::span::Span;

fn plan(timing: Timing, missed: Missed) -> Plan {
    Plan {
        job: "purge".to_owned(),
        timing,
        jitter: Span::from_secs(0),
        missed,
        within: Span::from_secs(86_400),
    }
}

fn ran(due: &crate::schedule::Due) -> Vec<String> {
    due.run.iter().map(|slot| shown(slot.at)).collect()
}

#[test]
fn a_night_without_a_scheduler() {
    // Each two hours in Berlin. Down from 21:30 to 06:30 of the night of the leap, in which there is no 02:00.
    let timing = || cron("0 0,2,4,6,22 * * *", "Europe/Berlin");
    let settled = wall("2026-03-28T19:00:00Z");
    let back = wall("2026-03-29T04:30:00Z");
    let slots = [
        "2026-03-28T21:00:00Z",
        "2026-03-28T23:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T02:00:00Z",
        "2026-03-29T04:00:00Z",
    ];
    for (missed, run) in [
        (Missed::Skip, &slots[5..]),
        (Missed::Once, &slots[4..]),
        (Missed::All, &slots[..]),
    ] {
        let due = plan(timing(), missed).due(settled, back);
        assert_eq!(ran(&due), run, "{missed:?}");
        assert_eq!(due.skipped, 5 - run.len() as u64, "{missed:?}");
        assert_eq!(
            due.settled.map(|slot| shown(slot.at)).as_deref(),
            Some(slots[4]),
            "{missed:?}"
        );
        assert_eq!(
            due.next.map(|slot| shown(slot.at)).as_deref(),
            Some("2026-03-29T20:00:00Z"),
            "{missed:?}"
        );
        // What is settled is not looked at again.
        let again = plan(timing(), missed).due(due.settled.unwrap().at, back);
        assert!(again.run.is_empty() && again.skipped == 0 && again.settled.is_none());
    }
}

#[test]
fn back_just_in_time_the_last_slot_runs_whatever_is_done_about_the_others() {
    let settled = wall("2026-01-01T00:00:00Z");
    let back = wall("2026-01-01T06:00:00Z") + ON_TIME;
    for (missed, count, skipped) in [(Missed::Skip, 1, 5), (Missed::Once, 1, 5), (Missed::All, 6, 0)] {
        let due = plan(cron("0 * * * *", "UTC"), missed).due(settled, back);
        assert_eq!((due.run.len(), due.skipped), (count, skipped), "{missed:?}");
        assert_eq!(ran(&due).last().map(String::as_str), Some("2026-01-01T06:00:00Z"));
    }
    let late = back + Duration::from_micros(1);
    let due = plan(cron("0 * * * *", "UTC"), Missed::Skip).due(settled, late);
    assert_eq!((due.run.len(), due.skipped), (0, 6));
}

#[test]
fn what_was_missed_is_bounded_in_time_and_number() {
    let settled = wall("2026-01-01T00:00:00Z");
    let back = wall("2026-03-01T00:00:30Z");
    let due = plan(cron("0 * * * *", "UTC"), Missed::All).due(settled, back);
    assert_eq!(due.run.len(), 24, "within a day");
    assert_eq!(ran(&due)[0], "2026-02-28T01:00:00Z");
    let due = plan(Timing::Every(Span::from_secs(1)), Missed::All).due(settled, back);
    assert_eq!(due.run.len(), MAX_MISSED);
    assert_eq!(due.skipped, 86_400 - MAX_MISSED as u64);
    assert_eq!(due.run.last().map(|slot| slot.at), Some(back), "the newest ones");
}

#[test]
fn nothing_is_due_before_its_time() {
    let plan = plan(cron("0 3 * * *", "UTC"), Missed::Once);
    let before = plan.due(wall("2026-01-01T12:00:00Z"), wall("2026-01-02T02:59:59.999999Z"));
    assert_eq!((before.run.len(), before.settled), (0, None));
    let on_time = plan.due(wall("2026-01-01T12:00:00Z"), before.next.unwrap().due);
    assert_eq!(ran(&on_time), ["2026-01-02T03:00:00Z"]);
}

#[test]
fn jitter_is_even_bounded_and_the_same_for_all() {
    let with = |job: &str| Plan {
        job: job.to_owned(),
        jitter: Span::from_secs(60),
        ..plan(cron("* * * * *", "UTC"), Missed::Once)
    };
    let delays: Vec<Duration> = (0..1_000)
        .map(|n| Wall::from_micros(n * 60_000_000))
        .map(|at| with("a").slot(at).due.since(at))
        .collect();
    assert!(delays.iter().all(|delay| *delay < Duration::from_secs(60)));
    let mean = delays.iter().sum::<Duration>() / 1_000;
    assert!(
        (Duration::from_secs(27)..Duration::from_secs(33)).contains(&mean),
        "{mean:?}"
    );
    let at = wall("2026-01-01T00:00:00Z");
    assert_eq!(with("a").slot(at), with("a").slot(at));
    assert_ne!(with("a").slot(at).due, with("b").slot(at).due);
    // Known for ever: another value would make a slot due twice in an update.
    assert_eq!(with("purge").slot(at).due.since(at), Duration::from_micros(49641450));
}

#[test]
fn slots_keep_their_order_whatever_their_jitter() {
    let plan = Plan {
        jitter: Span::from_secs(600),
        ..plan(cron("* * * * *", "UTC"), Missed::All)
    };
    let (mut settled, mut now) = (wall("2026-01-01T00:00:00Z"), wall("2026-01-01T00:00:00Z"));
    let mut seen = Vec::new();
    for _ in 0..4_000 {
        now = now + Duration::from_secs(1);
        let due = plan.due(settled, now);
        assert!(due.run.iter().all(|slot| slot.due <= now));
        settled = due.settled.map_or(settled, |slot| slot.at);
        seen.extend(due.run.into_iter().map(|slot| slot.at));
    }
    assert!(
        seen.is_sorted()
            && seen
                .windows(2)
                .all(|two| two[1].since(two[0]) == Duration::from_secs(60))
    );
    assert!(seen.len() > 50);
}
