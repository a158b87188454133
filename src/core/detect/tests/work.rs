//! Workers whose beats and answers are fine, and whose work may not be, on a virtual clock.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use proptest::prelude::*;

use crate::celery::inspect::Pool;
use crate::detect::*;
use crate::status::{QueueStatus, WorkerStatus};
use crate::time::{Mono, Now, Wall};

const STEP: u64 = 250;
const BEAT: u64 = 2_000;

/// What is true of a worker.
#[derive(Clone, Debug)]
struct Actual {
    pid: u32,
    pool: Pool,
    slots: u32,
    prefetch: u64,
    /// Queues that it believes it consumes.
    believes: Vec<CompactString>,
    /// Whether the broker has a consumer of it.
    consumes: bool,
    /// Whether the broker gives it nothing all the same: another is served.
    stands_by: bool,
    /// Whether it answers commands.
    answers: bool,
    /// Whether its pool hangs.
    hangs: bool,
    /// The least time between two tasks that it begins.
    rate: u64,
    began_last: u64,
    task: u64,
    /// When each of its tasks ends.
    running: Vec<u64>,
    reserved: u32,
    scheduled: u32,
    processed: u64,
}

struct World {
    fleet: FleetDetector,
    workers: BTreeMap<CompactString, Actual>,
    queues: BTreeMap<CompactString, u64>,
    /// A message comes to each queue this often; never, if zero.
    arrives: u64,
    /// Whether the broker tells consumers (RabbitMQ), or only whether anybody takes (Redis).
    rabbit: bool,
    ms: u64,
    /// Whether the queues serve one consumer at a time.
    serves_one: bool,
    looks: u64,
    stalled: Vec<(u64, CompactString, Option<Trouble>)>,
}

fn now(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(1_000_000_000 + ms * 1000),
        wall: Wall::from_micros(1_790_000_000_000_000 + i64::try_from(ms).unwrap() * 1000),
    }
}

impl World {
    fn new(workers: usize, slots: u32) -> Self {
        Self::of(workers, slots, Rules::default())
    }

    fn of(workers: usize, slots: u32, rules: Rules) -> Self {
        let spec = FleetSpec {
            name: "sms".into(),
            broker: "main".into(),
            expected: Expected::Auto,
            minimum: Minimum::OneWhileExpected,
            queues: Vec::new(),
            rules,
        };
        let mut world = Self {
            fleet: FleetDetector::new(spec, Vec::new(), now(0)),
            workers: BTreeMap::new(),
            queues: BTreeMap::from([("sms".into(), 0)]),
            arrives: 1_000,
            rabbit: true,
            ms: 0,
            looks: 0,
            stalled: Vec::new(),
            serves_one: false,
        };
        world.step(Input::Sight(Sight::Clear));
        for n in 0..workers {
            let actual = Actual {
                pid: 100 + u32::try_from(n).unwrap(),
                pool: Pool::Prefork,
                slots,
                prefetch: u64::from(slots) * 4,
                believes: vec!["sms".into()],
                consumes: true,
                stands_by: false,
                answers: true,
                hangs: false,
                rate: 0,
                began_last: 0,
                task: 300,
                running: Vec::new(),
                reserved: 0,
                scheduled: 0,
                processed: 0,
            };
            world.workers.insert(format!("sms@h{n}").into(), actual);
        }
        world
    }

    fn worker(&mut self, n: usize) -> &mut Actual {
        self.workers.get_mut(format!("sms@h{n}").as_str()).unwrap()
    }

    /// Makes a queue hold so much that nothing empties it.
    fn flood(&mut self, queue: &str) {
        self.queues.insert(queue.into(), 1_000_000);
    }

    fn work(&mut self) {
        let (ms, arrives) = (self.ms, self.arrives);
        for length in self.queues.values_mut() {
            if arrives > 0 && ms.is_multiple_of(arrives) {
                *length += 1;
            }
        }
        for worker in self.workers.values_mut() {
            if worker.hangs {
                continue;
            }
            worker.running.retain(|end| *end > ms);
            loop {
                let held = worker.running.len() as u64 + u64::from(worker.reserved) + u64::from(worker.scheduled);
                let free = (worker.running.len() as u64) < u64::from(worker.slots);
                let may = worker.consumes
                    && !worker.stands_by
                    && held < worker.prefetch
                    && ms >= worker.began_last + worker.rate;
                let believes = worker.believes.clone();
                let queue = believes
                    .iter()
                    .find(|queue| self.queues.get(*queue).is_some_and(|length| *length > 0));
                let Some(queue) = queue.filter(|_| free && may) else {
                    break;
                };
                *self.queues.get_mut(queue).unwrap() -= 1;
                worker.running.push(ms + worker.task);
                worker.began_last = ms;
                worker.processed += 1;
            }
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.fleet.step(now(self.ms), input, &mut outputs);
        for output in outputs {
            match output {
                Output::Probe(targets) => {
                    let probed = |target: &Target| {
                        let answers = self.workers.get(&target.hostname).is_some_and(|worker| worker.answers);
                        Probed {
                            answer: answers.then_some(Duration::from_millis(2)),
                            present: Some(true),
                        }
                    };
                    let probes: Vec<_> = targets.iter().map(|t| (t.hostname.clone(), probed(t))).collect();
                    self.step(Input::Probed(&probes));
                }
                Output::Learn(names) => {
                    for (name, worker) in self.answering(&names) {
                        let learned = Learned {
                            pool: Some(worker.pool),
                            queues: Some(worker.believes.clone()),
                        };
                        let means = Means {
                            slots: Some(worker.slots),
                            prefetch: Some(worker.prefetch),
                            time_limit: None,
                            slowest_rate: Some(Duration::from_millis(worker.rate)),
                            serves_one: Some(self.serves_one),
                        };
                        self.step(Input::Learned(&[(name.clone(), learned)]));
                        self.step(Input::Means(&[(name, means)]));
                    }
                }
                Output::LookAtWork(names) => {
                    self.looks += names.len() as u64;
                    let taking = |worker: &&Actual| worker.consumes && !worker.believes.is_empty() && !worker.hangs;
                    let takers = self.workers.values().filter(taking).count();
                    self.step(Input::Takers((!self.rabbit).then(|| u32::try_from(takers).unwrap())));
                    for (name, worker) in self.answering(&names) {
                        let look = WorkLook {
                            queues: Some(worker.believes.clone()),
                            running: Some(u32::try_from(worker.running.len()).unwrap()),
                            reserved: Some(worker.reserved),
                            scheduled: Some(worker.scheduled),
                        };
                        self.step(Input::Worked(&[(name, look)]));
                    }
                }
                Output::AskQueues(names) => {
                    let queues = names.into_iter().filter_map(|name| {
                        let consumers = |worker: &&Actual| worker.consumes && worker.believes.contains(&name);
                        let consumers = self.workers.values().filter(consumers).count();
                        Some(QueueStatus {
                            length: *self.queues.get(&name)?,
                            consumers: self.rabbit.then(|| u32::try_from(consumers).unwrap()),
                            name,
                        })
                    });
                    let queues = queues.collect();
                    self.step(Input::Queues(queues));
                }
                Output::Changed => {}
            }
        }
    }

    fn answering(&self, names: &[CompactString]) -> Vec<(CompactString, Actual)> {
        let answering = |name: &CompactString| Some((name.clone(), self.workers.get(name)?.clone()));
        let all = names.iter().filter_map(answering);
        all.filter(|(_, worker)| worker.answers).collect()
    }

    fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms += STEP;
            self.work();
            let busy_solo = |worker: &Actual| worker.pool == Pool::Solo && !worker.running.is_empty();
            let beats: Vec<_> = self
                .workers
                .iter()
                .enumerate()
                .filter(|(n, (_, worker))| (self.ms + *n as u64 * 370) % BEAT < STEP && !busy_solo(worker))
                .map(|(_, (name, worker))| self.beat(name, worker))
                .collect();
            self.step(Input::Sighted(&beats));
            self.step(Input::Tick);
            for worker in self.report() {
                let trouble = (worker.state == WorkerState::Stalled).then(|| self.trouble(&worker.hostname));
                let last = self.stalled.iter().rev().find(|(_, name, _)| *name == worker.hostname);
                if trouble.is_some() != last.is_some_and(|(_, _, trouble)| trouble.is_some()) {
                    self.stalled.push((self.ms, worker.hostname, trouble.flatten()));
                }
            }
        }
    }

    fn beat(&self, name: &CompactString, worker: &Actual) -> Sighting {
        Sighting {
            hostname: name.clone(),
            pid: Some(worker.pid),
            anew: false,
            word: Word::Nothing,
            beats: 1,
            tasks: 0,
            last: now(self.ms).mono,
            age: Duration::ZERO,
            interval: Some(Duration::from_millis(BEAT)),
            longest_gap: None,
            active: Some(worker.running.len() as u64),
            processed: Some(worker.processed),
            software: None,
            unfinished: None,
            shared: false,
        }
    }

    fn report(&self) -> Vec<WorkerStatus> {
        self.fleet.report(now(self.ms)).workers
    }

    fn detail(&self, n: usize) -> String {
        self.report()[n].signals.work.detail.clone()
    }

    fn trouble(&self, name: &CompactString) -> Option<Trouble> {
        self.fleet.worker(name).and_then(Worker::trouble)
    }

    /// When a worker was found stalled after `from`, and why.
    fn found(&self, n: usize, from: u64) -> Option<(u64, Trouble)> {
        let name = format!("sms@h{n}");
        let found = |(ms, worker, trouble): &(u64, CompactString, Option<Trouble>)| {
            (*worker == name && *ms > from).then_some(())?;
            Some((ms - from, (*trouble)?))
        };
        self.stalled.iter().find_map(found)
    }
}

#[test]
fn a_cancelled_consumer_is_found_within_twenty_seconds_and_its_return_seen() {
    for rabbit in [true, false] {
        let mut world = World::new(1, 2);
        world.rabbit = rabbit;
        world.run(60_000);
        assert_eq!(world.stalled, []);
        world.worker(0).believes.clear();
        world.run(30_000);
        let (found, trouble) = world.found(0, 60_000).unwrap();
        assert!(found <= 20_000, "{found} ms");
        assert_eq!(trouble, Trouble::ConsumerGone);
        assert!(
            world
                .detail(0)
                .starts_with("consumer gone: it says that it consumes sms no longer; "),
            "{}",
            world.detail(0)
        );
        world.worker(0).believes.push("sms".into());
        world.run(10_000);
        assert_eq!(world.report()[0].state, WorkerState::Up);
        world.run(120_000);
        assert_eq!(world.stalled.len(), 2, "{:?}", world.stalled);
    }
}

#[test]
fn a_consumer_that_is_lost_unknown_to_its_worker_is_found_within_twenty_seconds() {
    for rabbit in [true, false] {
        let mut world = World::new(1, 2);
        world.rabbit = rabbit;
        world.run(60_000);
        // A few messages, which it takes all at once when it is back.
        world.arrives = 0;
        world.queues.insert("sms".into(), 2);
        world.worker(0).consumes = false;
        world.run(40_000);
        let (found, trouble) = world.found(0, 60_000).unwrap();
        assert!(found <= 20_000, "{rabbit}: {found} ms");
        assert_eq!(trouble, Trouble::ConsumerGone);
        world.worker(0).consumes = true;
        world.run(10_000);
        assert_eq!(world.report()[0].state, WorkerState::Up);
    }
}

#[test]
fn one_of_many_that_has_lost_its_consumer_is_found_by_the_count_of_consumers() {
    let mut world = World::new(8, 1);
    world.arrives = 250;
    world.run(60_000);
    world.flood("sms");
    world.run(60_000);
    world.worker(3).consumes = false;
    world.run(40_000);
    let (found, trouble) = world.found(3, 120_000).unwrap();
    assert!(found <= 20_000, "{found} ms");
    assert_eq!(trouble, Trouble::ConsumerGone);
    assert_eq!(world.stalled.len(), 1, "and nobody else: {:?}", world.stalled);
}

/// The broker gives everything to the first, and the second stands by: a healthy consumer that takes nothing.
#[test]
fn who_stands_by_at_a_queue_that_serves_one_consumer_is_in_peace() {
    let stalled = |serves_one: bool, alone: bool| {
        let mut world = World::new(if alone { 1 } else { 2 }, 2);
        world.serves_one = serves_one;
        world.run(60_000);
        world.flood("sms");
        let last = world.workers.len() - 1;
        world.worker(last).stands_by = true;
        world.run(300_000);
        world.found(last, 60_000).map(|(_, trouble)| trouble)
    };
    assert_eq!(stalled(true, false), None);
    assert_eq!(
        stalled(false, false),
        Some(Trouble::NotTaking),
        "of any other queue it should take"
    );
    assert_eq!(
        stalled(true, true),
        Some(Trouble::NotTaking),
        "who is alone does not stand by"
    );
}

#[test]
fn one_of_many_that_takes_nothing_is_found_by_its_peers() {
    let mut world = World::new(8, 2);
    world.rabbit = false;
    world.flood("sms");
    world.run(120_000);
    world.worker(3).consumes = false;
    world.run(120_000);
    let (found, trouble) = world.found(3, 120_000).unwrap();
    assert!(found <= 75_000, "{found} ms");
    assert_eq!(trouble, Trouble::NotTaking);
    assert!(world.detail(3).contains("its peers go on"), "{}", world.detail(3));
    assert_eq!(world.stalled.len(), 1, "{:?}", world.stalled);
    world.worker(3).consumes = true;
    world.run(10_000);
    assert_eq!(world.report()[3].state, WorkerState::Up);
}

#[test]
fn a_hung_pool_is_stuck_after_ten_minutes() {
    let mut world = World::new(2, 2);
    world.flood("sms");
    world.run(60_000);
    world.worker(0).hangs = true;
    world.run(590_000);
    assert_eq!(world.stalled, []);
    world.run(60_000);
    assert_eq!(world.found(0, 60_000).unwrap().1, Trouble::Stuck);
    assert!(
        world.detail(0).starts_with("stuck: 2 tasks run, "),
        "{}",
        world.detail(0)
    );
    world.worker(0).hangs = false;
    world.run(5_000);
    assert_eq!(world.report()[0].state, WorkerState::Up);
}

#[test]
fn runs_that_have_been_seen_to_end_are_no_hang() {
    let mut world = World::new(1, 1);
    world.flood("sms");
    world.worker(0).task = 500_000;
    world.run(600_000);
    world.worker(0).task = 1_500_000;
    world.run(4_000_000);
    assert_eq!(world.stalled, []);
}

#[test]
fn a_long_run_is_remembered_through_ordinary_work() {
    let mut world = World::new(1, 1);
    world.flood("sms");
    world.worker(0).task = 500_000;
    world.run(520_000);
    world.worker(0).task = 300;
    world.run(1_200_000);
    // The nightly one again, and longer.
    world.worker(0).task = 1_500_000;
    world.run(1_600_000);
    assert_eq!(world.stalled, []);
}

#[test]
fn a_stalled_worker_may_fall_and_is_then_down() {
    let mut world = World::new(1, 2);
    world.run(60_000);
    world.worker(0).consumes = false;
    world.run(30_000);
    let name = CompactString::from("sms@h0");
    assert!(world.fleet.worker(&name).unwrap().is_stalled() && world.fleet.worker(&name).unwrap().is_alive());
    world.workers.clear();
    for _ in 0..200 {
        world.ms += STEP;
        world.step(Input::Tick);
    }
    assert_eq!(world.report()[0].state, WorkerState::Down);
    assert_eq!(world.trouble(&name), None);
}

#[test]
fn what_was_stalled_before_a_restart_is_stalled_after_it_without_a_recovery_between() {
    let mut world = World::new(1, 2);
    world.run(60_000);
    world.worker(0).believes.clear();
    world.run(30_000);
    let memory = world.fleet.memory("redis://h");
    let memory: FleetMemory = serde_json::from_str(&serde_json::to_string(&memory).unwrap()).unwrap();
    world.fleet = FleetDetector::new(world.fleet.spec().clone(), memory, now(world.ms));
    assert_eq!(world.report()[0].state, WorkerState::Unknown);
    world.step(Input::Sight(Sight::Clear));
    for _ in 0..240 {
        world.run(STEP);
        assert_eq!(world.report()[0].state, WorkerState::Stalled);
    }
    assert!(
        world.detail(0).starts_with("consumer gone: it says"),
        "{}",
        world.detail(0)
    );
    world.worker(0).believes.push("sms".into());
    world.run(10_000);
    assert_eq!(world.report()[0].state, WorkerState::Up);
}

/// Each of these is idle or busy by right, for an hour.
#[test]
fn who_is_idle_or_busy_by_right_is_left_in_peace() {
    type Case = (&'static str, fn(&mut World));
    let cases: [Case; 13] = [
        ("an empty queue", |world| world.arrives = 0),
        ("an empty queue that nobody consumes", |world| {
            world.arrives = 0;
            world.worker(0).believes.clear();
        }),
        ("a message now and then", |world| world.arrives = 600_000),
        ("tasks that wait for their time fill what it may hold", |world| {
            world.flood("sms");
            for n in 0..2 {
                let worker = world.worker(n);
                worker.scheduled = u32::try_from(worker.prefetch).unwrap();
            }
        }),
        ("a rate limit", |world| {
            world.flood("sms");
            for n in 0..2 {
                world.worker(n).rate = 360_000;
            }
        }),
        ("a busy pool", |world| {
            world.flood("sms");
            for n in 0..2 {
                world.worker(n).task = 300_000;
            }
        }),
        ("a solo pool that is busy", |world| {
            world.flood("sms");
            for n in 0..2 {
                world.worker(n).slots = 1;
                world.worker(n).pool = Pool::Solo;
                world.worker(n).task = 500_000;
            }
        }),
        ("one slot runs a long task, the others work", |world| {
            world.flood("sms");
            let end = world.ms + 10_000_000;
            world.worker(0).running.push(end);
        }),
        ("remote control off", |world| {
            world.flood("sms");
            for n in 0..2 {
                world.worker(n).answers = false;
            }
        }),
        ("remote control off, and another's queue waits", |world| {
            world.queues.insert("other".into(), 1_000_000);
            world.worker(0).answers = false;
            world.worker(1).believes.push("other".into());
        }),
        ("a queue of its own that it took up later", |world| {
            world.queues.insert("mine".into(), 0);
            world.worker(0).believes.push("mine".into());
        }),
        ("a queue of its own that is gone", |world| {
            world.queues.insert("mine".into(), 7);
            world.worker(0).believes.push("mine".into());
            world.run(5_000);
            world.worker(0).believes.pop();
            world.queues.remove("mine");
        }),
        ("a backlog that goes down", |world| {
            world.arrives = 0;
            world.queues.insert("sms".into(), 3_000);
        }),
    ];
    for rabbit in [true, false] {
        for (name, prepare) in &cases {
            let mut world = World::new(2, 2);
            world.rabbit = rabbit;
            prepare(&mut world);
            world.run(3_600_000);
            assert_eq!(world.stalled, [], "{name}");
        }
    }
}

#[test]
fn nothing_is_said_of_work_while_blind_or_just_after() {
    let mut world = World::new(1, 2);
    world.run(60_000);
    world.step(Input::Sight(Sight::Blind));
    world.worker(0).consumes = false;
    world.flood("sms");
    for _ in 0..400 {
        world.ms += STEP;
        world.step(Input::Tick);
    }
    assert_eq!(world.trouble(&"sms@h0".into()), None);
    world.step(Input::Sight(Sight::ClearAfterOutage(Duration::from_secs(100))));
    let clear = world.ms;
    world.run(20_000);
    assert_eq!(world.found(0, clear), None, "it gets time to come back");
    world.run(40_000);
    assert!(world.found(0, clear).is_some());
}

#[test]
fn without_remote_control_the_counts_of_its_beats_have_to_do() {
    let spec = |world: &World| FleetSpec {
        queues: vec!["sms".into()],
        ..world.fleet.spec().clone()
    };
    let mut world = World::new(1, 2);
    world.fleet = FleetDetector::new(spec(&world), Vec::new(), now(0));
    world.step(Input::Sight(Sight::Clear));
    world.worker(0).answers = false;
    world.run(120_000);
    world.worker(0).consumes = false;
    world.run(290_000);
    assert_eq!(world.stalled, [], "what would explain it cannot be asked for");
    world.run(60_000);
    assert_eq!(world.found(0, 120_000).unwrap().1, Trouble::NotTaking);
    assert_eq!(world.looks, 0);
}

#[test]
fn a_healthy_busy_fleet_is_hardly_ever_asked() {
    let mut world = World::new(10, 2);
    world.flood("sms");
    world.run(600_000);
    assert_eq!(world.looks, 0);
}

proptest! {
    #![proptest_config(crate::property::cases(48))]

    /// Whatever the tasks, slots and load are: who consumes is never stalled.
    #[test]
    fn who_consumes_is_never_stalled(
        slots in 1_u32..5,
        tasks in prop::collection::vec(250_u64..400_000, 1..4),
        arrives in prop_oneof![Just(0_u64), 1_u64..40, 40_u64..4_000].prop_map(|n| n * STEP),
        backlog in prop_oneof![Just(0_u64), 0_u64..200, Just(1_000_000)],
        rates in prop::collection::vec(prop_oneof![3 => Just(0_u64), 1 => 1_000_u64..500_000], 3),
        scheduled in 0_u32..20,
        rabbit: bool,
    ) {
        let mut world = World::new(tasks.len(), slots);
        world.arrives = arrives;
        world.rabbit = rabbit;
        world.queues.insert("sms".into(), backlog);
        for (n, task) in tasks.iter().enumerate() {
            let worker = world.worker(n);
            worker.task = *task;
            worker.rate = rates[n];
            worker.scheduled = scheduled;
        }
        world.run(3_000_000);
        prop_assert_eq!(&world.stalled, &[]);
    }
}
