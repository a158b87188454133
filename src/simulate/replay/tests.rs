//! A recorder's view of a made-up fleet, replayed.

use std::time::Duration;

use headcount_core::celery::inspect::Pool;
use headcount_core::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use headcount_core::detect::{Diagnosis, Means, Rules};
use headcount_core::status::QueueStatus;
use headcount_core::time::{Mono, Now, Wall};

use super::{Outcome, Replay, Story};
use crate::rig::RigSpec;
use crate::trace::{Answer, Encoder, HEAD, Reader, Record, Source, Told};

const HOSTS: [&str; 3] = ["sms@h1", "sms@h2", "sms@h3"];

/// How a worker is at a moment, in milliseconds since the start.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Well,
    /// Its process is gone.
    Gone,
    /// It is stopped: connected, and silent.
    Frozen,
}

fn now(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(7_000_000_000 + ms * 1_000),
        wall: Wall::from_micros(1_768_000_000_000_000 + ms as i64 * 1_000),
    }
}

fn beat(hostname: &str, ms: u64) -> WorkerEvent<'_> {
    WorkerEvent {
        kind: WorkerKind::Heartbeat,
        hostname,
        pid: Some(7),
        clock: Some(ms),
        timestamp: Some(1_768_000_000.0 + ms as f64 / 1e3),
        freq: Some(2.0),
        active: Some(0),
        processed: Some(5),
        sw_ident: Some("py-celery"),
        sw_ver: Some("5.7.0"),
        sw_sys: Some("Linux"),
    }
}

/// The file that a recorder would write: ticks, canaries, beats, and a probe of all workers each second.
fn recorded(seconds: u64, how: impl Fn(&str, u64) -> Is, runs: impl Fn(u64) -> bool) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut file = HEAD.to_vec();
    encoder.write(now(0), &Record::Opened);
    for ms in (0..seconds * 1_000).step_by(50).filter(|ms| runs(*ms)) {
        if ms % 250 == 0 {
            encoder.write(now(ms), &Record::Tick);
        }
        if ms % 1_000 == 50 {
            encoder.write(now(ms), &Record::Canary(Duration::from_millis(1)));
        }
        for (place, host) in HOSTS.iter().enumerate() {
            if ms % 2_000 == 300 * (place as u64 + 1) && how(host, ms) == Is::Well {
                encoder.write(now(ms), &Record::Worker(beat(host, ms)));
            }
        }
        if ms % 1_000 == 700 {
            let answer = |host: &&str| {
                let is = how(host, ms);
                Answer {
                    hostname: (*host).into(),
                    answer: (is == Is::Well).then_some(Duration::from_millis(2)),
                    answers: u32::from(is == Is::Well),
                    present: Some(is != Is::Gone),
                }
            };
            encoder.write(now(ms), &Record::Probed(HOSTS.iter().map(answer).collect()));
        }
        if ms % 1_000 == 950 {
            encoder.take().iter().for_each(|frame| file.extend(frame.pack()));
        }
    }
    encoder.take().iter().for_each(|frame| file.extend(frame.pack()));
    file
}

fn replayed(file: &[u8], rules: Rules) -> Outcome {
    let mut replay = Replay::new(RigSpec::discovering("main", rules));
    let mut reader = Reader::new(file).unwrap();
    while let Some((now, record)) = reader.next().unwrap() {
        replay.take(now, &record);
    }
    replay.finish()
}

fn always(_: u64) -> bool {
    true
}

#[test]
fn a_kill_and_a_return_are_one_incident() {
    let killed = |host: &str, ms: u64| match host {
        "sms@h2" if (30_000..60_000).contains(&ms) => Is::Gone,
        _ => Is::Well,
    };
    let file = recorded(90, killed, always);
    let outcome = replayed(&file, Rules::default());
    let [story] = &outcome.stories[..] else {
        panic!("{outcome:#?}")
    };
    assert_eq!(story.incident.diagnosis, Some(Diagnosis::Crashed));
    let opened = story.incident.opened_at.since(now(30_000).wall);
    assert!((4..9).contains(&opened.as_secs()), "{opened:?}");
    let resolved = story.incident.resolved_at.unwrap().since(now(60_000).wall);
    assert!(resolved.as_secs() < 8, "{resolved:?}");
    let words: Vec<&str> = story
        .messages
        .iter()
        .map(|(_, text)| text.split(' ').next().unwrap())
        .collect();
    assert_eq!(words, ["DEGRADED", "RECOVERED"], "{story:#?}");
    assert!(outcome.asked > 0 && outcome.answered == outcome.asked, "{outcome:#?}");
    assert_eq!(outcome.pauses, 0);
    assert_eq!(outcome, replayed(&file, Rules::default()), "the same again");
}

#[test]
fn a_freeze_is_an_incident_only_where_the_rules_say_so() {
    let frozen = |host: &str, ms: u64| match host {
        "sms@h1" if (30_000..60_000).contains(&ms) => Is::Frozen,
        _ => Is::Well,
    };
    let file = recorded(90, frozen, always);
    let outcome = replayed(&file, Rules::default());
    let [story] = &outcome.stories[..] else {
        panic!("{outcome:#?}")
    };
    assert_eq!(story.incident.diagnosis, Some(Diagnosis::Frozen));
    let patient = Rules {
        down_after: Duration::from_secs(60),
        ..Rules::default()
    };
    assert_eq!(replayed(&file, patient).stories, []);
}

/// Like [`recorded`], and every five seconds the queue and what all say of their work: from a minute on the first one's
/// consumer is gone, while messages wait and the others take some.
fn recorded_without_consumer() -> Vec<u8> {
    let mut file = HEAD.to_vec();
    let mut encoder = Encoder::new();
    encoder.write(now(0), &Record::Opened);
    for ms in (0..120_000).step_by(50) {
        if ms % 250 == 0 {
            encoder.write(now(ms), &Record::Tick);
        }
        if ms % 1_000 == 50 {
            encoder.write(now(ms), &Record::Canary(Duration::from_millis(1)));
        }
        for (place, host) in HOSTS.iter().enumerate() {
            if ms % 2_000 == 300 * (place as u64 + 1) {
                let goes_on = ms < 60_000 || place > 0;
                let processed = Some(if goes_on { ms / 1_000 } else { 60 });
                encoder.write(
                    now(ms),
                    &Record::Worker(WorkerEvent {
                        processed,
                        ..beat(host, ms)
                    }),
                );
            }
        }
        if ms % 5_000 == 700 {
            let answer = |host: &&str| Answer {
                hostname: (*host).into(),
                answer: Some(Duration::from_millis(2)),
                answers: 1,
                present: Some(true),
            };
            encoder.write(now(ms), &Record::Probed(HOSTS.iter().map(answer).collect()));
            encoder.write(
                now(ms),
                &Record::Queues(vec![QueueStatus {
                    name: "sms".into(),
                    length: if ms < 60_000 { 0 } else { 40 },
                    consumers: Some(if ms < 60_000 { 3 } else { 2 }),
                }]),
            );
            let told = HOSTS.iter().enumerate().flat_map(|(place, host)| {
                let consumes = ms < 60_000 || place > 0;
                let queues = if consumes { vec!["sms".into()] } else { Vec::new() };
                let means = Means {
                    slots: Some(2),
                    prefetch: Some(8),
                    ..Means::default()
                };
                let all = [
                    Told::Pool(Pool::Prefork),
                    Told::Means(means),
                    Told::Queues(queues),
                    Told::Running(0),
                    Told::Reserved(0),
                    Told::Scheduled(0),
                ];
                all.map(|told| ((*host).into(), told))
            });
            encoder.write(now(ms + 20), &Record::Told(told.collect()));
        }
        if ms % 1_000 == 950 {
            encoder.take().iter().for_each(|frame| file.extend(frame.pack()));
        }
    }
    file
}

#[test]
fn a_lost_consumer_is_found_by_what_workers_said_of_their_work() {
    let outcome = replayed(&recorded_without_consumer(), Rules::default());
    let [story] = &outcome.stories[..] else {
        panic!("{outcome:#?}")
    };
    let opened = story.incident.opened_at.since(now(60_000).wall);
    assert!((5..40).contains(&opened.as_secs()), "{opened:?}");
    assert!(story.messages[0].1.starts_with("STALLED sms"), "{story:#?}");
    assert!(story.messages[0].1.contains("sms@h1"), "{story:#?}");
}

#[test]
fn a_pause_of_the_recorder_is_nobodys_silence() {
    let file = recorded(200, |_, _| Is::Well, |ms| !(60_000..150_000).contains(&ms));
    let outcome = replayed(&file, Rules::default());
    assert_eq!(outcome.stories, []);
    assert_eq!((outcome.pauses, outcome.paused.as_secs()), (1, 90));
}

#[test]
fn a_lost_broker_is_its_own_incident() {
    let mut encoder = Encoder::new();
    let mut file = recorded(40, |_, _| Is::Well, always);
    encoder.write(now(40_000), &Record::Ended("connection lost".into()));
    for ms in (40_000..60_000).step_by(250) {
        encoder.write(now(ms), &Record::Tick);
    }
    encoder.take().iter().for_each(|frame| file.extend(frame.pack()));
    let outcome = replayed(&file, Rules::default());
    let [story] = &outcome.stories[..] else {
        panic!("{outcome:#?}")
    };
    assert_eq!(story.incident.kind.as_str(), "broker");
    assert_eq!(story.incident.resolved_at, None);
}

#[test]
fn the_end_of_time_comes_to_an_end() {
    let mut replay = Replay::new(RigSpec::discovering("main", Rules::default()));
    let late = |micros| Now {
        mono: Mono::from_micros(micros),
        wall: Wall::from_micros(i64::MAX),
    };
    for micros in [u64::MAX - 10, u64::MAX, 5, u64::MAX] {
        replay.take(late(micros), &Record::Tick);
        replay.take(late(micros), &Record::Worker(beat("sms@h1", 1)));
    }
    assert_eq!(replay.finish().stories, []);
}

/// A recording of three workers, of which the second is gone from the 30th second on, with a source and further records.
fn recorded_with(source: Source, present: Option<bool>, more: impl Fn(u64, &mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut file = HEAD.to_vec();
    encoder.write(now(0), &Record::Source(source));
    encoder.write(now(0), &Record::Opened);
    for ms in (0..60_000).step_by(50) {
        let is_well = |host: &str| ms < 30_000 || host != HOSTS[1];
        if ms % 250 == 0 {
            encoder.write(now(ms), &Record::Tick);
        }
        if ms % 1_000 == 50 {
            encoder.write(now(ms), &Record::Canary(Duration::from_millis(1)));
        }
        for (place, host) in HOSTS.iter().enumerate() {
            if ms % 2_000 == 300 * (place as u64 + 1) && is_well(host) {
                encoder.write(now(ms), &Record::Worker(beat(host, ms)));
            }
        }
        if ms % 1_000 == 700 {
            let answer = |host: &&str| Answer {
                hostname: (*host).into(),
                answer: is_well(host).then_some(Duration::from_millis(2)),
                answers: u32::from(is_well(host)),
                present: if is_well(host) { present } else { present.map(|_| false) },
            };
            encoder.write(now(ms), &Record::Probed(HOSTS.iter().map(answer).collect()));
        }
        more(ms, &mut encoder);
    }
    encoder.take().iter().for_each(|frame| file.extend(frame.pack()));
    file
}

#[test]
fn behind_a_flower_an_answer_shows_no_connection() {
    let missed_connection = |hides_presence| {
        let source = Source {
            hides_presence,
            ..Source::default()
        };
        let outcome = replayed(&recorded_with(source, None, |_, _| {}), Rules::default());
        let [story] = &outcome.stories[..] else {
            panic!("{outcome:#?}")
        };
        assert_eq!(story.incident.diagnosis, Some(Diagnosis::Unreachable));
        let mut evidence = story.incident.evidence.iter();
        evidence.any(|one| one.says.contains("its connection has not been seen since"))
    };
    assert!(!missed_connection(true));
    assert!(missed_connection(false));
}

#[test]
fn what_a_silent_worker_left_behind_is_told() {
    let begins = |ms, encoder: &mut Encoder| {
        if ms == 29_000 {
            encoder.write(
                now(ms),
                &Record::Task(TaskEvent {
                    kind: TaskKind::Started,
                    hostname: HOSTS[1],
                    timestamp: None,
                    uuid: "6b0a6a0c-5ba4-4f5b-8d5c-0f4e2b7d1c11",
                    name: Some("sms.send"),
                    queue: None,
                    runtime: None,
                    exception: None,
                    has_eta: false,
                    retries: 0,
                }),
            );
        }
    };
    let outcome = replayed(&recorded_with(Source::default(), Some(true), begins), Rules::default());
    let [story] = &outcome.stories[..] else {
        panic!("{outcome:#?}")
    };
    let evidence = format!("{:?}", story.incident.evidence);
    assert!(evidence.contains("1 task"), "{evidence}");
}

#[test]
fn a_worker_that_never_beats_is_found_by_the_question_to_all() {
    let mute = |ms, encoder: &mut Encoder| {
        let lives = ms < 30_000;
        if ms == 5_000 {
            let found = vec![("mute@h1".into(), Duration::from_millis(2))];
            encoder.write(now(ms), &Record::Found(found));
        }
        if ms % 1_000 == 700 {
            let answer = Answer {
                hostname: "mute@h1".into(),
                answer: lives.then_some(Duration::from_millis(2)),
                answers: u32::from(lives),
                present: Some(lives),
            };
            encoder.write(now(ms), &Record::Probed(vec![answer]));
        }
    };
    let file = recorded_with(Source::default(), Some(true), mute);
    let outcome = replayed(&file, Rules::default());
    let about_it = |story: &Story| story.messages.iter().any(|(_, text)| text.contains("mute@h1"));
    assert!(outcome.stories.iter().any(about_it), "{outcome:#?}");
}
