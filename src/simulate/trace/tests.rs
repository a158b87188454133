//! What is written is read back; what was never written by us is refused, and never takes the reader down.

use std::time::Duration;

use headcount_core::celery::inspect::Pool;
use headcount_core::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use headcount_core::detect::{Means, Rules};
use headcount_core::status::QueueStatus;
use headcount_core::time::{Mono, Now, Wall};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::replay::Replay;
use crate::rig::RigSpec;

use super::bytes::put_uint;
use super::frame::checksum;
use super::{Answer, Encoder, Ending, Frame, HEAD, MAX_FRAME, Reader, Record, Source, Told, TraceError};

/// A record that owns its texts, so that a strategy can make it.
#[derive(Clone, Debug)]
enum Made {
    Plain(Record<'static>),
    Worker(MadeWorker),
    Task(MadeTask),
}

/// Pid, clock, timestamp, freq, active, processed.
type Numbers = (
    Option<u32>,
    Option<u64>,
    Option<i64>,
    Option<f64>,
    Option<u64>,
    Option<u64>,
);

#[derive(Clone, Debug)]
struct MadeWorker {
    kind: WorkerKind,
    hostname: String,
    numbers: Numbers,
    software: [Option<String>; 3],
}

#[derive(Clone, Debug)]
struct MadeTask {
    kind: TaskKind,
    hostname: String,
    timestamp: Option<i64>,
    uuid: String,
    name: Option<String>,
    queue: Option<String>,
    runtime: Option<f64>,
    has_eta: bool,
}

/// Whole microseconds, as a trace keeps them.
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

impl Made {
    fn record(&self) -> Record<'_> {
        match self {
            Made::Plain(record) => record.clone(),
            Made::Worker(made) => {
                let (pid, clock, timestamp, freq, active, processed) = made.numbers;
                let [ident, version, system] = &made.software;
                Record::Worker(WorkerEvent {
                    kind: made.kind,
                    hostname: &made.hostname,
                    pid,
                    clock,
                    timestamp: timestamp.map(seconds),
                    freq,
                    active,
                    processed,
                    sw_ident: ident.as_deref(),
                    sw_ver: version.as_deref(),
                    sw_sys: system.as_deref(),
                })
            }
            Made::Task(made) => Record::Task(TaskEvent {
                kind: made.kind,
                hostname: &made.hostname,
                timestamp: made.timestamp.map(seconds),
                uuid: &made.uuid,
                name: made.name.as_deref(),
                queue: made.queue.as_deref(),
                runtime: made.runtime,
                exception: None,
                has_eta: made.has_eta,
                retries: 0,
            }),
        }
    }
}

fn span() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_micros)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]@h[1-3]", ".{0,20}"]
}

fn worker() -> impl Strategy<Value = Made> {
    let kind = prop_oneof![
        Just(WorkerKind::Online),
        Just(WorkerKind::Heartbeat),
        Just(WorkerKind::Offline)
    ];
    let time = option::of(-4_000_000_000_000_000..4_000_000_000_000_000_i64);
    let numbers = (
        any::<Option<u32>>(),
        any::<Option<u64>>(),
        time,
        any::<Option<f64>>().prop_filter("comparable", |freq| freq.is_none_or(|freq| !freq.is_nan())),
        any::<Option<u64>>(),
        any::<Option<u64>>(),
    );
    let text = || option::of("[a-z]{0,6}");
    (kind, name(), numbers, [text(), text(), text()]).prop_map(|(kind, hostname, numbers, software)| {
        Made::Worker(MadeWorker {
            kind,
            hostname,
            numbers,
            software,
        })
    })
}

fn task() -> impl Strategy<Value = Made> {
    let kind = prop::sample::select(vec![
        TaskKind::Sent,
        TaskKind::Received,
        TaskKind::Started,
        TaskKind::Succeeded,
        TaskKind::Failed,
        TaskKind::Retried,
        TaskKind::Revoked,
        TaskKind::Rejected,
        TaskKind::Cancelled,
        TaskKind::Custom,
    ]);
    let uuid = prop_oneof!["[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[0-9A-F-]{0,40}"];
    let time = option::of(-4_000_000_000_000_000..4_000_000_000_000_000_i64);
    (
        kind,
        name(),
        time,
        uuid,
        option::of(name()),
        option::of(name()),
        option::of(0.0..1e9),
        any::<bool>(),
    )
        .prop_map(|(kind, hostname, timestamp, uuid, name, queue, runtime, has_eta)| {
            Made::Task(MadeTask {
                kind,
                hostname,
                timestamp,
                uuid,
                name,
                queue,
                runtime,
                has_eta,
            })
        })
}

fn told() -> impl Strategy<Value = Told> {
    let means = (
        any::<Option<u32>>(),
        option::of(0..u64::MAX),
        option::of(0..u64::MAX),
        option::of(0..u64::MAX),
        any::<Option<bool>>(),
    );
    let means = means.prop_map(|(slots, prefetch, time_limit, slowest_rate, serves_one)| Means {
        slots,
        prefetch,
        time_limit: time_limit.map(Duration::from_micros),
        slowest_rate: slowest_rate.map(Duration::from_micros),
        serves_one,
    });
    prop_oneof![
        prop::sample::select(vec![
            Pool::Prefork,
            Pool::Threads,
            Pool::Solo,
            Pool::Gevent,
            Pool::Eventlet,
            Pool::Other
        ])
        .prop_map(Told::Pool),
        vec(name(), 0..4).prop_map(|names| Told::Queues(names.into_iter().map(Into::into).collect())),
        means.prop_map(Told::Means),
        any::<u32>().prop_map(Told::Running),
        any::<u32>().prop_map(Told::Reserved),
        any::<u32>().prop_map(Told::Scheduled),
    ]
}

fn plain() -> impl Strategy<Value = Record<'static>> {
    let answer = (name(), option::of(span()), any::<u32>(), any::<Option<bool>>()).prop_map(
        |(hostname, answer, answers, present)| Answer {
            hostname: hostname.into(),
            answer,
            answers,
            present,
        },
    );
    let queue = (name(), any::<u64>(), any::<Option<u32>>()).prop_map(|(name, length, consumers)| QueueStatus {
        name: name.into(),
        length,
        consumers,
    });
    let source = ([name(), name(), name()], any::<bool>()).prop_map(|(texts, hides_presence)| {
        let [broker, address, version] = texts.map(Into::into);
        Source {
            broker,
            address,
            version,
            hides_presence,
        }
    });
    prop_oneof![
        source.prop_map(Record::Source),
        Just(Record::Tick),
        Just(Record::Opened),
        name().prop_map(|why| Record::Ended(why.into())),
        span().prop_map(Record::Canary),
        any::<bool>().prop_map(Record::Blocked),
        any::<u64>().prop_map(Record::Malformed),
        vec(answer, 0..5).prop_map(Record::Probed),
        Just(Record::Unprobed),
        vec((name().prop_map(Into::into), told()), 0..5).prop_map(Record::Told),
        vec(queue, 0..5).prop_map(Record::Queues),
        prop::collection::btree_set(any::<u64>(), 0..9).prop_map(|ids| Record::Connections(ids.into_iter().collect())),
        any::<Option<u32>>().prop_map(Record::Takers),
        vec((name().prop_map(Into::into), span()), 0..5).prop_map(Record::Found),
        Just(Record::End),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![plain().prop_map(Made::Plain), worker(), task()]
}

/// Records, each so many microseconds after the one before, and whether a frame ends behind it.
fn trace() -> impl Strategy<Value = Vec<(u32, bool, Made)>> {
    vec((any::<u32>(), prop::bool::weighted(0.2), made()), 0..40)
}

const START: Now = Now {
    mono: Mono::from_micros(5_000_000),
    wall: Wall::from_micros(1_768_000_000_000_000),
};

fn after(micros: u64) -> Now {
    let span = Duration::from_micros(micros);
    Now {
        mono: START.mono + span,
        wall: START.wall + span,
    }
}

fn file(frames: &[Frame]) -> Vec<u8> {
    let mut file = HEAD.to_vec();
    frames.iter().for_each(|frame| file.extend(frame.pack()));
    file
}

fn encoded(trace: &[(u32, bool, Made)]) -> Vec<Frame> {
    let mut encoder = Encoder::new();
    let (mut frames, mut micros) = (Vec::new(), 0);
    for (later, cut, made) in trace {
        micros += u64::from(*later);
        encoder.write(after(micros), &made.record());
        if *cut {
            frames.extend(encoder.take());
        }
    }
    frames.extend(encoder.take());
    frames
}

/// Everything that can be read, and how that ended.
fn read_all(file: &[u8], mut each: impl FnMut(Now, &Record<'_>)) -> Result<Ending, TraceError> {
    let mut reader = Reader::new(file)?;
    while let Some((now, record)) = reader.next()? {
        each(now, &record);
    }
    Ok(reader.ending())
}

fn ticks(count: u64) -> Vec<Frame> {
    let mut encoder = Encoder::new();
    let mut frames = Vec::new();
    for tick in 0..count {
        encoder.write(after(tick * 250_000), &Record::Tick);
        frames.extend(encoder.take());
    }
    frames
}

proptest! {
    #[test]
    fn what_is_written_is_read(trace in trace()) {
        let file = file(&encoded(&trace));
        let (mut place, mut micros) = (0, 0);
        let ending = read_all(&file, |now, record| {
            let (later, _, made) = &trace[place];
            micros += u64::from(*later);
            place += 1;
            assert_eq!(*record, made.record());
            assert_eq!(now, after(micros));
        }).unwrap();
        prop_assert_eq!(place, trace.len());
        let ended_well = matches!(trace.last(), Some((_, _, Made::Plain(Record::End))));
        prop_assert_eq!(ending, if ended_well { Ending::Whole } else { Ending::CutOff });
    }

    #[test]
    fn a_torn_tail_costs_the_last_frame_alone(trace in trace(), torn in any::<prop::sample::Index>()) {
        let frames = encoded(&trace);
        let whole = file(&frames);
        let cut = torn.index(whole.len() + 1 - HEAD.len()) + HEAD.len();
        let mut end = HEAD.len();
        let kept: Vec<&Frame> = frames.iter().take_while(|frame| { end += frame.pack().len(); end <= cut }).collect();
        let kept: Vec<Frame> = kept.into_iter().cloned().collect();
        let count = |file: &[u8]| { let mut count = 0; let ending = read_all(file, |_, _| count += 1).unwrap(); (count, ending) };
        let (expected, _) = count(&file(&kept));
        let (found, ending) = count(&whole[..cut]);
        prop_assert_eq!(found, expected);
        let clean = file(&kept).len() == cut;
        let is_torn = matches!(ending, Ending::Torn { at } if at == file(&kept).len() as u64);
        prop_assert_eq!(is_torn, !clean);
    }

    #[test]
    fn no_bytes_take_the_reader_down(bytes in vec(any::<u8>(), 0..300)) {
        let _ = read_all(&bytes, |_, _| {});
        let _ = read_all(&[&HEAD[..], &bytes].concat(), |_, _| {});
    }

    /// Past the checksum: whoever makes a file can make that too.
    #[test]
    fn no_records_take_the_reader_down(plain in vec(any::<u8>(), 0..300), second in vec(any::<u8>(), 0..300)) {
        let frames = [Frame { reset: true, plain }, Frame { reset: false, plain: second }];
        let _ = read_all(&file(&frames), |_, _| {});
    }

    #[test]
    fn no_changed_record_takes_the_reader_down(trace in trace(), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut frames = encoded(&trace);
        for (place, value) in flips {
            if let Some(frame) = frames.first_mut().filter(|frame| !frame.is_empty()) {
                let place = place.index(frame.plain.len());
                frame.plain[place] ^= value;
            }
        }
        let _ = read_all(&file(&frames), |_, _| {});
    }

    /// Whoever can make a file can make these: whatever is in it, a replay comes to its end.
    #[test]
    fn no_trace_takes_a_replay_down(trace in vec((any::<i64>(), prop::bool::weighted(0.1), made()), 0..60)) {
        let mut replay = Replay::new(RigSpec::discovering("main", Rules::default()));
        let mut now = START;
        for (later, far, made) in &trace {
            let micros = if *far { *later } else { later % 1_000_000 };
            now.mono = Mono::from_micros(now.mono.as_micros().saturating_add_signed(micros));
            now.wall = Wall::from_micros(now.wall.as_micros().saturating_add(micros));
            replay.take(now, &made.record());
        }
        replay.finish();
    }

    #[test]
    fn a_flipped_bit_in_a_frame_is_noticed(trace in trace(), place in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let frames = encoded(&trace);
        prop_assume!(frames.len() > 1);
        let mut file = file(&frames);
        let first = frames[0].pack().len();
        file[HEAD.len() + place.index(first)] ^= 1_u8 << bit;
        let read = read_all(&file, |_, _| {});
        let noticed = matches!(read, Err(TraceError::Damaged { at: 12, .. }));
        prop_assert!(noticed, "{read:?}");
    }
}

#[test]
fn damage_in_the_middle_is_an_error_with_its_place() {
    let frames = ticks(3);
    let mut file = file(&frames);
    let second = HEAD.len() + frames[0].pack().len();
    file[second + 18] ^= 1;
    let mut count = 0;
    let error = read_all(&file, |_, _| count += 1).unwrap_err();
    assert_eq!(count, 1);
    assert_eq!(
        error.to_string(),
        format!("it is damaged at byte {second}: a frame's checksum is wrong")
    );
}

/// It would reach past the end of the file, as that of a frame does which was not written to its end.
#[test]
fn a_wrong_length_in_the_middle_is_damage_and_no_torn_end() {
    let frames = ticks(3);
    let mut file = file(&frames);
    let second = HEAD.len() + frames[0].pack().len();
    file[second + 1] ^= 0x10;
    let error = read_all(&file, |_, _| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("it is damaged at byte {second}: the checksum of a frame's envelope is wrong")
    );
}

#[test]
fn a_file_that_ends_in_zeros_after_a_power_loss_is_torn() {
    let whole = file(&ticks(3));
    for zeros in [1, 13, 40, 9_000] {
        let mut count = 0;
        let ending = read_all(&[&whole[..], &vec![0; zeros]].concat(), |_, _| count += 1).unwrap();
        assert_eq!((count, ending), (3, Ending::Torn { at: whole.len() as u64 }), "{zeros}");
    }
}

#[test]
fn other_files_and_newer_ones_are_refused_in_words() {
    let refused = |file: &[u8]| read_all(file, |_, _| {}).unwrap_err().to_string();
    assert!(refused(b"").contains("no trace"));
    assert!(refused(b"SQLite format 3\0 and more").contains("no trace"));
    let mut newer = HEAD.to_vec();
    newer[8] = 2;
    assert!(refused(&newer).contains("version 2"), "{}", refused(&newer));
    newer[8] = 1;
    newer[9] = 9;
    assert_eq!(
        read_all(&newer, |_, _| {}).unwrap(),
        Ending::CutOff,
        "a newer minor version is read"
    );
}

#[test]
fn records_of_a_newer_minor_version_are_left_out_and_counted() {
    let mut encoder = Encoder::new();
    encoder.write(after(0), &Record::Tick);
    let mut frames = encoder.take();
    // Kind 99, one microsecond later, two bytes of body; then a tick one microsecond after that, with a field more.
    frames[0].plain.extend([99, 2, 2, 7, 7, 4, 2, 1, 9]);
    let file = file(&frames);
    let mut reader = Reader::new(&file[..]).unwrap();
    assert_eq!(reader.next().unwrap(), Some((after(0), Record::Tick)));
    assert_eq!(reader.next().unwrap(), Some((after(2), Record::Tick)));
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.unknown(), 1);
}

#[test]
fn a_frame_that_unpacks_to_more_than_it_says_is_refused() {
    let bomb = Frame {
        reset: true,
        plain: vec![0; 1 << 20],
    };
    let mut packed = bomb.pack();
    packed[4..8].copy_from_slice(&5_u32.to_le_bytes());
    let sum = checksum(&packed[..13]).to_le_bytes();
    packed[13..17].copy_from_slice(&sum);
    let file = [&HEAD[..], &packed, &packed].concat();
    let read = read_all(&file, |_, _| {});
    assert!(
        matches!(
            read,
            Err(TraceError::Damaged {
                why: "a frame cannot be unpacked",
                ..
            })
        ),
        "{read:?}"
    );
}

#[test]
fn tables_begin_anew_before_they_overflow() {
    let mut encoder = Encoder::new();
    let mut frames = Vec::new();
    let names = 250_000_u64;
    for number in 0..names {
        let hostname = format!("w@{number}");
        let event = WorkerEvent {
            kind: WorkerKind::Heartbeat,
            hostname: &hostname,
            pid: Some(1),
            clock: None,
            timestamp: None,
            freq: None,
            active: None,
            processed: None,
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
        };
        encoder.write(after(number), &Record::Worker(event));
        if number % 1_000 == 0 {
            frames.extend(encoder.take());
        }
    }
    frames.extend(encoder.take());
    assert!(frames.iter().filter(|frame| frame.reset).count() > 1);
    let mut number = 0;
    let ending = read_all(&file(&frames), |_, record| {
        let Record::Worker(event) = record else {
            panic!("{record:?}")
        };
        assert_eq!(event.hostname, format!("w@{number}"));
        number += 1;
    });
    assert_eq!((ending.unwrap(), number), (Ending::CutOff, names));
}

/// Four bytes a name in the file, a thousand in memory.
#[test]
fn names_that_would_fill_the_memory_are_refused() {
    let name = "q".repeat(1_000);
    let many = |count: usize| Record::Told(vec![("a@h".into(), Told::Queues(vec![name.as_str().into(); count]))]);
    let mut encoder = Encoder::new();
    encoder.write(after(0), &many(100_000));
    assert_eq!(encoder.left_out(), 1);
    encoder.write(after(1), &many(30_000));
    assert_eq!(encoder.left_out(), 1);
    let mut frames = encoder.take();
    read_all(&file(&frames), |_, _| {}).unwrap();
    // By another's hand: a record with the one name, number 0, a hundred thousand times.
    let mut body = vec![1, 0, 1];
    let mut queues = Vec::new();
    put_uint(&mut queues, 100_000);
    queues.resize(queues.len() + 100_000, 0);
    put_uint(&mut body, queues.len() as u64);
    body.extend(queues);
    let plain = &mut frames[0].plain;
    plain.truncate(0);
    for (kind, body) in [(1, name.as_bytes()), (14, &body)] {
        plain.extend([kind, 0]);
        put_uint(plain, body.len() as u64);
        plain.extend(body);
    }
    let refused = read_all(&file(&frames), |_, _| {}).unwrap_err().to_string();
    assert!(refused.contains("too many names"), "{refused}");
}

#[test]
fn a_record_that_no_frame_has_room_for_is_left_out_alone() {
    let mut encoder = Encoder::new();
    let told = |text: &str| vec![("a@h".into(), Told::Queues(vec![text.into()]))];
    let huge = (0..MAX_FRAME / 900).map(|number| (format!("{number:0900}").into(), Told::Running(1)));
    encoder.write(after(0), &Record::Told(told("first")));
    encoder.write(after(1), &Record::Told(huge.collect()));
    encoder.write(after(2), &Record::Told(told("first")));
    encoder.write(
        after(3),
        &Record::Connections((0..300_000).map(|id| id * 1_000_000).collect()),
    );
    encoder.write(
        after(4),
        &Record::Connections((0..300_000).map(|id| id * 999_983).collect()),
    );
    assert_eq!(encoder.left_out(), 1);
    let mut read = Vec::new();
    let ending = read_all(&file(&encoder.take()), |now, record| {
        read.push(match record {
            Record::Connections(ids) => (now, ids.len(), None),
            Record::Told(told) => (now, 0, Some(told.clone())),
            other => panic!("{other:?}"),
        });
    });
    assert_eq!(ending.unwrap(), Ending::CutOff);
    let first = Some(told("first"));
    let listed = 250_000;
    assert_eq!(
        read,
        [
            (after(0), 0, first.clone()),
            (after(2), 0, first),
            (after(3), listed, None),
            (after(4), listed, None)
        ]
    );
}

/// 100 workers that beat every two seconds for a minute, in frames of a second.
#[test]
fn a_heartbeat_takes_about_a_dozen_bytes() {
    let mut encoder = Encoder::new();
    let (mut bytes, mut events) = (HEAD.len(), 0);
    let mut random = 88_172_645_463_325_252_u64;
    let hosts: Vec<String> = (0..100)
        .map(|number| format!("sms@worker-{number:02}.example"))
        .collect();
    let mut clock = 1_000_u64;
    for second in 0..60_u64 {
        for (number, hostname) in hosts.iter().enumerate().skip((second % 2) as usize * 50).take(50) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let now = after(second * 1_000_000 + number as u64 % 50 * 20_000 + random % 7_000);
            clock += random % 9;
            let event = WorkerEvent {
                kind: WorkerKind::Heartbeat,
                hostname,
                pid: Some(7_000 + number as u32 * 31),
                clock: Some(clock),
                timestamp: Some(seconds(now.wall.as_micros() - 900 - (random >> 20) as i64 % 800)),
                freq: Some(2.0),
                active: Some(random >> 60 & 3),
                processed: Some(50_000 + second * 40 + number as u64 * 17),
                sw_ident: Some("py-celery"),
                sw_ver: Some("5.7.0"),
                sw_sys: Some("Linux"),
            };
            encoder.write(now, &Record::Worker(event));
            events += 1;
        }
        for quarter in 0..4 {
            encoder.write(after(second * 1_000_000 + 990_000 + quarter), &Record::Tick);
        }
        for frame in encoder.take() {
            bytes += frame.pack().len();
        }
    }
    let each = bytes as f64 / f64::from(events);
    assert!(each < 16.0, "{each}");
}
