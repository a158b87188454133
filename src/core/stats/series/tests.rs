use std::time::Duration;

use super::*;
use crate::celery::{TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::detect::roster::Roster;
use crate::detect::table::WorkerTable;
use crate::stats::tally::Tally;
use crate::time::{Mono, Wall};
use TaskKind::{Failed, Received, Rejected, Retried, Revoked, Sent, Started, Succeeded};
use proptest::prelude::*;

/// A lane, and the book that it hands over to.
struct Line {
    table: WorkerTable,
    tally: Tally,
    book: Book,
    now: Mono,
}

impl Line {
    fn new(limits: Limits) -> Self {
        Self {
            table: WorkerTable::new(Roster::discovering()),
            tally: Tally::default(),
            book: Book::new(limits),
            now: Mono::from_micros(1),
        }
    }

    fn event(&mut self, event: TaskEvent<'_>) {
        let seat = self.table.task(self.now, &event);
        self.tally.count(Wall::from_micros(1), seat, &event);
    }

    fn task(&mut self, kind: TaskKind, hostname: &str, uuid: &str, name: Option<&str>, at: f64) {
        self.event(TaskEvent {
            hostname,
            timestamp: Some(at),
            ..TaskEvent::sample(kind, uuid, name)
        });
    }

    fn worker(&mut self, kind: WorkerKind, hostname: &str) {
        let event = WorkerEvent {
            kind,
            hostname,
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
        let seat = self.table.worker(self.now, &event);
        self.tally.worker(seat, &event);
    }

    fn hand_over(&mut self) {
        self.tally.hand_over(self.now, "main", &mut self.book);
    }

    fn cell(&self, hostname: &str, task: &str, queue: &str) -> Option<&Cell> {
        let mut sources = self.book.sources();
        let (_, source) = sources.find(|(name, _)| *name == hostname)?;
        let (_, series) = source.tasks().find(|(name, _)| *name == task)?;
        series.queues().find(|(name, _)| *name == queue).map(|(_, cell)| cell)
    }

    fn series(&self, hostname: &str, task: &str) -> &TaskSeries {
        let (_, source) = self.book.sources().find(|(name, _)| *name == hostname).unwrap();
        source.tasks().find(|(name, _)| *name == task).unwrap().1
    }

    fn names(&self) -> Vec<&str> {
        self.book.sources().map(|(name, _)| name).collect()
    }
}

fn sent<'a>(uuid: &'a str, name: &'a str, queue: &'a str, at: f64) -> TaskEvent<'a> {
    TaskEvent {
        hostname: "gen17@web1",
        timestamp: Some(at),
        queue: Some(queue),
        ..TaskEvent::sample(Sent, uuid, Some(name))
    }
}

#[test]
fn a_task_counts_under_its_name_queue_worker_and_exception() {
    let mut line = Line::new(Limits::default());
    line.event(sent("a", "sms.send", "sms", 1.0));
    line.task(Received, "sms@h1", "a", Some("sms.send"), 2.0);
    line.task(Started, "sms@h1", "a", None, 4.0);
    line.event(TaskEvent {
        runtime: Some(0.3),
        ..TaskEvent::sample(Succeeded, "a", None)
    });
    // Nothing is known of its queue.
    line.task(Received, "sms@h1", "b", Some("sms.send"), 2.0);
    line.event(TaskEvent {
        exception: Some("ValueError"),
        ..TaskEvent::sample(Failed, "b", None)
    });
    line.task(Failed, "sms@h1", "c", None, 3.0);
    line.hand_over();
    line.hand_over();

    let done = line.cell("sms@h1", "sms.send", "sms").unwrap();
    let counts = |cell: &Cell| TaskKind::ALL.map(|kind| cell.of(kind));
    assert_eq!(counts(done), [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!((done.runtime.count(), done.runtime.sum()), (1, 0.3));
    assert_eq!((done.queue_wait.count(), done.queue_wait.sum()), (1, 3.0));
    let failed = line.cell("sms@h1", "sms.send", UNKNOWN_QUEUE).unwrap();
    assert_eq!(failed.failures().collect::<Vec<_>>(), [("ValueError", 1)]);
    let unknown = line.cell("sms@h1", UNKNOWN_TASK, UNKNOWN_QUEUE).unwrap();
    assert_eq!(unknown.failures().collect::<Vec<_>>(), [(UNKNOWN_EXCEPTION, 1)]);
    // A producer is its host: its process id would make a series of each.
    let sent = line.cell("web1", "sms.send", "sms").unwrap();
    assert_eq!(counts(sent), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(!sent.is_at_worker() && done.is_at_worker());
}

/// `task-received` carries no queue, and `task-sent`, which does, may come later.
#[test]
fn what_a_worker_of_one_queue_receives_is_of_that_queue() {
    let mut line = Line::new(Limits::default());
    let known = |one| Known::from([("sms@h1", one), ("both@h1", None), ("web1", Some("sms"))]);
    let received = |line: &mut Line, uuid: &str, hostname: &str| {
        line.task(Received, hostname, uuid, Some("t"), 2.0);
    };
    line.book.know(line.now, &known(Some("sms")));
    received(&mut line, "a", "sms@h1");
    received(&mut line, "b", "both@h1");
    // A host of producers is nobody's worker, whatever it is called.
    line.event(TaskEvent {
        hostname: "gen17@web1",
        ..TaskEvent::sample(Sent, "c", Some("t"))
    });
    line.event(TaskEvent {
        exception: Some("ValueError"),
        hostname: "sms@h1",
        ..TaskEvent::sample(Failed, "a", None)
    });
    line.hand_over();
    let cell = line.cell("sms@h1", "t", "sms").unwrap();
    assert_eq!(
        (cell.of(Received), cell.failures().next()),
        (1, Some(("ValueError", 1)))
    );
    assert!(line.cell("both@h1", "t", UNKNOWN_QUEUE).is_some() && line.cell("web1", "t", UNKNOWN_QUEUE).is_some());
    // What is heard of it goes before what is thought.
    line.event(sent("d", "t", "other", 1.0));
    received(&mut line, "d", "sms@h1");
    // And once it consumes others too, it may be of any of them.
    line.hand_over();
    line.book.know(line.now, &known(None));
    received(&mut line, "e", "sms@h1");
    line.hand_over();
    let of = |queue| line.cell("sms@h1", "t", queue).map(|cell| cell.of(Received));
    assert_eq!(["sms", "other", UNKNOWN_QUEUE].map(of), [Some(1); 3]);
}

#[test]
fn a_wait_that_was_wanted_is_no_wait_in_the_queue() {
    let mut line = Line::new(Limits::default());
    let eta = |event| TaskEvent {
        has_eta: true,
        eta: Some(100.0),
        ..event
    };
    line.event(eta(sent("a", "t", "q", 1.0)));
    line.event(eta(TaskEvent {
        timestamp: Some(2.0),
        ..TaskEvent::sample(Received, "a", Some("t"))
    }));
    line.task(Started, "sms@h1", "a", None, 100.5);
    // Clocks that contradict each other.
    line.event(sent("b", "t", "q", 9.0));
    line.task(Received, "sms@h1", "b", Some("t"), 5.0);
    line.task(Started, "sms@h1", "b", None, 5.0);
    // Nothing says when it was sent.
    line.task(Received, "sms@h1", "c", Some("t"), 5.0);
    line.task(Started, "sms@h1", "c", None, 7.0);
    line.hand_over();
    let wait = line.cell("sms@h1", "t", "q").unwrap().queue_wait;
    assert_eq!((wait.count(), wait.sum()), (2, 0.5));
    assert_eq!(line.cell("sms@h1", "t", UNKNOWN_QUEUE).unwrap().queue_wait.count(), 0);
    // Flower's gauge is of the last that was not to wait.
    assert_eq!(line.series("sms@h1", "t").prefetch(), Some(2.0));
}

#[test]
fn who_holds_how_many_tasks_goes_up_and_down() {
    let mut line = Line::new(Limits::default());
    let held = |line: &mut Line| {
        line.hand_over();
        line.series("sms@h1", "t").held()
    };
    for uuid in ["a", "b", "c", "d"] {
        line.task(Received, "sms@h1", uuid, Some("t"), 1.0);
    }
    assert_eq!(held(&mut line), Some(4));
    line.task(Started, "sms@h1", "a", None, 2.0);
    line.task(Revoked, "sms@h1", "b", None, 2.0);
    assert_eq!(held(&mut line), Some(2));
    // Another worker has got it.
    line.task(Received, "sms@h2", "c", Some("t"), 3.0);
    assert_eq!(held(&mut line), Some(1));
    // What it held before it started anew is no longer its.
    line.worker(WorkerKind::Heartbeat, "sms@h1");
    assert_eq!(held(&mut line), Some(1));
    line.worker(WorkerKind::Online, "sms@h1");
    assert_eq!(held(&mut line), Some(0));
    line.task(Received, "sms@h1", "d", Some("t"), 4.0);
    assert_eq!(held(&mut line), Some(1));
    assert_eq!(line.series("sms@h2", "t").held(), Some(1));
    line.task(Succeeded, "sms@h1", "a", None, 2.0);
    line.hand_over();
    assert_eq!(line.series("sms@h1", "t").prefetch(), Some(0.0));
}

#[test]
fn each_label_has_a_bound_beyond_which_is_other() {
    let limits = Limits {
        workers: 3,
        tasks: 2,
        queues: 2,
        exceptions: 2,
        series: 100,
    };
    let mut line = Line::new(limits);
    for n in 0..6 {
        let (hostname, uuid) = (format!("sms@h{n}"), n.to_string());
        let (task, queue, class) = (format!("t{n}"), format!("q{n}"), format!("E{n}"));
        line.event(sent(&uuid, &task, &queue, 1.0));
        line.task(Received, &hostname, &uuid, Some(&task), 2.0);
        line.event(TaskEvent {
            hostname: &hostname,
            exception: Some(&class),
            ..TaskEvent::sample(Failed, &uuid, None)
        });
        line.hand_over();
    }
    assert_eq!(line.names(), ["other", "sms@h0", "sms@h1", "web1"]);
    let folded: Vec<u64> = Label::ALL.iter().map(|label| line.book.folded(*label)).collect();
    // Two of a worker for each of h2 to h5; two and the one of their producer for each of t2 to t5, and of q2 to q5.
    assert_eq!(folded, [8, 12, 12, 4, 0]);
    assert_eq!(line.cell("other", "other", "other").unwrap().of(Received), 4);
    assert_eq!(line.cell("sms@h0", "t0", "q0").unwrap().of(Failed), 1);
    let other = line.cell("other", "other", "other").unwrap();
    assert_eq!(other.failures().collect::<Vec<_>>(), [("other", 4)]);
}

#[test]
fn all_combinations_have_a_bound_too() {
    let mut line = Line::new(Limits {
        series: 2,
        ..Limits::default()
    });
    for (n, task) in ["a", "b", "c", "d", "c"].into_iter().enumerate() {
        line.task(Received, "sms@h1", &n.to_string(), Some(task), 1.0);
        line.hand_over();
    }
    assert_eq!(line.book.folded(Label::Series), 3);
    assert_eq!(line.cell("other", "other", "other").unwrap().of(Received), 3);
    assert_eq!(line.cell("sms@h1", "b", UNKNOWN_QUEUE).unwrap().of(Received), 1);
}

#[test]
fn a_lane_has_a_bound_between_two_hand_overs() {
    let mut line = Line::new(Limits {
        workers: usize::MAX,
        series: usize::MAX,
        ..Limits::default()
    });
    let more = 7;
    for n in 0..gather::MAX_ROWS + more {
        line.task(Started, &format!("sms@h{n}"), &n.to_string(), None, 1.0);
    }
    line.hand_over();
    assert_eq!(line.book.folded(Label::Series), more as u64);
    let started: u64 = line
        .book
        .sources()
        .flat_map(|(_, source)| source.tasks())
        .flat_map(|(_, series)| series.queues())
        .map(|(_, cell)| cell.of(Started))
        .sum();
    assert_eq!(started, (gather::MAX_ROWS + more) as u64);
    // There is room again.
    line.task(Started, "sms@new", "new", None, 1.0);
    line.hand_over();
    assert!(line.names().contains(&"sms@new"));
}

#[test]
fn hosts_of_producers_have_a_bound_and_are_never_mistaken() {
    let mut line = Line::new(Limits {
        workers: usize::MAX,
        series: usize::MAX,
        ..Limits::default()
    });
    let send = |line: &mut Line, n: usize| {
        let (hostname, uuid) = (format!("gen1@web{n}"), n.to_string());
        line.event(TaskEvent {
            hostname: &hostname,
            ..sent(&uuid, "t", "q", 1.0)
        });
    };
    for n in 0..gather::MAX_PRODUCERS + 3 {
        send(&mut line, n);
    }
    line.task(Received, "sms@h1", "0", Some("t"), 2.0);
    line.hand_over();
    assert_eq!(line.book.folded(Label::Series), 3);
    // Their numbers are given anew, and the names are right.
    for n in [7_000, 7_001, 0] {
        send(&mut line, n);
    }
    line.hand_over();
    let count = |host: &str| line.cell(host, "t", "q").map(|cell| cell.of(Sent));
    let counts = ["web0", "web1", "web7000", "web7001", "other"].map(count);
    assert_eq!(counts, [Some(2), Some(1), Some(1), Some(1), None]);
    assert_eq!(line.cell("other", "other", "other").unwrap().of(Sent), 3);
    assert_eq!(line.series("sms@h1", "t").held(), Some(1));
}

#[test]
fn series_of_a_worker_end_when_it_is_no_longer_known() {
    let mut line = Line::new(Limits::default());
    let after = |line: &mut Line, passed: Duration, known: &[&str]| {
        line.now = line.now + passed;
        let known: Known<'_> = known.iter().map(|name| (*name, None)).collect();
        line.book.know(line.now, &known);
        line.names().join(" ")
    };
    line.event(sent("a", "t", "q", 1.0));
    for hostname in ["sms@h1", "sms@h2", "sms@h3"] {
        line.task(Started, hostname, hostname, None, 1.0);
    }
    line.hand_over();
    let second = Duration::from_secs(1);
    // The third is not in the status model yet.
    let all = "sms@h1 sms@h2 sms@h3 web1";
    assert_eq!(after(&mut line, second, &["sms@h1", "sms@h2"]), all);
    // For a moment nobody is: an aggregator that starts anew.
    assert_eq!(after(&mut line, second, &[]), all);
    assert_eq!(after(&mut line, RETIRED_AFTER / 2, &["sms@h1", "sms@h2"]), all);
    assert_eq!(after(&mut line, second, &["sms@h1"]), all);
    assert_eq!(after(&mut line, RETIRED_AFTER, &["sms@h1"]), "sms@h1 sms@h3 web1");
    assert_eq!(after(&mut line, UNSEEN_FOR, &["sms@h1"]), "sms@h1");
    // The room of those who left is given back.
    assert_eq!((line.book.cells(), line.book.names_in_use()), (1, [1, 1, 0]));
    line.task(Started, "sms@h2", "x", None, 1.0);
    line.hand_over();
    assert_eq!(line.cell("sms@h2", UNKNOWN_TASK, UNKNOWN_QUEUE).unwrap().of(Started), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes and whenever it is handed over: every event counts once, and no count ever falls.
    #[test]
    fn counts_are_exact_and_only_grow(
        events in prop::collection::vec((0_usize..8, 0_u8..6, 0_u8..5, 0_u8..4, any::<bool>()), 0..150),
        series in 1_usize..12,
    ) {
        let kinds = [Sent, Received, Started, Succeeded, Failed, Retried, Revoked, Rejected];
        let limits = Limits { workers: 3, tasks: 3, queues: 2, exceptions: 2, series };
        let mut line = Line::new(limits);
        let mut counted = 0_u64;
        let mut before = 0_u64;
        for (kind, id, host, name, hand_over) in &events {
            let (uuid, hostname, name) = (id.to_string(), format!("sms@h{host}"), format!("t{name}"));
            let event = TaskEvent {
                hostname: &hostname,
                timestamp: Some(f64::from(*id)),
                queue: Some(&name),
                exception: Some(&name),
                ..TaskEvent::sample(kinds[*kind], &uuid, Some(&name))
            };
            let seat = line.table.task(line.now, &event);
            counted += u64::from(seat.is_some() || kinds[*kind] == Sent);
            line.tally.count(Wall::from_micros(1), seat, &event);
            if *hand_over {
                line.hand_over();
                let now = total(&line.book);
                prop_assert!(now >= before);
                before = now;
            }
        }
        line.hand_over();
        prop_assert_eq!(total(&line.book), counted);
        prop_assert!(line.book.cells() <= series + 1);
        prop_assert!(line.names().len() <= 4);
        let cells = line.book.sources().flat_map(|(_, source)| source.tasks()).flat_map(|(_, task)| task.queues());
        for (_, cell) in cells {
            prop_assert_eq!(cell.failures().map(|(_, n)| n).sum::<u64>(), cell.of(Failed));
        }
    }
}

fn total(book: &Book) -> u64 {
    let cells = book
        .sources()
        .flat_map(|(_, source)| source.tasks())
        .flat_map(|(_, task)| task.queues());
    cells
        .map(|(_, cell)| TaskKind::ALL.iter().map(|kind| cell.of(*kind)).sum::<u64>())
        .sum()
}
