//! The event lane from end to end: `cargo bench --bench event_lane`.
//!
//! A real Redis and a real RabbitMQ, the real daemon as its users start it, and a generator in a process of its own that
//! publishes heartbeats of many workers in Celery's wire form. All is measured from outside. *Live* runs publish while the
//! daemon drains; *backlog* runs stop the daemon, fill its queue to just under its bound, and let it go.
//!
//! ```text
//! cargo bench --bench event_lane -- [--only TEXT] [--seconds S] [--workers N] [--rate R] [--rounds N] [--program PATH]
//! cargo bench --bench event_lane -- --cost ROUNDS [--program PATH]
//! ```
//!
//! `--only` picks the runs whose name holds TEXT; `--workers` and `--rate` (0: as fast as it goes) change those that were
//! picked; `--rounds` repeats them; `--program` is another build of `headcount`, to compare with. Exit code 1: something
//! was lost that should not have been. `--cost` measures something else: what it costs events of tasks that Headcount tells of
//! them and of itself (`cost.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

mod amqp;
mod cost;
mod generator;
mod heartbeat;
mod run;
mod tasks;
mod usage;
mod wire;

use std::process::ExitCode;

use headcount_testkit::Broker;
use run::{Mode, Plan, Seen, Verdict};

/// The floors that `docs/performance.md` promises, in events a second.
const REDIS_FLOOR: u64 = 150_000;
const RABBITMQ_FLOOR: u64 = 50_000;

/// Just under the bound of the daemon's queue on RabbitMQ, so that nothing may be lost.
const BACKLOG: u64 = 95_000;

/// The first argument of the process that generates.
const GENERATE: &str = "generate";

#[derive(Debug, Default)]
struct Options {
    only: String,
    seconds: Option<u64>,
    workers: Option<usize>,
    rate: Option<u64>,
    rounds: usize,
    /// Rounds of the other bench; 0 is this one.
    cost: usize,
    program: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == GENERATE) {
        println!("{}", generator::generate(&generator::Order::parse(&arguments[1..])));
        return ExitCode::SUCCESS;
    }
    // `cargo bench` says so; `cargo test --all-targets` does not, and does not want to wait for figures of a debug build.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing measured: cargo bench --bench event_lane");
        return ExitCode::SUCCESS;
    }
    let options = options(arguments);
    if options.cost > 0 {
        return cost::measure(&options.program, options.cost);
    }
    measure(&options)
}

fn options(arguments: Vec<String>) -> Options {
    let mut options = Options {
        rounds: 1,
        program: env!("CARGO_BIN_EXE_headcount").into(),
        ..Options::default()
    };
    let mut arguments = arguments.into_iter().filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} needs a number"));
        match name.as_str() {
            "--only" => options.only = value,
            "--seconds" => options.seconds = Some(number()),
            "--workers" => options.workers = Some(number() as usize),
            "--rate" => options.rate = Some(number()),
            "--rounds" => options.rounds = number() as usize,
            "--cost" => options.cost = number() as usize,
            "--program" => options.program = value,
            _ => panic!("what is {name}? See the top of benches/event_lane/main.rs"),
        }
    }
    options
}

/// What is run by default: name, mode and workers. In under three minutes.
fn plans() -> Vec<(&'static str, Plan)> {
    let live = |rate, workers| Plan {
        mode: Mode::Live { rate, seconds: 8 },
        workers,
    };
    let backlog = Plan {
        mode: Mode::Backlog { events: BACKLOG },
        workers: 1_000,
    };
    vec![
        ("Redis live paced", live(REDIS_FLOOR, 1_000)),
        ("Redis live paced, many workers", live(REDIS_FLOOR, 20_000)),
        ("Redis live flat out", live(0, 1_000)),
        ("RabbitMQ live paced", live(RABBITMQ_FLOOR, 1_000)),
        ("RabbitMQ live flat out", live(0, 1_000)),
        ("RabbitMQ backlog", backlog),
        ("RabbitMQ backlog", backlog),
        ("RabbitMQ backlog", backlog),
    ]
}

fn measure(options: &Options) -> ExitCode {
    let mut plans = plans();
    plans.retain(|(name, _)| name.contains(&options.only));
    for (_, plan) in &mut plans {
        plan.workers = options.workers.unwrap_or(plan.workers);
        if let Mode::Live { rate, seconds } = &mut plan.mode {
            *rate = options.rate.unwrap_or(*rate);
            *seconds = options.seconds.unwrap_or(*seconds);
        }
    }
    println!("{HEAD}");
    let mut failed = false;
    let mut rows = |kind: &str, start: fn() -> Broker| {
        let mut plans = plans.iter().filter(|(name, _)| name.starts_with(kind)).peekable();
        if plans.peek().is_none() {
            return;
        }
        let broker = start();
        let all: Vec<&(&str, Plan)> = plans.collect();
        for (name, plan) in (0..options.rounds).flat_map(|_| &all) {
            let seen = run::run(&options.program, &broker, *plan);
            println!("{}", row(name, &seen));
            failed |= matches!(seen.verdict(), Verdict::Failed(_));
        }
    };
    rows("Redis", Broker::redis);
    rows("RabbitMQ", Broker::rabbitmq);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

const HEAD: &str = "\
| run | workers | offered /s | sent | received | lost | drained /s | headcount µs an event | generator, broker, headcount: % of a core | idle | RSS start, peak, end MiB | threads | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

fn row(name: &str, seen: &Seen) -> String {
    let offered = match seen.plan.mode {
        Mode::Live { .. } => format!("{:.0}", seen.done.sent as f64 / seen.done.seconds),
        Mode::Backlog { .. } => "–".into(),
    };
    let percent = |seconds: f64, of: f64| seconds / of * 100.0;
    let [start, peak, end] = seen.rss_kb.map(|kib| kib as f64 / 1024.0);
    let verdict = match seen.verdict() {
        Verdict::Fine => "ok".to_owned(),
        Verdict::Machine(why) => format!("machine: {why}"),
        Verdict::Failed(why) => format!("FAILED: {why}"),
    };
    format!(
        "| {name} | {} | {offered} | {} | {} | {} | {:.0} | {:.2} | {:.0}, {:.0}, {:.0} | {:.0} % | {start:.0}, {peak:.0}, {end:.0} | {} | {verdict} |",
        seen.plan.workers,
        seen.done.sent,
        seen.received,
        seen.missing(),
        seen.drained,
        seen.headcount_s * 1e6 / seen.received.max(1) as f64,
        percent(seen.done.processor_s, seen.done.seconds),
        percent(seen.broker_s, seen.took_s),
        percent(seen.headcount_s, seen.took_s),
        seen.idle * 100.0,
        seen.threads,
    )
}
