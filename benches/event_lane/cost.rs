//! What it costs an event of a task that Headcount has series of it for Prometheus, which are scraped, tells Sentry of failures,
//! and sends metrics, logs and traces to a collector: all of it on against all of it off, in turns.
//!
//! The daemon is stopped, some millions of events are published, which Redis keeps for it without a bound, and it goes on. Redis
//! has only to write then, so that it is Headcount which is waited for: how fast that reads is what its one lane can carry.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount, OtlpStandIn, Redis, SentryStandIn, wait_until};

use crate::generator::{Events, Order, Until};
use crate::run::Generator;
use crate::usage;

/// They make 1,500 series of workers, and 300 of who sends: fewer than the most that there may be.
const WORKERS: usize = 150;
/// Of so many events a drain takes some seconds, and Redis three gigabytes.
const EVENTS: u64 = 3_000_000;
/// Each message once, and a little more: every series is there, and each kind of failure has been told.
const WARM_UP: u64 = 40_000;
/// The rate of these, in events a second.
const GENTLY: u64 = 40_000;
/// How often it is scraped, and sends: more often than anybody does it, for a drain is short.
const SCRAPE_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether all has been read.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a look at the daemon's own counter is repeated.
const PATIENCE: Duration = Duration::from_secs(60);
/// What may be lost of the throughput, as a part of it.
const MOST: f64 = 0.1;

/// One drain.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Events a second.
    drained: f64,
    /// Microseconds of processor time of the whole daemon for an event, and of its busiest thread, which is the lane's.
    processor_us: f64,
    lane_us: f64,
}

/// Prints a table. Fails where too much is lost.
pub(crate) fn measure(program: &str, rounds: usize) -> ExitCode {
    println!("| | drained /s | headcount µs an event | its lane µs an event |\n|---|---|---|---|");
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who goes first in one round goes last in the next.
        let turns = if round % 2 == 0 { [false, true] } else { [true, false] };
        for all in turns {
            let seen = drain(program, all);
            row(if all { "on" } else { "off" }, seen);
            if all { &mut on } else { &mut off }.push(seen);
        }
    }
    let (off, on) = (medians(&off), medians(&on));
    row("**off, median**", off);
    row("**on, median**", on);
    let lost = 1.0 - on.drained / off.drained;
    println!(
        "\nAll on costs {:.1} % of the throughput, {:.1} % more time of the lane, and {:.1} % more processor time in all.",
        lost * 100.0,
        (on.lane_us / off.lane_us - 1.0) * 100.0,
        (on.processor_us / off.processor_us - 1.0) * 100.0
    );
    if lost < MOST {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn row(name: &str, seen: Seen) {
    println!(
        "| {name} | {:.0} | {:.2} | {:.2} |",
        seen.drained, seen.processor_us, seen.lane_us
    );
}

fn medians(all: &[Seen]) -> Seen {
    let median = |of: fn(&Seen) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        }
    };
    Seen {
        drained: median(|seen| seen.drained),
        processor_us: median(|seen| seen.processor_us),
        lane_us: median(|seen| seen.lane_us),
    }
}

fn drain(program: &str, all: bool) -> Seen {
    let redis = Redis::start();
    redis.tell("CONFIG SET client-output-buffer-limit \"pubsub 0 0 0\"");
    let (sentry, collector) = (SentryStandIn::start(), OtlpStandIn::start());
    let broker = Broker::Redis(redis);
    let headcount = Headcount::start(program, &config(&broker.url(), &sentry, &collector, all));
    let order = |rate, events| Order {
        url: broker.url(),
        workers: WORKERS,
        events: Events::Tasks,
        rate,
        until: Until::Events(events),
    };
    let warm = Generator::start(&order(GENTLY, WARM_UP)).wait();
    received(&headcount, warm.sent);

    headcount.process().sigstop();
    let done = Generator::start(&order(0, EVENTS)).wait();
    let mut client = Lag::of(&broker);
    let pid = headcount.process().pid();
    let before = usage::of_threads(pid);
    let stop = AtomicBool::new(false);
    let (took, after) = std::thread::scope(|scope| {
        headcount.process().sigcont();
        let began = Instant::now();
        if all {
            scope.spawn(|| scrape(&headcount, &stop));
        }
        while client.is_behind() {
            std::thread::sleep(LOOK_EVERY);
        }
        let took = began.elapsed();
        let after = usage::of_threads(pid);
        stop.store(true, Ordering::Relaxed);
        (took, after)
    });
    received(&headcount, warm.sent + done.sent);
    if all {
        let scrape = headcount.get_text("/metrics");
        let of_tasks = |line: &&str| line.starts_with("celery_task_") || line.starts_with("flower_");
        let (lines, bytes) = scrape
            .lines()
            .filter(of_tasks)
            .fold((0, 0), |(n, bytes), line| (n + 1, bytes + line.len() + 1));
        let combinations = scrape
            .lines()
            .filter(|line| line.starts_with("celery_task_received_total{"))
            .count();
        println!("<!-- a scrape: {combinations} combinations at workers, {lines} lines of theirs, {bytes} bytes -->");
    }
    let used: Vec<f64> = after
        .iter()
        .map(|(thread, seconds)| seconds - before.get(thread).copied().unwrap_or_default())
        .collect();
    let an_event = |seconds: f64| seconds * 1e6 / done.sent as f64;
    Seen {
        drained: done.sent as f64 / took.as_secs_f64(),
        processor_us: an_event(used.iter().sum()),
        lane_us: an_event(used.iter().copied().fold(0.0, f64::max)),
    }
}

fn config(url: &str, sentry: &SentryStandIn, collector: &OtlpStandIn, all: bool) -> String {
    let broker = format!("[[broker]]\nname = \"main\"\nurl = \"{url}\"\n");
    if !all {
        return format!("{broker}[metrics]\ntasks = false\n");
    }
    format!(
        "{broker}[sentry]\ndsn = \"{}\"\ntraces_sample_rate = 1.0\nerror_window = \"10s\"\ntask_failures = [\"*\"]\n\
         [otlp]\nendpoint = \"{}\"\nmetrics_every = \"2s\"\n",
        sentry.dsn(),
        collector.endpoint()
    )
}

/// Waits until the daemon has counted as many events as were sent, and no more.
fn received(headcount: &Headcount, sent: u64) {
    wait_until("each event to be counted", PATIENCE, || {
        let counted = headcount.metric("headcount_events_received_total", "")?;
        (counted as u64 == sent).then_some(())
    });
}

/// A scraper that asks every two seconds, the first time at once.
fn scrape(headcount: &Headcount, stop: &AtomicBool) {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            next += SCRAPE_EVERY;
            headcount.get_text("/metrics");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// How much Redis still has for its subscriber.
struct Lag(redis::Connection);

impl Lag {
    fn of(broker: &Broker) -> Self {
        let client = redis::Client::open(broker.url()).expect("a URL of Redis");
        Self(client.get_connection().expect("connect to Redis"))
    }

    fn is_behind(&mut self) -> bool {
        let clients: String = redis::cmd("CLIENT")
            .arg("LIST")
            .arg("TYPE")
            .arg("PUBSUB")
            .query(&mut self.0)
            .expect("ask Redis");
        assert!(clients.contains("omem="), "no subscriber: {clients}");
        clients
            .split_whitespace()
            .any(|word| word.starts_with("oll=") && word != "oll=0")
    }
}
