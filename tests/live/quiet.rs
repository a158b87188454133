//! What is no failure: a warm shutdown, a rolling restart, a busy solo worker, all slots busy, and a long time of nothing.
//! Not one message, and memory and threads stay flat meanwhile.

use std::time::Duration;

use headcount_testkit::{Broker, Headcount, Pool, SlackStandIn, Usage, Worker, WorkerOptions, send_tasks};
use serde_json::json;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the busy ones are busy.
const BUSY_SECONDS: u64 = 30;
/// How long nothing happens, at the end: ten minutes in `make soak`.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_SOAK: Duration = Duration::from_secs(600);

#[test]
fn on_redis() {
    quiet(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    quiet(&Broker::rabbitmq());
}

fn quiet(broker: &Broker) {
    let idle = if std::env::var_os("HEADCOUNT_SOAK").is_some() {
        IDLE_SOAK
    } else {
        IDLE
    };
    let slack = SlackStandIn::start();
    let url = broker.url();
    let start = |names: &[&str], pool: Pool| {
        Worker::start_all(
            &url,
            names,
            &WorkerOptions {
                pool,
                ..WorkerOptions::default()
            },
        )
    };
    let solo = start(&["solo@h1"], Pool::Solo);
    // Each has a queue of its own: which of two that share one takes a task is chance.
    let busy = ["1", "2"].map(|n| {
        let queues = vec![format!("busy{n}")];
        let options = WorkerOptions {
            queues,
            ..WorkerOptions::default()
        };
        Worker::start(&url, &format!("busy@h{n}"), options)
    });
    let warm = start(&["warm@h1", "warm@h2"], Pool::Threads);
    let mut rolling = start(&["rolling@h1", "rolling@h2", "rolling@h3", "rolling@h4"], Pool::Threads);
    let config = broker.config(&["solo", "busy", "warm", "rolling"]) + &slack.webhook_config();
    let headcount = Headcount::start(HEADCOUNT, &config);
    let all = [solo.as_slice(), busy.as_slice(), warm.as_slice(), rolling.as_slice()];
    for worker in all.into_iter().flatten() {
        headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);
    }

    // A solo worker neither beats nor answers while it runs a task; and every slot of the busy ones (2 of each) is taken.
    let task = |queue| (queue, "sleep", json!([BUSY_SECONDS]));
    send_tasks(
        &url,
        &[task("solo"), task("busy1"), task("busy1"), task("busy2"), task("busy2")],
    );
    solo[0].wait_received(1, PATIENCE);
    busy.iter().for_each(|worker| worker.wait_received(2, PATIENCE));

    // Meanwhile one leaves for good, and four are replaced one by one.
    assert!(warm[0].warm_shutdown(PATIENCE).success());
    for worker in &mut rolling {
        assert!(worker.warm_shutdown(PATIENCE).success());
        worker.restart();
        headcount.wait_worker(worker.hostname(), "up", PATIENCE);
    }
    for worker in solo.iter().chain(&busy) {
        worker.process().wait_line("succeeded in 3", PATIENCE);
    }

    assert_eq!(
        slack.texts(),
        Vec::<String>::new(),
        "{}",
        headcount.process().last_lines()
    );

    // Who said goodbye is still shown for a while; in the ten minutes of a soak it is let go.
    headcount.wait_worker("warm@h1", "offline", UP_WITHIN);

    // Nothing happens. What grows with each beat or probe shows here.
    let (before, heard) = (headcount.usage(), events(&headcount));
    slack.silent_for(idle);
    let (after, heard_since) = (headcount.usage(), events(&headcount) - heard);
    println!(
        "{}: {idle:?} of nothing: {before:?}, then {after:?}; {heard_since} events",
        broker.kind()
    );
    flat(before, after);

    // It was silent because nothing was wrong, and not because it was blind: eight workers beat every two seconds.
    let beats = 8.0 * idle.as_secs_f64() / 2.0;
    assert!(
        heard_since > 0.8 * beats,
        "{heard_since} events in {idle:?}, about {beats} were sent"
    );
    for fleet in ["solo", "busy", "warm", "rolling"] {
        headcount.wait_fleet(fleet, "healthy", UP_WITHIN);
    }
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts(), Vec::<String>::new());
}

fn events(headcount: &Headcount) -> f64 {
    headcount
        .metric("headcount_events_received_total", "broker=\"main\"")
        .unwrap()
}

/// A leak of one kilobyte for each event would be a hundred times as much. An allocator keeps a few pages more or less.
fn flat(before: Usage, after: Usage) {
    const SLACK_KB: u64 = 4 * 1024;
    assert!(
        after.rss_kb <= before.rss_kb + before.rss_kb / 10 + SLACK_KB,
        "memory: {before:?}, then {after:?}"
    );
    // A thread for blocking work comes and goes with the work.
    assert!(
        after.threads <= before.threads + 2,
        "threads: {before:?}, then {after:?}"
    );
    assert!(after.files <= before.files + 5, "files: {before:?}, then {after:?}");
}
