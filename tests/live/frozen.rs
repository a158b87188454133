//! A fleet's only worker is stopped for 40 s, or the network between it and its broker holds every packet for 50 s while
//! both ends believe that the connection stands: one DOWN that says so, and one RECOVERED.

use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount, Message, Pool, Proxy, SlackStandIn, Worker, WorkerOptions, wait_until};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
const STOPPED: Duration = Duration::from_secs(40);
const HELD: Duration = Duration::from_secs(50);
/// A deadline of silence is a minute where Headcount doubts itself, as on a machine that stalls.
const PATIENCE: Duration = Duration::from_secs(120);

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
    is_known(&headcount, &worker);

    let stopped = worker.sigstop();
    let down = slack.next_text("DOWN sms", PATIENCE);
    println!(
        "{}: DOWN after {:.1} s: {}",
        broker.kind(),
        (down.at - stopped).as_secs_f64(),
        down.text()
    );
    in_time(&down, stopped, STOPPED);
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
    is_known(&headcount, &worker);

    let held = network.hold();
    let down = slack.next_text("DOWN sms", PATIENCE);
    println!(
        "{}: DOWN after {:.1} s: {}",
        broker.kind(),
        since(held, down.at),
        down.text()
    );
    in_time(&down, held, HELD);
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

/// Up, and asked: of one that has never answered it is not known that its pool is none that is silent while it works.
fn is_known(headcount: &Headcount, worker: &Worker) {
    headcount.wait_worker(worker.hostname(), "up", UP_WITHIN);
    wait_until("its answer", PATIENCE, || {
        let answer = headcount.worker(worker.hostname())?["signals"]["answer"].clone();
        (answer["ok"] == true).then_some(())
    });
}

/// Down before the worker may go on, unless Headcount says that it doubts itself: then its deadlines of silence are longer.
fn in_time(down: &Message, began: Instant, within: Duration) {
    let took = down.at.saturating_duration_since(began);
    assert!(
        took <= within || down.rendered().contains("itself is struggling"),
        "{took:?}: {down:#?}"
    );
}

fn since(earlier: Instant, later: Instant) -> f64 {
    later.saturating_duration_since(earlier).as_secs_f64()
}
