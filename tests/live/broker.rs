//! A broker is killed and restarted: that is told once, and that it is back once, and its fleets are not blamed.

use std::time::Duration;

use headcount_testkit::{Broker, Headcount, SlackStandIn, Worker, WorkerOptions};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Celery retries after 2, 4, 6 … s, and RabbitMQ takes its time to start.
const PATIENCE: Duration = Duration::from_secs(120);
/// After the return of all, longer than any verdict takes.
const AFTERWARDS: Duration = Duration::from_secs(20);

#[test]
fn on_redis() {
    outage(Broker::redis());
}

#[test]
fn on_rabbitmq() {
    outage(Broker::rabbitmq());
}

fn outage(mut broker: Broker) {
    let slack = SlackStandIn::start();
    let names = ["sms@h1", "sms@h2", "tracker@h1"];
    let _workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    let config = broker.config(&["sms", "tracker"]) + &slack.webhook_config();
    let headcount = Headcount::start(HEADCOUNT, &config);
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }

    let killed = broker.kill();
    let down = slack.next_text("BROKER DOWN main", PATIENCE);
    println!(
        "{}: BROKER DOWN after {:.1} s: {}",
        broker.kind(),
        (down.at - killed).as_secs_f64(),
        down.text()
    );
    for fleet in ["sms", "tracker"] {
        headcount.wait_fleet(fleet, "unknown", UP_WITHIN);
    }
    assert_eq!(headcount.try_get("/readyz").unwrap().0, 503);
    assert_eq!(headcount.try_get("/healthz").unwrap().0, 200);

    broker.restart();
    let restarted = std::time::Instant::now();
    let back = slack.next_text("RECOVERED main", PATIENCE);
    let took = back.at.saturating_duration_since(restarted);
    println!(
        "{}: RECOVERED {:.1} s after its restart: {}",
        broker.kind(),
        took.as_secs_f64(),
        back.text()
    );
    headcount.wait_ready();
    for name in names {
        headcount.wait_worker(name, "up", PATIENCE);
    }
    slack.silent_for(AFTERWARDS);
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts().len(), 2, "{:#?}", slack.texts());
    assert_eq!(headcount.process().ended().map(|status| status.success()), Some(true));
}
