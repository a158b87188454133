//! What a worker has, from its events to what is said of it: events go through the table of the lane, as in the daemon.

use std::time::Duration;

use compact_str::CompactString;
use proptest::prelude::*;

use crate::celery::inspect::Pool;
use crate::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::detect::roster::Roster;
use crate::detect::table::WorkerTable;
use crate::detect::*;
use crate::status::{QueueStatus, WorkerStatus};
use crate::time::{Mono, Now, Wall};

/// A lane and a fleet, 250 ms by 250 ms.
struct Line {
    table: WorkerTable,
    fleet: FleetDetector,
    ms: u64,
    clock: u64,
    /// Whether the worker answers, and whether the broker shows it.
    answers: bool,
    present: Option<bool>,
    /// What its beats say that it has accepted.
    processed: u64,
    /// What they say that it runs.
    running: u64,
    /// What it says it consumes, if it says anything. Messages wait in every queue.
    consumes: Option<CompactString>,
    /// How often it was asked.
    probes: u32,
}

fn now(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(1_000_000_000 + ms * 1000),
        wall: Wall::from_micros(1_790_000_000_000_000 + i64::try_from(ms).unwrap() * 1000),
    }
}

impl Line {
    fn new() -> Self {
        let spec = FleetSpec {
            name: "sms".into(),
            broker: "main".into(),
            expected: Expected::Auto,
            minimum: Minimum::OneWhileExpected,
            queues: Vec::new(),
            rules: Rules::default(),
        };
        let mut line = Self {
            table: WorkerTable::new(Roster::discovering()),
            fleet: FleetDetector::new(spec, Vec::new(), now(0)),
            ms: 0,
            clock: 0,
            answers: true,
            present: Some(true),
            processed: 7,
            running: 0,
            consumes: None,
            probes: 0,
        };
        line.step(Input::Sight(Sight::Clear));
        line
    }

    fn step(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.fleet.step(now(self.ms), input, &mut outputs);
        for output in outputs {
            match (output, self.consumes.clone()) {
                (Output::Probe(targets), _) => {
                    self.probes += 1;
                    let probed = Probed {
                        answer: self.answers.then_some(Duration::from_millis(2)),
                        present: self.present,
                    };
                    let probes: Vec<_> = targets.into_iter().map(|target| (target.hostname, probed)).collect();
                    self.step(Input::Probed(&probes));
                }
                (Output::Learn(names), Some(queue)) => {
                    let learned = Learned {
                        pool: Some(Pool::Prefork),
                        queues: Some(vec![queue]),
                    };
                    self.step(Input::Learned(&[(names[0].clone(), learned)]));
                }
                (Output::LookAtWork(names), Some(queue)) => {
                    let look = WorkLook {
                        queues: Some(vec![queue]),
                        running: Some(0),
                        reserved: Some(0),
                        scheduled: Some(0),
                    };
                    self.step(Input::Worked(&[(names[0].clone(), look)]));
                }
                (Output::AskQueues(names), Some(_)) => {
                    let waiting = |name| QueueStatus {
                        name,
                        length: 5,
                        consumers: Some(1),
                    };
                    self.step(Input::Queues(names.into_iter().map(waiting).collect()));
                }
                _ => {}
            }
        }
    }

    /// Lets time pass without a word, and says when in that time it was found down.
    fn falls_within(&mut self, ms: u64) -> Option<u64> {
        let from = self.ms;
        while self.ms < from + ms {
            self.quiet(250);
            if self.worker().state == WorkerState::Down {
                return Some(self.ms - from);
            }
        }
        None
    }

    /// An event of the worker's process `pid`, that was sent `held` ms ago by a clock of its own.
    fn say(&mut self, kind: WorkerKind, pid: u32, held: u64) {
        self.clock += 1;
        let event = WorkerEvent {
            kind,
            hostname: "sms@h1",
            pid: Some(pid),
            clock: Some(self.clock),
            timestamp: Some((self.ms as f64 - held as f64) / 1e3 + 5_000.0),
            freq: Some(2.0),
            active: Some(self.running),
            processed: Some(self.processed),
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
        };
        self.table.worker(now(self.ms).mono, &event);
    }

    /// A beat of another process, whose clock goes wrong by so many ms.
    fn skewed(&mut self, pid: u32, by: u64) {
        self.say(WorkerKind::Heartbeat, pid, by);
    }

    fn beat(&mut self) {
        self.say(WorkerKind::Heartbeat, 1, 0);
    }

    fn task(&mut self, kind: TaskKind, uuid: &str, name: Option<&str>) {
        let event = TaskEvent {
            timestamp: Some(self.ms as f64 / 1e3 + 5_000.0),
            ..TaskEvent::sample(kind, uuid, name)
        };
        self.table.task(now(self.ms).mono, &event);
    }

    fn begin(&mut self, uuid: &str, name: &str) {
        self.task(TaskKind::Received, uuid, Some(name));
        self.task(TaskKind::Started, uuid, None);
    }

    /// Lets time pass, in which `every` 2 s something happens.
    fn run(&mut self, ms: u64, mut every: impl FnMut(&mut Self)) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms += 250;
            if self.ms.is_multiple_of(2_000) {
                every(self);
            }
            if self.ms.is_multiple_of(1_000) {
                self.table.notice_silence(now(self.ms).mono);
            }
            let mut sightings = Vec::new();
            self.table.drain(|_, sighting| {
                sightings.push(sighting);
                true
            });
            self.step(Input::Sighted(&sightings));
            self.step(Input::Tick);
        }
    }

    fn quiet(&mut self, ms: u64) {
        self.run(ms, |_| {});
    }

    fn worker(&self) -> WorkerStatus {
        self.fleet.report(now(self.ms)).workers.swap_remove(0)
    }

    fn evidence(&self) -> Vec<String> {
        let verdict = self.fleet.report(now(self.ms)).verdict;
        verdict.evidence.into_iter().map(|evidence| evidence.says).collect()
    }
}

#[test]
fn a_flush_of_old_beats_does_not_bring_back_who_is_gone() {
    let mut line = Line::new();
    line.run(60_000, Line::beat);
    let last = line.ms;
    line.answers = false;
    line.present = None;
    // What it had sent before it died waits on its way for 8 s, and comes at once.
    line.quiet(8_000);
    for held in (0..4).rev() {
        line.say(WorkerKind::Heartbeat, 1, 6_000 + held * 500);
    }
    line.quiet(500);
    assert_eq!(line.worker().state, WorkerState::Suspect);
    let seen = line.worker().last_seen_ms(line.ms);
    assert!(seen.abs_diff(last + 2_000) <= 250, "what its newest proves: {seen}");
    while line.worker().state == WorkerState::Suspect {
        line.quiet(250);
    }
    let fell = line.ms - (last + 2_000);
    assert!((14_000..=16_000).contains(&fell), "{fell} ms after its last sign");
}

impl WorkerStatus {
    fn last_seen_ms(&self, _: u64) -> u64 {
        let micros = self.signals.heartbeat.last.unwrap().as_micros() - now(0).wall.as_micros();
        u64::try_from(micros / 1_000).unwrap()
    }
}

#[test]
fn tasks_that_were_running_when_it_vanished_are_named() {
    let mut line = Line::new();
    line.run(20_000, Line::beat);
    for (uuid, name) in [
        ("a", "sms.send"),
        ("b", "sms.send"),
        ("c", "sms.purge"),
        ("d", "sms.done"),
    ] {
        line.begin(uuid, name);
    }
    line.task(TaskKind::Received, "e", Some("sms.waits"));
    line.task(TaskKind::Succeeded, "d", None);
    line.answers = false;
    line.present = Some(false);
    line.quiet(15_000);
    assert_eq!(line.worker().diagnosis, Some(Diagnosis::Crashed));
    let left = "left 3 tasks behind: sms.send x2, sms.purge";
    assert!(line.evidence().iter().any(|says| says == left), "{:?}", line.evidence());
    // It comes back, as another process: nothing is left of them.
    line.answers = true;
    line.present = Some(true);
    line.run(20_000, |line| line.say(WorkerKind::Heartbeat, 2, 0));
    assert_eq!(line.worker().state, WorkerState::Up);
    assert!(!line.worker().signals.work.detail.contains("behind"));
}

#[test]
fn who_said_goodbye_with_tasks_under_way_is_draining_until_they_end() {
    let mut line = Line::new();
    line.run(20_000, Line::beat);
    line.begin("a", "sms.send");
    line.begin("b", "sms.purge");
    line.say(WorkerKind::Offline, 1, 0);
    line.quiet(15_000);
    assert_eq!(line.worker().state, WorkerState::Offline);
    assert_eq!(
        line.worker().signals.work.detail,
        "draining, 2 tasks: sms.purge, sms.send"
    );
    line.task(TaskKind::Succeeded, "a", None);
    line.quiet(1_000);
    assert_eq!(line.worker().signals.work.detail, "draining, 1 task: sms.purge");
    line.task(TaskKind::Succeeded, "b", None);
    line.quiet(1_000);
    assert_eq!(line.worker().signals.work.detail, "it said goodbye");
    assert_eq!(
        line.worker().state,
        WorkerState::Offline,
        "and its tasks did not bring it back"
    );
}

#[test]
fn who_does_not_beat_is_judged_by_its_answers() {
    let mut line = Line::new();
    line.begin("a", "sms.send");
    line.quiet(600_000);
    assert_eq!(line.worker().state, WorkerState::Up);
    let detail = line.worker().signals.heartbeat.detail;
    assert_eq!(
        detail,
        "it does not beat (--without-heartbeat?), and is judged by its answers"
    );
    // Between two questions it is never suspected.
    for _ in 0..240 {
        line.quiet(250);
        assert_eq!(line.worker().state, WorkerState::Up);
    }
    // Nor is it missed while it reconnects, whenever that falls between two questions.
    for ms in 0..20 {
        line.quiet(5_000 + ms * 250);
        (line.answers, line.present) = (false, Some(false));
        line.quiet(4_000);
        assert_eq!(line.worker().diagnosis, None);
        (line.answers, line.present) = (true, Some(true));
    }
    line.quiet(10_000);
    (line.answers, line.present) = (false, Some(false));
    line.quiet(12_000);
    assert_eq!(line.worker().diagnosis, Some(Diagnosis::Crashed));
    (line.answers, line.present) = (true, Some(true));
    line.quiet(30_000);
    assert_eq!(line.worker().state, WorkerState::Up);
    line.answers = false;
    line.quiet(30_000);
    assert_eq!(line.worker().diagnosis, Some(Diagnosis::Frozen));
}

#[test]
fn who_neither_beats_nor_sends_events_is_found_by_its_answer_and_missed_like_others() {
    let mut line = Line::new();
    line.quiet(60_000);
    let found = [("sms@h1".into(), Duration::from_millis(3))];
    line.step(Input::Found(&found));
    line.quiet(600_000);
    assert_eq!(line.worker().state, WorkerState::Up);
    (line.answers, line.present) = (false, Some(false));
    line.quiet(15_000);
    assert_eq!(line.worker().diagnosis, Some(Diagnosis::Crashed));
    // An answer to all that was on its way is not one of three in a row.
    line.step(Input::Found(&found));
    assert_eq!(line.worker().diagnosis, Some(Diagnosis::Crashed));
}

#[test]
fn who_is_known_by_its_tasks_alone_is_not_missed_while_idle() {
    let mut line = Line::new();
    line.answers = false;
    line.present = Some(false);
    line.begin("a", "sms.send");
    line.quiet(3_600_000);
    assert_eq!(line.worker().diagnosis, None);
    assert_eq!(
        line.worker().signals.heartbeat.detail,
        "it does not beat (--without-heartbeat?)"
    );
}

#[test]
fn remote_control_that_is_off_and_events_that_are_not_sent_are_said() {
    let mut line = Line::new();
    line.answers = false;
    line.present = Some(false);
    line.run(60_000, Line::beat);
    let worker = line.worker();
    assert_eq!(worker.state, WorkerState::Up);
    assert_eq!(worker.signals.answer.ok, None);
    assert!(
        worker.signals.answer.detail.starts_with("it has never answered"),
        "{worker:?}"
    );
}

#[test]
fn who_goes_deaf_while_its_beats_come_is_up_and_its_answer_is_missing() {
    let mut line = Line::new();
    line.run(60_000, Line::beat);
    line.answers = false;
    line.run(60_000, Line::beat);
    let worker = line.worker();
    assert_eq!((worker.state, worker.signals.answer.ok), (WorkerState::Up, Some(false)));
    assert!(
        worker.signals.answer.detail.ends_with("it is deaf to commands"),
        "{worker:?}"
    );
}

#[test]
fn two_processes_under_one_name_are_noticed_though_their_clocks_differ() {
    let mut line = Line::new();
    line.run(60_000, |line| {
        line.beat();
        line.skewed(2, 40_000);
    });
    let worker = line.worker();
    assert_eq!(worker.state, WorkerState::Up);
    assert!(
        worker
            .signals
            .heartbeat
            .detail
            .ends_with("two processes share this name"),
        "{worker:?}"
    );
}

#[test]
fn two_processes_under_one_name_are_noticed_and_a_restart_is_none() {
    let mut line = Line::new();
    line.run(20_000, Line::beat);
    line.say(WorkerKind::Online, 2, 0);
    line.run(30_000, |line| line.say(WorkerKind::Heartbeat, 2, 0));
    assert!(!line.worker().signals.heartbeat.detail.contains("share"));
    let mut turn = 0;
    line.run(30_000, |line| {
        turn += 1;
        line.say(WorkerKind::Heartbeat, 2 + turn % 2, 0);
    });
    let worker = line.worker();
    assert_eq!(worker.state, WorkerState::Up);
    assert!(
        worker
            .signals
            .heartbeat
            .detail
            .ends_with("two processes share this name"),
        "{worker:?}"
    );
    line.run(90_000, |line| line.say(WorkerKind::Heartbeat, 2, 0));
    assert!(
        !line.worker().signals.heartbeat.detail.contains("share"),
        "one of them has gone"
    );
}

/// The broker ceases to say who is connected, or it cannot be told: what it said before the silence is no evidence.
#[test]
fn an_old_connection_is_no_presence() {
    for after_last_beat in [0, 500, 1_000, 1_500] {
        let mut line = Line::new();
        line.run(60_000, Line::beat);
        line.quiet(after_last_beat);
        assert_eq!(line.worker().signals.presence.ok, Some(true));
        (line.answers, line.present) = (false, None);
        line.quiet(45_000);
        let worker = line.worker();
        assert_eq!(worker.diagnosis, Some(Diagnosis::Unreachable));
        assert_eq!(worker.signals.presence.ok, None);
        let detail = &worker.signals.presence.detail;
        assert!(detail.starts_with("its connection has not been seen since"), "{detail}");
        assert!(line.evidence().contains(detail), "{:?}", line.evidence());
    }
    // One that is seen in its silence is there.
    let mut line = Line::new();
    line.run(60_000, Line::beat);
    line.answers = false;
    line.quiet(45_000);
    assert_eq!(line.worker().diagnosis, Some(Diagnosis::Frozen));
    assert_eq!(line.worker().signals.presence.ok, Some(true));
}

#[test]
fn whose_mailbox_is_gone_and_who_beats_is_not_missed_by_its_mailbox() {
    let mut line = Line::new();
    line.run(60_000, Line::beat);
    (line.answers, line.present) = (false, Some(false));
    line.run(20_000, Line::beat);
    let presence = line.worker().signals.presence.detail;
    assert_eq!(presence, "the broker does not show its connection");
    let before = line.probes;
    line.run(60_000, Line::beat);
    let probes = line.probes - before;
    assert!(
        probes <= 14,
        "asked {probes} times in a minute, as others are every 5 s"
    );
    assert_eq!(line.falls_within(8_000), None, "a pause");
    line.run(20_000, Line::beat);
    assert_eq!(line.worker().state, WorkerState::Up);
    // Its silence is found all the same, later.
    assert!(line.falls_within(20_000).is_some());
}

#[test]
fn whose_mailbox_is_back_is_missed_by_it_again() {
    let mut line = Line::new();
    line.run(60_000, Line::beat);
    (line.answers, line.present) = (false, Some(false));
    line.run(60_000, Line::beat);
    (line.answers, line.present) = (true, Some(true));
    line.run(10_000, Line::beat);
    (line.answers, line.present) = (false, Some(false));
    let fell = line.falls_within(20_000).unwrap();
    assert!(fell <= 7_000, "{fell} ms");
    assert_eq!(line.worker().diagnosis, Some(Diagnosis::Crashed));
}

#[test]
fn a_connection_that_was_wrongly_charged_for_a_moment_costs_no_time_later() {
    let mut line = Line::new();
    line.run(60_000, Line::beat);
    for _ in 0..3 {
        (line.answers, line.present) = (false, Some(false));
        line.quiet(4_000);
        (line.answers, line.present) = (true, Some(true));
        line.run(10_000, Line::beat);
    }
    (line.answers, line.present) = (false, Some(false));
    let fell = line.falls_within(20_000).unwrap();
    assert!(fell <= 7_000, "{fell} ms");
}

#[test]
fn who_crashes_just_after_its_beat_is_found_as_soon_as_others() {
    for after in (250..2_000).step_by(250) {
        let mut line = Line::new();
        line.run(60_000, Line::beat);
        (line.answers, line.present) = (false, Some(false));
        // Its last beat is heard after the broker has first said that it is gone.
        line.quiet(after);
        line.beat();
        let fell = line.falls_within(20_000).unwrap();
        assert!(fell <= 7_000, "{fell} ms");
    }
}

#[test]
fn a_new_process_without_remote_control_is_not_missed_by_the_mailbox_of_the_old_one() {
    for pid in [2, 1] {
        let mut line = Line::new();
        line.run(60_000, Line::beat);
        (line.answers, line.present) = (false, Some(false));
        line.clock = 0;
        line.processed = 0;
        line.say(WorkerKind::Online, pid, 0);
        line.run(4_000, |line| line.say(WorkerKind::Heartbeat, pid, 0));
        assert_eq!(line.falls_within(8_000), None, "pid {pid}");
    }
}

/// A process that takes the place of another, under the same pid (as in a container), and consumes another queue.
#[test]
fn what_an_old_process_consumed_is_not_asked_of_a_new_one_under_the_same_pid() {
    for (online, processed) in [(true, 7), (true, 0), (false, 0)] {
        let mut line = Line::new();
        line.consumes = Some("old".into());
        line.run(30_000, |line| {
            line.processed += 1;
            line.beat();
        });
        line.clock = 0;
        line.processed = processed;
        line.consumes = Some("new".into());
        if online {
            line.say(WorkerKind::Online, 1, 0);
        }
        line.run(50_000, |line| {
            line.processed += 1;
            line.beat();
        });
        assert_eq!(
            line.worker().state,
            WorkerState::Up,
            "{online} {processed}: {:?}",
            line.worker()
        );
    }
}

#[test]
fn a_reconnect_is_no_new_process() {
    let mut line = Line::new();
    line.consumes = Some("old".into());
    line.run(30_000, Line::beat);
    line.say(WorkerKind::Offline, 1, 0);
    line.quiet(1_000);
    line.say(WorkerKind::Online, 1, 0);
    // After it, it consumes another queue: nobody meant that.
    line.consumes = Some("other".into());
    line.run(60_000, Line::beat);
    assert_eq!(line.worker().state, WorkerState::Stalled, "{:?}", line.worker());
}

proptest! {
    #![proptest_config(crate::property::cases(32))]

    /// Who goes on beating while the broker says it is gone, and pauses for no more than 10 s, is never down.
    #[test]
    fn pauses_are_no_crash_though_the_mailbox_is_gone(
        pauses in prop::collection::vec((1_u64..10, 1_u64..=32), 1..12),
    ) {
        let mut line = Line::new();
        line.run(60_000, Line::beat);
        (line.answers, line.present) = (false, Some(false));
        line.run(20_000, Line::beat);
        for (beats, pause) in pauses {
            line.run(beats * 2_000, Line::beat);
            prop_assert_eq!(line.falls_within(pause * 250), None);
        }
    }
}

/// It neither beats nor answers: nothing more of it is ever known while it is idle, and it is not missed.
#[test]
fn who_tells_of_tasks_alone_is_left_in_peace_after_a_restart_and_an_outage() {
    let mut line = Line::new();
    line.answers = false;
    line.present = None;
    line.run(20_000, |line| {
        line.begin("a", "sms.send");
        line.task(TaskKind::Succeeded, "a", None);
    });
    assert_eq!(line.worker().state, WorkerState::Up);
    let memory = line.fleet.memory("redis://h");
    line.fleet = FleetDetector::new(line.fleet.spec().clone(), memory, now(line.ms));
    line.step(Input::Sight(Sight::Clear));
    line.quiet(600_000);
    assert!(line.worker().state != WorkerState::Down, "{:?}", line.worker().state);
    assert_eq!(line.fleet.report(now(line.ms)).verdict.fleet.state, FleetState::Healthy);
    line.step(Input::Sight(Sight::Blind));
    line.step(Input::Sight(Sight::ClearAfterOutage(std::time::Duration::from_secs(
        20,
    ))));
    line.quiet(600_000);
    assert_eq!(line.fleet.report(now(line.ms)).verdict.fleet.state, FleetState::Healthy);
}

/// Remote control is switched off: a solo pool would have answered within so long, and does not beat at work.
#[test]
fn who_beat_steadily_and_never_answered_is_no_busy_solo_pool() {
    for at_work in [false, true] {
        let mut line = Line::new();
        line.answers = false;
        line.present = None;
        line.run(if at_work { 6_000 } else { 62_000 }, Line::beat);
        if at_work {
            line.running = 1;
            line.beat();
        }
        line.quiet(20_000);
        assert_eq!(line.worker().state, WorkerState::Down, "{at_work}");
    }
}

/// Redis shows connections at first, and cannot tell whose have vanished once it was killed: that is no word for it, and its
/// silence is not excused as that of a solo pool whose connection stands.
#[test]
fn who_was_killed_before_it_ever_answered_is_down_after_a_minute_if_nobody_saw_its_connection_stand() {
    for stands in [false, true] {
        let mut line = Line::new();
        line.answers = false;
        line.run(7_000, Line::beat);
        // Its last look comes between a beat and the next.
        let probes = line.probes;
        while line.probes == probes || line.ms.is_multiple_of(2_000) {
            line.run(250, Line::beat);
        }
        assert_eq!(line.worker().signals.presence.ok, Some(true), "before a beat is due");
        line.present = stands.then_some(true);
        line.quiet(10_000);
        assert_eq!(line.worker().state, WorkerState::Suspect);
        assert_eq!(line.worker().signals.presence.ok, stands.then_some(true));
        line.quiet(60_000);
        let state = line.worker().state;
        let expected = if stands {
            WorkerState::Suspect
        } else {
            WorkerState::Down
        };
        assert_eq!(
            state, expected,
            "one whose connection stands may be a solo pool at work"
        );
        line.quiet(600_000);
        assert_eq!(line.worker().state, WorkerState::Down, "but not for ever");
    }
}
