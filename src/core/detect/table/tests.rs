use std::time::Duration;

use super::*;
use crate::celery::{TaskKind, WorkerKind};
use crate::detect::sighting::Word;

fn event(kind: WorkerKind, pid: u32, clock: u64, timestamp: f64) -> WorkerEvent<'static> {
    WorkerEvent {
        kind,
        hostname: "sms@h1",
        pid: Some(pid),
        clock: Some(clock),
        timestamp: Some(timestamp),
        freq: Some(2.0),
        active: Some(0),
        processed: Some(7),
        sw_ident: Some("py-celery"),
        sw_ver: Some("5.7.0"),
        sw_sys: Some("Linux"),
    }
}

fn at(ms: u64) -> Mono {
    Mono::from_micros(ms * 1000)
}

fn drained(table: &mut WorkerTable) -> Vec<Sighting> {
    let mut all = Vec::new();
    table.drain(|_, sighting| {
        all.push(sighting);
        true
    });
    all
}

#[test]
fn many_beats_are_one_sighting() {
    let mut table = WorkerTable::new(Roster::discovering());
    for n in 0..25 {
        table.worker(at(n * 10), &event(WorkerKind::Heartbeat, 1, n, n as f64));
    }
    let sightings = drained(&mut table);
    assert_eq!(sightings.len(), 1);
    assert_eq!(sightings[0].beats, 25);
    assert_eq!(sightings[0].interval, Some(Duration::from_secs(2)));
    assert_eq!(sightings[0].software.as_deref(), Some("py-celery 5.7.0 (Linux)"));
    assert!(drained(&mut table).is_empty());
    table.worker(at(999), &event(WorkerKind::Heartbeat, 1, 99, 99.0));
    assert_eq!(drained(&mut table)[0].software, None, "told once");
}

/// Workers of no fleet have no row, and are known: by what they send, and by what they answer. Nobody else is taken for one.
#[test]
fn who_belongs_to_no_fleet_is_counted_for_as_long_as_it_is_heard_of() {
    let glob = |text| crate::glob::Glob::parse(text).unwrap();
    let roster = Roster::of([("smss".into(), vec![glob("smss@*")])]).without(vec!["headcount@h".into()]);
    let mut table = WorkerTable::new(roster);
    let beat = |hostname| WorkerEvent {
        hostname,
        ..event(WorkerKind::Heartbeat, 1, 1, 1.0)
    };
    for hostname in ["smss@h1", "sms@h1", "headcount@h", "a\nb@h"] {
        assert_eq!(table.worker(at(0), &beat(hostname)).is_some(), hostname == "smss@h1");
    }
    for hostname in ["smss@h2", "sms@h2", "headcount@h"] {
        table.stranger_answered(at(1), hostname);
    }
    let strangers = table.strangers(at(1));
    assert_eq!((strangers.count, strangers.in_words().as_str()), (2, "sms@h1, sms@h2"));
    // Then only one of them says anything, and only about its tasks.
    let succeeded = TaskEvent {
        hostname: "sms@h1",
        ..TaskEvent::sample(TaskKind::Succeeded, "u", Some("t"))
    };
    table.task(at(200_000), &succeeded);
    assert_eq!(table.strangers(at(310_000)).in_words(), "sms@h1");
    assert_eq!(table.strangers(at(501_000)).count, 0);
}

#[test]
fn a_late_goodbye_of_an_earlier_process_or_moment_is_ignored() {
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
    table.worker(at(1), &event(WorkerKind::Offline, 1, 9, 99.0));
    table.worker(at(2), &event(WorkerKind::Online, 2, 1, 101.0));
    table.worker(at(3), &event(WorkerKind::Offline, 1, 11, 100.5));
    let sightings = drained(&mut table);
    assert_eq!(sightings[0].word, Word::Online);
    assert_eq!(sightings[0].pid, Some(2));
}

#[test]
fn a_goodbye_stands_until_something_newer_of_the_same_process_comes() {
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
    table.worker(at(1), &event(WorkerKind::Offline, 1, 12, 101.0));
    assert_eq!(drained(&mut table)[0].word, Word::Goodbye);
    table.worker(at(2), &event(WorkerKind::Heartbeat, 1, 11, 100.9));
    assert!(
        drained(&mut table).is_empty(),
        "a beat from before the goodbye says nothing"
    );
    table.worker(at(3), &event(WorkerKind::Heartbeat, 1, 13, 102.0));
    assert_eq!(drained(&mut table)[0].word, Word::Online, "it had only reconnected");
}

#[test]
fn a_restart_under_the_same_pid_begins_a_new_reckoning() {
    let mut table = WorkerTable::new(Roster::discovering());
    let mut say = |kind, clock, timestamp| {
        table.worker(at(clock), &event(kind, 1, clock, timestamp));
        drained(&mut table).first().map(|sighting| sighting.word)
    };
    assert_eq!(say(WorkerKind::Heartbeat, 50_000, 100.0), Some(Word::Nothing));
    assert_eq!(say(WorkerKind::Offline, 50_001, 101.0), Some(Word::Goodbye));
    assert_eq!(say(WorkerKind::Online, 1, 103.0), Some(Word::Online));
    assert_eq!(
        say(WorkerKind::Offline, 300, 110.0),
        Some(Word::Goodbye),
        "of the new life"
    );
    // Its online was missed: a beat shows that it is back all the same.
    assert_eq!(say(WorkerKind::Heartbeat, 2, 120.0), Some(Word::Online));
}

#[test]
fn a_new_process_under_the_same_pid_is_told_once_and_a_reconnect_is_none() {
    let say = |table: &mut WorkerTable, kind, clock, timestamp, processed| {
        let event = WorkerEvent {
            processed: Some(processed),
            ..event(kind, 1, clock, timestamp)
        };
        table.worker(at(timestamp as u64 * 1_000), &event);
        drained(table).first().map(|sighting| sighting.anew)
    };
    let mut table = WorkerTable::new(Roster::discovering());
    assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_000, 100.0, 7), Some(false));
    // Its clock goes on over a reconnect, and what it has accepted too.
    assert_eq!(say(&mut table, WorkerKind::Offline, 50_001, 101.0, 7), Some(false));
    assert_eq!(say(&mut table, WorkerKind::Online, 50_002, 102.0, 7), Some(false));
    // By its clock, though the old one had accepted nothing more than the new one; by its count, where peers have
    // set its clock.
    assert_eq!(say(&mut table, WorkerKind::Online, 3, 104.0, 7), Some(true));
    assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_100, 106.0, 8), Some(false));
    assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_200, 108.0, 0), Some(true));
    assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_202, 110.0, 9), Some(false));
    // A beat that was overtaken is none.
    assert_eq!(say(&mut table, WorkerKind::Heartbeat, 50_201, 109.0, 8), Some(false));
}

#[test]
fn what_does_not_say_of_which_process_it_is_moves_neither_clock_nor_goodbye() {
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
    drained(&mut table);
    for kind in [WorkerKind::Offline, WorkerKind::Heartbeat] {
        table.worker(
            at(1),
            &WorkerEvent {
                pid: None,
                ..event(kind, 1, 1 << 62, 9e9)
            },
        );
    }
    assert_eq!(drained(&mut table)[0].word, Word::Nothing, "its goodbye is nobody's");
    table.worker(at(2), &event(WorkerKind::Offline, 1, 11, 101.0));
    assert_eq!(
        drained(&mut table)[0].word,
        Word::Goodbye,
        "and the honest one is believed"
    );
}

#[test]
fn who_beats_long_after_a_goodbye_is_back_whatever_the_clocks_say() {
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Offline, 1, 1 << 62, 9e9));
    table.worker(at(10_000), &event(WorkerKind::Heartbeat, 1, 11, 100.0));
    table.worker(at(30_000), &event(WorkerKind::Heartbeat, 1, 12, 102.0));
    assert_eq!(drained(&mut table)[0].word, Word::Online);
}

#[test]
fn a_wall_clock_that_steps_back_makes_nothing_old() {
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 5_000.0));
    table.worker(at(1), &event(WorkerKind::Offline, 1, 11, 1_400.0));
    assert_eq!(drained(&mut table)[0].word, Word::Goodbye);
}

#[test]
fn a_provoked_beat_changes_neither_interval_nor_counts() {
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 10, 100.0));
    let provoked = WorkerEvent {
        freq: Some(5.0),
        active: None,
        processed: None,
        ..event(WorkerKind::Heartbeat, 1, 11, 101.0)
    };
    table.worker(at(1), &provoked);
    let sighting = &drained(&mut table)[0];
    assert_eq!(
        (sighting.interval, sighting.processed),
        (Some(Duration::from_secs(2)), Some(7))
    );
}

#[test]
fn tasks_of_producers_make_no_worker() {
    let mut table = WorkerTable::new(Roster::discovering());
    let sent = TaskEvent {
        hostname: "gen12@h",
        ..TaskEvent::sample(TaskKind::Sent, "u", Some("t"))
    };
    assert_eq!(table.task(at(0), &sent), None);
    assert!(drained(&mut table).is_empty());
    assert!(table.fleets().is_empty());
}

#[test]
fn a_busy_receiver_loses_nothing() {
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 1, 1.0));
    table.drain(|_, _| false);
    table.worker(at(1), &event(WorkerKind::Heartbeat, 1, 2, 2.0));
    assert_eq!(drained(&mut table)[0].beats, 2);
}

#[test]
fn hostile_names_are_bounded() {
    let mut table = WorkerTable::new(Roster::discovering());
    for n in 0..MAX_FLEETS + 10 {
        let name = format!("fleet{n}@h");
        table.worker(
            at(0),
            &WorkerEvent {
                hostname: &name,
                ..event(WorkerKind::Heartbeat, 1, 1, 1.0)
            },
        );
    }
    assert_eq!(table.fleets().len(), MAX_FLEETS);
    assert_eq!(table.take_refused(), 10);
}

#[test]
fn a_clock_that_was_wrong_once_makes_no_later_goodbye_unheard() {
    let hour = 3_600.0;
    // A process whose clock is ahead leaves, and one with the right time takes its place.
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 500, 100.0 + hour));
    table.worker(at(1_000), &event(WorkerKind::Offline, 1, 501, 101.0 + hour));
    table.worker(at(3_000), &event(WorkerKind::Online, 2, 1, 103.0));
    table.worker(at(5_000), &event(WorkerKind::Heartbeat, 2, 2, 105.0));
    drained(&mut table);
    table.worker(at(6_000), &event(WorkerKind::Offline, 2, 3, 106.0));
    assert_eq!(drained(&mut table)[0].word, Word::Goodbye);

    // Somebody says one thing from the far future in its name.
    let mut table = WorkerTable::new(Roster::discovering());
    table.worker(at(0), &event(WorkerKind::Heartbeat, 1, 500, 100.0));
    table.worker(at(1_000), &event(WorkerKind::Heartbeat, 1, 1 << 60, 9e9));
    for n in 1..=11 {
        table.worker(
            at(n * 2_000),
            &event(WorkerKind::Heartbeat, 1, 500 + n, 100.0 + n as f64 * 2.0),
        );
    }
    drained(&mut table);
    table.worker(at(23_000), &event(WorkerKind::Offline, 1, 600, 123.0));
    assert_eq!(drained(&mut table)[0].word, Word::Goodbye);
}
