use super::*;
use crate::detect::roster::Roster;
use crate::detect::table::WorkerTable;
use crate::stats::measure::Quantile;
use crate::time::Mono;
use TaskKind::{Failed, Received, Retried, Sent, Started, Succeeded};
use proptest::prelude::*;

fn event<'a>(kind: TaskKind, uuid: &'a str, at: f64) -> TaskEvent<'a> {
    TaskEvent {
        kind,
        hostname: "sms@h",
        timestamp: Some(at),
        uuid,
        name: None,
        queue: None,
        runtime: None,
        exception: None,
        has_eta: false,
        retries: 0,
    }
}

fn received<'a>(uuid: &'a str, name: &'a str, at: f64) -> TaskEvent<'a> {
    TaskEvent {
        name: Some(name),
        ..event(Received, uuid, at)
    }
}

fn sent<'a>(uuid: &'a str, name: &'a str, queue: &'a str, at: f64) -> TaskEvent<'a> {
    TaskEvent {
        hostname: "gen1@h",
        name: Some(name),
        queue: Some(queue),
        ..event(Sent, uuid, at)
    }
}

fn fleet() -> FleetIndex {
    let mut table = WorkerTable::new(Roster::discovering());
    table.task(Mono::default(), &event(Started, "u", 0.0)).unwrap()
}

const NOON: Wall = Wall::from_micros(12 * 3_600 * 1_000_000 + 5);

/// Counts events of one fleet at noon, and hands over what they come to, in order. What a producer sends has no fleet.
fn rows(tally: &mut Tally, events: &[TaskEvent<'_>]) -> Vec<TaskRollup> {
    let fleet = fleet();
    for event in events {
        tally.count(NOON, (event.kind != Sent).then_some(fleet), event);
    }
    let mut rows = tally.drain(|_| "sms".into());
    rows.sort_by(|a, b| (a.key.outcome, &a.key).cmp(&(b.key.outcome, &b.key)));
    rows
}

fn counts(rows: &[TaskRollup]) -> Vec<(&str, &str, TaskKind, u64)> {
    let all = rows.iter();
    all.map(|row| {
        (
            row.key.task.as_str(),
            row.key.queue.as_str(),
            row.key.outcome,
            row.count,
        )
    })
    .collect()
}

/// Runtime, wait, and time in the queue: of the only one that was measured.
fn only(row: &TaskRollup) -> [Option<f64>; 3] {
    [&row.times.runtime, &row.times.wait, &row.times.queued].map(|spans| {
        assert!(spans.count() <= 1);
        assert!(spans.count() == spans.quantile(Quantile::P50).iter().count() as u64);
        spans.longest().map(|longest| longest.as_secs_f64())
    })
}

#[test]
fn what_follows_is_joined_by_the_id() {
    let mut tally = Tally::default();
    let rows = rows(
        &mut tally,
        &[
            received("u1", "sms.send", 1.0),
            event(Succeeded, "u1", 2.0),
            event(Succeeded, "u1", 3.0),
            event(Failed, "u2", 4.0),
        ],
    );
    let expected = [
        ("sms.send", "", Received, 1),
        ("", "", Succeeded, 1),
        ("sms.send", "", Succeeded, 1),
        ("", "", Failed, 1),
    ];
    assert_eq!(counts(&rows), expected);
    assert!(
        rows.iter()
            .all(|row| row.key.start == Wall::from_micros(12 * 3_600 * 1_000_000))
    );
    assert!(tally.is_empty());
}

#[test]
fn a_run_is_measured_where_it_ends() {
    let mut tally = Tally::default();
    let end = TaskEvent {
        runtime: Some(1.75),
        ..event(Succeeded, "u1", 8.5)
    };
    let rows = rows(
        &mut tally,
        &[
            sent("u1", "sms.send", "sms", 1.0),
            received("u1", "sms.send", 2.0),
            event(Started, "u1", 6.0),
            end,
            sent("u2", "sms.send", "sms", 1.0),
            received("u2", "sms.send", 1.5),
            event(Started, "u2", 4.0),
            event(Failed, "u2", 4.25),
        ],
    );
    let expected = [
        ("sms.send", "sms", Received, 2),
        ("sms.send", "sms", Started, 2),
        ("sms.send", "sms", Succeeded, 1),
        ("sms.send", "sms", Failed, 1),
    ];
    assert_eq!(
        counts(&rows),
        expected,
        "what a producer sends is not counted: it has no fleet"
    );
    assert!(rows[0].times.is_empty() && rows[1].times.is_empty());
    assert_eq!(only(&rows[2]), [Some(1.75), Some(4.0), Some(1.0)]);
    assert_eq!(only(&rows[3]), [Some(0.25), Some(2.5), Some(0.5)]);
}

#[test]
fn sent_may_come_after_received() {
    let mut tally = Tally::default();
    let rows = rows(
        &mut tally,
        &[
            received("u1", "t", 2.0),
            event(Started, "u1", 2.0),
            sent("u1", "t", "q", 1.5),
            event(Succeeded, "u1", 3.0),
        ],
    );
    assert_eq!(counts(&rows)[2], ("t", "q", Succeeded, 1));
    assert_eq!(only(&rows[2]), [Some(1.0), Some(0.0), Some(0.5)]);
}

/// The second attempt is sent by the worker of the first, and received by another: its events may come before the end of the
/// first, or before the first's at all.
#[test]
fn each_attempt_is_measured_for_itself() {
    let again = |event: TaskEvent<'static>| TaskEvent {
        retries: 1,
        has_eta: true,
        ..event
    };
    let first = [
        received("u", "t", 2.0),
        event(Started, "u", 4.0),
        event(Retried, "u", 5.5),
    ];
    let (first_sent, second_sent) = (sent("u", "t", "q", 1.0), again(sent("u", "t", "q", 5.0)));
    let second = again(received("u", "t", 6.0));
    let orders: [&[TaskEvent<'_>]; 8] = [
        &[first_sent, first[0], first[1], second_sent, first[2], second],
        &[first_sent, first[0], first[1], first[2], second_sent, second],
        &[first[0], first_sent, first[1], first[2], second, second_sent],
        &[first_sent, first[0], first[1], second, second_sent, first[2]],
        &[first_sent, first[0], second_sent, second, first[1], first[2]],
        &[first_sent, second, first[0], first[1], first[2], second_sent],
        &[first_sent, second_sent, first[0], first[1], first[2], second],
        &[first_sent, second_sent, second, first[0], first[1], first[2]],
    ];
    for (n, order) in orders.into_iter().enumerate() {
        let mut tally = Tally::default();
        let ends = [event(Started, "u", 60.0), event(Failed, "u", 61.0)];
        let rows = rows(&mut tally, &[order, &ends].concat());
        let of = |outcome| rows.iter().filter(|row| row.key.outcome == outcome).collect::<Vec<_>>();
        assert_eq!(only(of(Retried)[0]), [Some(1.5), Some(2.0), Some(1.0)], "{n}");
        assert_eq!(only(of(Failed)[0]), [Some(1.0), None, Some(1.0)], "it was to wait: {n}");
        assert_eq!(of(Received).iter().map(|row| row.count).sum::<u64>(), 2, "{n}");
    }
}

/// A broker may give a task once more that a worker has not finished: that is the same attempt, begun anew.
#[test]
fn a_task_that_is_delivered_again_is_measured_from_there() {
    let rows = rows(
        &mut Tally::default(),
        &[
            received("u", "t", 2.0),
            event(Started, "u", 4.0),
            received("u", "t", 100.0),
            event(Started, "u", 101.0),
            event(Succeeded, "u", 103.0),
        ],
    );
    let ended = rows.iter().find(|row| row.key.outcome == Succeeded).unwrap();
    assert_eq!(only(ended), [Some(2.0), Some(1.0), None]);
}

#[test]
fn clocks_that_contradict_each_other_measure_nothing() {
    let mut tally = Tally::default();
    let unstamped = TaskEvent {
        timestamp: None,
        ..event(Started, "u2", 0.0)
    };
    let rows = rows(
        &mut tally,
        &[
            sent("u1", "t", "q", 9.0),
            received("u1", "t", 2.0),
            event(Started, "u1", 1.0),
            event(Succeeded, "u1", 0.5),
            received("u2", "t", 2.0),
            unstamped,
            event(Failed, "u2", 3.0),
        ],
    );
    assert!(rows.iter().all(|row| row.times.is_empty()));
}

#[test]
fn names_tasks_and_rows_are_bounded() {
    let (mut tally, fleet, now) = (Tally::default(), fleet(), Wall::default());
    for n in 0..MAX_IN_FLIGHT + 100 {
        let (uuid, name) = (n.to_string(), format!("task{}", n % (MAX_NAMES + 50)));
        tally.count(now, Some(fleet), &received(&uuid, &name, 1.0));
    }
    assert_eq!(
        (tally.in_flight.len(), tally.order.len()),
        (MAX_IN_FLIGHT, MAX_IN_FLIGHT)
    );
    assert!(tally.names.names.len() <= MAX_NAMES + 2);
    tally.count(now, Some(fleet), &event(Succeeded, "0", 2.0));
    tally.count(now, Some(fleet), &event(Succeeded, "200000", 2.0));
    let rows = tally.drain(|_| "sms".into());
    assert!(rows.iter().any(|row| row.key.task == OTHER));
    let ended: Vec<_> = rows
        .iter()
        .filter(|row| row.key.outcome == Succeeded)
        .map(|row| row.key.task.as_str())
        .collect();
    assert!(
        ended.contains(&"") && ended.contains(&"task3050"),
        "the oldest has lost its name: {ended:?}"
    );

    // Many short tasks: those that have ended leave no trace.
    let mut tally = Tally::default();
    for n in 0..50_000 {
        let uuid = n.to_string();
        tally.count(now, Some(fleet), &received(&uuid, "t", 1.0));
        tally.count(now, Some(fleet), &event(Succeeded, &uuid, 2.0));
    }
    assert!(tally.in_flight.is_empty() && tally.order.len() <= 1_001);

    // Minutes without a drain, each with as many names as can be.
    let (mut tally, mut events) = (Tally::default(), 0);
    for minute in 0..10 {
        let now = Wall::from_micros(minute * MINUTE);
        for n in 0..MAX_NAMES {
            let name = format!("task{n}");
            tally.count(now, Some(fleet), &received("u", &name, 1.0));
            events += 1;
        }
    }
    let rows = tally.drain(|_| "sms".into());
    assert!(rows.len() <= MAX_ROWS + 10, "{}", rows.len());
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), events);
    for minute in 0..(MAX_ROWS + MAX_OTHERS + 5) as i64 {
        tally.count(
            Wall::from_micros(minute * MINUTE),
            Some(fleet),
            &received("u", "t", 1.0),
        );
    }
    assert_eq!((tally.take_lost(), tally.take_lost()), (5, 0));
}

/// The same events as the lane gets them, in two tallies or in one.
#[test]
fn drains_add_up() {
    let events: Vec<_> = (0..100).map(|n| (n.to_string(), f64::from(n) / 7.0)).collect();
    let run = |every: usize| {
        let (mut tally, mut all) = (Tally::default(), Vec::<TaskRollup>::new());
        for (n, (uuid, length)) in events.iter().enumerate() {
            let three = [
                received(uuid, "t", 1.0),
                event(Started, uuid, 1.0),
                event(Succeeded, uuid, 1.0 + length),
            ];
            three.iter().for_each(|event| tally.count(NOON, Some(fleet()), event));
            if n % every == every - 1 {
                all.extend(tally.drain(|_| "sms".into()));
            }
        }
        let mut merged: std::collections::BTreeMap<TaskKey, TaskRollup> = Default::default();
        for row in all {
            match merged.get_mut(&row.key) {
                Some(there) => there.merge(&row),
                None => drop(merged.insert(row.key.clone(), row)),
            }
        }
        merged
    };
    assert_eq!(run(100), run(10));
    assert_eq!(run(100), run(1));
}

fn any_event() -> impl Strategy<Value = (usize, u8, Option<f64>, Option<&'static str>, Option<f64>, bool)> {
    let clock = prop_oneof![
        Just(None),
        (0..20_u8).prop_map(|at| Some(f64::from(at))),
        any::<f64>().prop_map(Some)
    ];
    let name = prop::sample::select(vec![None, Some("t"), Some("u"), Some("")]);
    (
        0..TaskKind::ALL.len(),
        0..4_u8,
        clock.clone(),
        name,
        clock,
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In whatever order they come, and whatever their clocks say.
    #[test]
    fn every_event_counts_once(events in prop::collection::vec(any_event(), 0..60)) {
        let (mut tally, fleet) = (Tally::default(), fleet());
        for (kind, id, at, name, runtime, has_eta) in &events {
            let uuid = id.to_string();
            let event = TaskEvent {
                timestamp: *at,
                name: *name,
                queue: *name,
                runtime: *runtime,
                has_eta: *has_eta,
                ..event(TaskKind::ALL[*kind], &uuid, 0.0)
            };
            tally.count(NOON, Some(fleet), &event);
        }
        let rows = tally.drain(|_| "sms".into());
        prop_assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), events.len() as u64);
        prop_assert!(tally.in_flight.len() <= 4 && tally.is_empty());
        for row in &rows {
            let spans = [&row.times.runtime, &row.times.wait, &row.times.queued];
            prop_assert!(spans.iter().all(|spans| spans.count() <= row.count));
            prop_assert!(row.key.outcome >= Succeeded || row.times.is_empty());
        }
    }
}
