//! The scenarios that are played by many fleets at once, each fleet being a run of its own. (A broker's outage is in
//! `outage.rs`.)

use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Worker, WorkerOptions, control, send_tasks};
use serde_json::json;

use crate::outcome::{Outcome, Truth};
use crate::stage::{Crew, Fleet, Shape, Watch};
use crate::table::Row;

/// Longer than any verdict takes: after it nothing more comes of what was.
const AFTERWARDS: Duration = Duration::from_secs(20);
const HEALTHY_WITHIN: Duration = Duration::from_secs(120);
const EXIT_WITHIN: Duration = Duration::from_secs(60);
const TASK_WITHIN: Duration = Duration::from_secs(120);
const BUSY_SECONDS: u64 = 60;
/// How long both of two workers with one name run before one is killed.
const TOGETHER: Duration = Duration::from_secs(30);

/// What happens to one fleet.
type Play = fn(&Scenario, &Watch, &mut Fleet) -> Outcome;

/// One scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// What `ONLY` takes.
    pub(crate) name: &'static str,
    /// What the table says.
    pub(crate) title: &'static str,
    pub(crate) shape: Shape,
    pub(crate) truth: Truth,
    /// Between the beginnings of two runs: beyond the 3 s within which losses are one incident, so that each is its own.
    spacing: Duration,
    play: Play,
}

const fn found(word: &'static str, diagnoses: &'static [&'static str]) -> Truth {
    Truth::Found { word, diagnoses }
}

/// All of them, in the order in which those of one shape are played with the same workers.
pub(crate) const SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "sigkill",
        title: "SIGKILL of one of two workers",
        shape: Shape::Pairs,
        truth: found("DEGRADED", &["crashed"]),
        spacing: Duration::from_secs(8),
        play: sigkill,
    },
    Scenario {
        name: "sigstop",
        title: "SIGSTOP for 40 s",
        shape: Shape::Pairs,
        truth: found("DEGRADED", &["frozen"]),
        spacing: Duration::from_secs(5),
        play: sigstop,
    },
    Scenario {
        name: "half_open",
        title: "half-open connection for 50 s",
        shape: Shape::Pairs,
        truth: found("DEGRADED", &["frozen", "unreachable"]),
        spacing: Duration::from_secs(5),
        play: half_open,
    },
    Scenario {
        name: "half_open_short",
        title: "half-open connection for 8 s",
        shape: Shape::Pairs,
        truth: Truth::Quiet,
        spacing: Duration::from_secs(2),
        play: half_open_short,
    },
    Scenario {
        name: "reset",
        title: "connections reset, back in 1–4 s",
        shape: Shape::Pairs,
        truth: Truth::Quiet,
        spacing: Duration::from_secs(2),
        play: reset,
    },
    // Leaves its workers under other names: the last of its shape.
    Scenario {
        name: "rolling",
        title: "rolling deploy under new names",
        shape: Shape::Pairs,
        truth: Truth::Quiet,
        spacing: Duration::from_secs(3),
        play: rolling,
    },
    Scenario {
        name: "stalled",
        title: "consumer cancelled, tasks wait",
        shape: Shape::Singles,
        truth: found("STALLED", &["stalled"]),
        spacing: Duration::from_secs(8),
        play: stalled,
    },
    Scenario {
        name: "solo_busy",
        title: "solo pool busy for 60 s",
        shape: Shape::Solos,
        truth: Truth::Quiet,
        spacing: Duration::ZERO,
        play: solo_busy,
    },
    Scenario {
        name: "twins",
        title: "two workers with one name",
        shape: Shape::Twins,
        truth: Truth::Quiet,
        spacing: Duration::ZERO,
        play: twins,
    },
    Scenario {
        name: "twin_killed",
        title: "two workers with one name, one is killed",
        shape: Shape::Twins,
        truth: Truth::Quiet,
        spacing: Duration::from_secs(4),
        play: twin_killed,
    },
];

impl Scenario {
    /// Whether it can be played on this broker: RabbitMQ lets nobody have a name that is taken.
    pub(crate) fn is_for(&self, broker: &Broker) -> bool {
        self.name != "twin_killed" || matches!(broker, Broker::Redis(_))
    }

    /// Plays it with every fleet of a crew, under a new Headcount.
    pub(crate) fn play(&self, crew: &mut Crew) -> Row {
        let mut row = Row::new(self.name, self.title, crew.broker.kind(), self.truth);
        let watch = Watch::begin(crew);
        let names: Vec<String> = crew.fleets.iter().map(|fleet| fleet.name.clone()).collect();
        row.outcomes = std::thread::scope(|scope| {
            let watch = &watch;
            let runs: Vec<_> = (0_u32..)
                .zip(&mut crew.fleets)
                .map(|(run, fleet)| {
                    scope.spawn(move || {
                        std::thread::sleep(self.spacing * run);
                        (self.play)(self, watch, fleet)
                    })
                })
                .collect();
            runs.into_iter()
                .map(|run| run.join().unwrap_or_else(|panic| Outcome::broken(panic.as_ref())))
                .collect()
        });
        std::thread::sleep(AFTERWARDS);
        // It was silent because all was well, and not because it was blind.
        for (name, outcome) in names.iter().zip(&mut row.outcomes) {
            let healthy = || watch.headcount.wait_fleet(name, "healthy", HEALTHY_WITHIN);
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(healthy));
            if let (Err(panic), None) = (seen, &outcome.broke) {
                outcome.broke = Outcome::broken(panic.as_ref()).broke;
            }
        }
        row.hear(&names, &watch.told());
        row
    }
}

fn sigkill(scenario: &Scenario, watch: &Watch, fleet: &mut Fleet) -> Outcome {
    let name = fleet.name.clone();
    let victim = std::cell::RefCell::new(fleet.victim());
    let (kill, restart) = (|| victim.borrow().sigkill(), || victim.borrow_mut().restart());
    Outcome::of_fault(watch, scenario.truth, &name, Duration::ZERO, kill, restart)
}

fn sigstop(scenario: &Scenario, watch: &Watch, fleet: &mut Fleet) -> Outcome {
    let name = fleet.name.clone();
    let victim = fleet.victim();
    let (stop, go) = (|| victim.sigstop(), || victim.sigcont());
    Outcome::of_fault(watch, scenario.truth, &name, Duration::from_secs(40), stop, go)
}

fn half_open(scenario: &Scenario, watch: &Watch, fleet: &mut Fleet) -> Outcome {
    let network = fleet.network();
    let (hold, release) = (|| network.hold(), || network.release());
    Outcome::of_fault(
        watch,
        scenario.truth,
        &fleet.name,
        Duration::from_secs(50),
        hold,
        release,
    )
}

fn half_open_short(_: &Scenario, _: &Watch, fleet: &mut Fleet) -> Outcome {
    fleet.network().hold();
    std::thread::sleep(Duration::from_secs(8));
    fleet.network().release();
    Outcome::default()
}

fn reset(_: &Scenario, _: &Watch, fleet: &mut Fleet) -> Outcome {
    assert_ne!(fleet.network().reset(), 0, "there was no connection");
    fleet
        .victim()
        .process()
        .wait_line("Connection to broker lost", TASK_WITHIN);
    Outcome::default()
}

fn rolling(_: &Scenario, watch: &Watch, fleet: &mut Fleet) -> Outcome {
    let name = &fleet.name;
    let new: Vec<Worker> = (0..fleet.workers.len())
        .map(|n| Worker::launch(&fleet.url, &format!("{name}@new{n}.{name}"), WorkerOptions::default()))
        .collect();
    for worker in &new {
        worker.wait_ready();
        watch.headcount.wait_worker(worker.hostname(), "up", HEALTHY_WITHIN);
    }
    for old in std::mem::replace(&mut fleet.workers, new) {
        assert!(old.warm_shutdown(EXIT_WITHIN).success());
    }
    Outcome::default()
}

/// The time counts from when both are so: its consumer is gone, and tasks wait.
fn stalled(scenario: &Scenario, watch: &Watch, fleet: &mut Fleet) -> Outcome {
    let (queue, url) = (fleet.name.clone(), fleet.url.clone());
    let hostname = fleet.victim().hostname().to_owned();
    let cancel = || {
        control(&url, &hostname, "cancel_consumer", &json!({"queue": queue}));
        let task = |n| (queue.as_str(), "add", json!([n, 1]));
        send_tasks(&url, &[task(1), task(2), task(3)]);
        Instant::now()
    };
    let add = || {
        control(&url, &hostname, "add_consumer", &json!({"queue": queue}));
        Instant::now()
    };
    let outcome = Outcome::of_fault(watch, scenario.truth, &fleet.name, Duration::ZERO, cancel, add);
    fleet.victim().wait_received(3, TASK_WITHIN);
    outcome
}

fn solo_busy(_: &Scenario, _: &Watch, fleet: &mut Fleet) -> Outcome {
    send_tasks(&fleet.url, &[(&fleet.name, "sleep", json!([BUSY_SECONDS]))]);
    fleet.victim().process().wait_line("succeeded in 6", TASK_WITHIN);
    Outcome::default()
}

/// On Redis both run all the time. On RabbitMQ a second one is refused, which must not count against the first.
fn twins(_: &Scenario, _: &Watch, fleet: &mut Fleet) -> Outcome {
    if fleet.workers.len() == 1 {
        let hostname = fleet.victim().hostname().to_owned();
        let second = Worker::launch(&fleet.url, &hostname, WorkerOptions::default());
        let status = second.process().wait_exit(TASK_WITHIN);
        assert!(!status.success(), "the second one was not refused: {status}");
    }
    std::thread::sleep(TOGETHER);
    Outcome::default()
}

fn twin_killed(_: &Scenario, _: &Watch, fleet: &mut Fleet) -> Outcome {
    fleet.victim().sigkill();
    Outcome::default()
}
