//! Workers that beat and answer, and do not work: each is found stalled, and up again when it works.

use std::time::{Duration, Instant};

use headcount_testkit::{
    Broker, Headcount, Pool, Worker, WorkerOptions, poll_until, python, repository, run_once, send_tasks,
};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_consumer_is_gone_on_redis() {
    consumer_gone(&Broker::redis());
}

#[test]
fn a_consumer_is_gone_on_rabbitmq() {
    consumer_gone(&Broker::rabbitmq());
}

/// First by the worker's own word, then unknown to it.
fn consumer_gone(broker: &Broker) {
    let losing = WorkerOptions {
        extra: vec!["--include".into(), "losing".into()],
        ..WorkerOptions::default()
    };
    let _worker = Worker::start(&broker.url(), "sms@h1", losing);
    let headcount = Headcount::start(HEADCOUNT, &broker.config(&["sms"]));
    headcount.wait_worker("sms@h1", "up", PATIENCE);
    work_is(&headcount, "consumes sms");

    for (lose, find, says) in [
        (
            "cancel_consumer",
            "add_consumer",
            "consumer gone: it says that it consumes sms no longer",
        ),
        (
            "lose_consumer",
            "find_consumer",
            "consumer gone: it believes that it consumes sms",
        ),
    ] {
        control(broker, lose);
        let lost = Instant::now();
        send_tasks(&broker.url(), &vec![("sms", "add", json!([1, 2])); 5]);
        let worker = headcount.wait_worker("sms@h1", "stalled", PATIENCE);
        println!(
            "{}, {lose}: stalled after {:.1} s: {}",
            broker.kind(),
            lost.elapsed().as_secs_f64(),
            detail(&worker)
        );
        assert!(detail(&worker).starts_with(says), "{worker}");
        assert_eq!(worker["signals"]["work"]["ok"], false);
        // A single beat or answer may just be late.
        let well = |worker: &Value| {
            let ok = |signal: &str| worker["signals"][signal]["ok"] == true;
            worker["state"] == "stalled" && ok("heartbeat") && ok("answer")
        };
        let seen = poll_until(PATIENCE, || headcount.worker("sms@h1").filter(well));
        assert!(seen.is_some(), "{:?}", headcount.worker("sms@h1"));

        control(broker, find);
        let found = Instant::now();
        headcount.wait_worker("sms@h1", "up", PATIENCE);
        println!(
            "{}, {find}: up after {:.1} s",
            broker.kind(),
            found.elapsed().as_secs_f64()
        );
    }
    assert!(headcount.sigterm().success());
}

#[test]
fn a_pool_is_stuck() {
    let broker = Broker::redis();
    let prefork = WorkerOptions {
        pool: Pool::Prefork,
        ..WorkerOptions::default()
    };
    let _worker = Worker::start(&broker.url(), "sms@h1", prefork);
    let config = broker.config(&["sms"]) + "[detect]\nstuck_after = \"20s\"\n";
    let headcount = Headcount::start(HEADCOUNT, &config);
    headcount.wait_worker("sms@h1", "up", PATIENCE);

    send_tasks(&broker.url(), &vec![("sms", "sleep", json!([45])); 4]);
    let sent = Instant::now();
    let worker = headcount.wait_worker("sms@h1", "stalled", PATIENCE);
    println!("stuck after {:.1} s: {}", sent.elapsed().as_secs_f64(), detail(&worker));
    assert!(detail(&worker).starts_with("stuck: 2 tasks run"), "{worker}");
    // The next two begin.
    headcount.wait_worker("sms@h1", "up", PATIENCE);
    assert!(headcount.sigterm().success());
}

fn detail(worker: &Value) -> &str {
    worker["signals"]["work"]["detail"].as_str().unwrap()
}

fn work_is(headcount: &Headcount, expected: &str) {
    let is = |worker: &Value| detail(worker) == expected;
    let said = poll_until(PATIENCE, || headcount.worker("sms@h1").filter(is));
    assert!(said.is_some(), "{:?}", headcount.worker("sms@h1"));
}

/// Sends a control command about the queue, and returns when the worker has taken it.
fn control(broker: &Broker, command: &str) {
    let script = repository().join("tests/apps/control.py");
    let (script, python) = (script.display().to_string(), python().display().to_string());
    let sent = run_once(
        &python,
        &[&script, &broker.url(), "sms@h1", command, r#"{"queue": "sms"}"#],
        PATIENCE,
    );
    assert!(sent.status.success(), "{sent:?}");
}
