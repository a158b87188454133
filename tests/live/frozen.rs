//! A fleet's only worker is stopped for 40 s, or the network between it and its broker holds every packet for 50 s while
//! both ends believe that the connection stands: one DOWN that says so, and one RECOVERED.

use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount, Pool, Proxy, SlackStandIn, Worker, WorkerOptions};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
const STOPPED: Duration = Duration::from_secs(40);
const HELD: Duration = Duration::from_secs(50);
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn on_redis() {
    freeze(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    freeze(&Broker::rabbitmq());
}

#[test]
fn half_open_on_redis() {
    hold(&Broker::redis());
}

#[test]
fn half_open_on_rabbitmq() {
    hold(&Broker::rabbitmq());
}

fn freeze(broker: &Broker) {
    let slack = SlackStandIn::start();
    let prefork = WorkerOptions {
        pool: Pool::Prefork,
        ..WorkerOptions::default()
    };
    let worker = Worker::start(&broker.url(), "sms@h1", prefork);
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + &slack.webhook_config()));
    headcount.wait_worker("sms@h1", "up", UP_WITHIN);

    let stopped = worker.sigstop();
    let down = slack.next_text("DOWN sms", STOPPED);
    println!(
        "{}: DOWN after {:.1} s: {}",
        broker.kind(),
        (down.at - stopped).as_secs_f64(),
        down.text()
    );
    assert!(down.text().contains("froze"), "{}", down.text());
    assert!(down.rendered().contains("frozen"), "{}", down.rendered());
    assert_eq!(headcount.get("/api/v1/incidents?state=open")[0]["diagnosis"], "frozen");
    // The rest of the 40 s.
    slack.silent_for(STOPPED.saturating_sub(stopped.elapsed()));

    let continued = worker.sigcont();
    let back = slack.next_text("RECOVERED sms", PATIENCE);
    println!(
        "{}: RECOVERED after {:.1} s: {}",
        broker.kind(),
        since(continued, back.at),
        back.text()
    );
    headcount.wait_fleet("sms", "healthy", UP_WITHIN);
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts().len(), 2, "{:#?}", slack.texts());
}

fn hold(broker: &Broker) {
    let slack = SlackStandIn::start();
    let network = Proxy::start(broker.port());
    let worker = Worker::start(&network.through(&broker.url()), "sms@h1", WorkerOptions::default());
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + &slack.webhook_config()));
    headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);

    let held = network.hold();
    let down = slack.next_text("DOWN sms", HELD);
    println!(
        "{}: DOWN after {:.1} s: {}",
        broker.kind(),
        since(held, down.at),
        down.text()
    );
    // The broker's side of the connection stands, and so no more can be told than that nothing comes of it.
    let diagnosis = &headcount.get("/api/v1/incidents?state=open")[0]["diagnosis"];
    assert!(diagnosis == "frozen" || diagnosis == "unreachable", "{diagnosis}");
    slack.silent_for(HELD.saturating_sub(held.elapsed()));

    let released = network.release();
    let back = slack.next_text("RECOVERED sms", PATIENCE);
    println!(
        "{}: RECOVERED after {:.1} s: {}",
        broker.kind(),
        since(released, back.at),
        back.text()
    );
    headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);
    headcount.wait_fleet("sms", "healthy", UP_WITHIN);
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts().len(), 2, "{:#?}", slack.texts());
}

fn since(earlier: Instant, later: Instant) -> f64 {
    later.saturating_duration_since(earlier).as_secs_f64()
}
