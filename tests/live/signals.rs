//! Workers that lack one signal or another, and those who leave with tasks under way: what is said of each.

use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount, Pool, Redis, Worker, WorkerOptions, poll_until, send_tasks};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn on_redis() {
    let broker = Broker::redis();
    let of = |extra: &[&str], events| WorkerOptions {
        events,
        extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
        ..WorkerOptions::default()
    };
    let start = |hostname, options| Worker::launch(&broker.url(), hostname, options);
    let headcount = Headcount::start(HEADCOUNT, &broker.config(&["pale", "mute", "shade", "twin"]));
    let workers = [
        start("pale@h1", of(&["--without-heartbeat"], true)),
        start("mute@h1", of(&[], false)),
        start("shade@h1", of(&["--without-heartbeat"], false)),
        start("twin@h1", of(&[], true)),
        start("twin@h1", of(&[], true)),
    ];
    workers.iter().for_each(Worker::wait_ready);
    // One that does not beat is known by its tasks.
    let mut tasks = vec![("pale", "add", json!([1, 2]))];
    tasks.extend(vec![("mute", "add", json!([1, 2])); 8]);
    send_tasks(&broker.url(), &tasks);

    says(
        &headcount,
        "mute@h1",
        "work",
        "consumes mute; sends no task events (-E)",
    );
    says(
        &headcount,
        "twin@h1",
        "heartbeat",
        "every 2 s; two processes share this name",
    );
    says(
        &headcount,
        "pale@h1",
        "heartbeat",
        "it does not beat (--without-heartbeat?), and is judged by its answers",
    );
    // One that neither beats nor sends events is found by a question to all.
    headcount.wait_worker("shade@h1", "up", PATIENCE);
    for hostname in ["pale@h1", "mute@h1", "twin@h1"] {
        headcount.wait_worker(hostname, "up", PATIENCE);
    }
    assert_eq!(headcount.get("/api/v1/incidents"), json!([]));

    let killed = workers[0].sigkill();
    headcount.wait_worker("pale@h1", "down", PATIENCE);
    workers[2].sigkill();
    headcount.wait_worker("shade@h1", "down", PATIENCE);
    println!("without heartbeats: down after {:.1} s", killed.elapsed().as_secs_f64());
    assert!(headcount.sigterm().success());
}

#[test]
fn redis_without_client_list() {
    let redis = Redis::start();
    redis.tell("ACL SETUSER watcher on >secret ~* &* +@all -client");
    let url = redis.url();
    let broker = Broker::Redis(redis);
    let config = broker.config(&["sms"]).replace("redis://", "redis://watcher:secret@");
    let workers = Worker::start_all(&url, &["sms@h1", "sms@h2"], &WorkerOptions::default());
    let headcount = Headcount::start(HEADCOUNT, &config);
    for worker in &workers {
        headcount.wait_worker(worker.hostname(), "up", PATIENCE);
    }
    let why = "Redis does not permit CLIENT LIST, which would show connections";
    says(&headcount, "sms@h1", "presence", why);
    workers[0].sigkill();
    let down = headcount.wait_worker("sms@h1", "down", PATIENCE);
    assert_eq!(down["diagnosis"], "unreachable");
    assert_eq!(down["signals"]["presence"]["ok"], Value::Null, "{down}");
    headcount.wait_fleet("sms", "degraded", PATIENCE);
    let incident = poll_until(PATIENCE, || {
        let incidents = headcount.get("/api/v1/incidents");
        incidents.to_string().contains(why).then_some(())
    });
    assert!(incident.is_some(), "{}", headcount.get("/api/v1/incidents"));
    let told = |line: &String| line.contains("CLIENT LIST") && line.contains("WARN");
    let log = headcount.process().stderr();
    assert_eq!(log.iter().filter(|line| told(line)).count(), 1, "{log:#?}");
    assert!(headcount.sigterm().success());
}

#[test]
fn tasks_are_left_behind() {
    let broker = Broker::rabbitmq();
    let prefork = WorkerOptions {
        pool: Pool::Prefork,
        ..WorkerOptions::default()
    };
    let workers = Worker::start_all(&broker.url(), &["left@h1", "drained@h1"], &prefork);
    let headcount = Headcount::start(HEADCOUNT, &broker.config(&["left", "drained"]));
    let sleep = json!([600]);
    let drained = ("drained", "sleep", json!([45]));
    // It drains for as long as that from now on at least.
    let sent = Instant::now();
    send_tasks(
        &broker.url(),
        &[("left", "sleep", sleep.clone()), ("left", "sleep", sleep), drained],
    );
    for (hostname, active) in [("left@h1", 2), ("drained@h1", 1)] {
        let running = || headcount.worker(hostname).filter(|worker| worker["active"] == active);
        poll_until(PATIENCE, running).expect("the tasks run");
    }
    workers[1].process().sigterm();
    workers[0].sigkill();
    headcount.wait_worker("left@h1", "down", PATIENCE);
    // The other fleet, whose only worker leaves, may have one as well, and sooner.
    let incident = poll_until(PATIENCE, || {
        let open = headcount.get("/api/v1/incidents?state=open");
        open.to_string().contains("left 2 tasks behind: sleep x2").then_some(())
    });
    assert!(incident.is_some(), "{}", headcount.get("/api/v1/incidents"));

    headcount.wait_worker("drained@h1", "offline", PATIENCE);
    if sent.elapsed() < Duration::from_secs(35) {
        says(&headcount, "drained@h1", "work", "draining, 1 task: sleep");
    }
    says(&headcount, "drained@h1", "work", "it said goodbye");
    assert!(headcount.sigterm().success());
}

/// Waits until a signal of a worker says so.
fn says(headcount: &Headcount, hostname: &str, signal: &str, expected: &str) {
    let detail = |worker: &Value| worker["signals"][signal]["detail"] == expected;
    let said = poll_until(PATIENCE, || headcount.worker(hostname).filter(detail));
    assert!(
        said.is_some(),
        "{hostname}: not {expected:?}: {:?}",
        headcount.worker(hostname)
    );
}
