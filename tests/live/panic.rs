//! A panic in one actor restarts that one, and the next worker's death is still told.

use std::time::Duration;

use headcount_testkit::{Broker, Headcount, SlackStandIn, Worker, WorkerOptions, wait_until};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
/// A deadline of silence is a minute where Headcount doubts itself, or has not yet learned which pool a worker has.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each actor, and the fleet whose worker dies after that actor's panic.
const ACTORS: [(&str, &str); 6] = [
    ("BrokerListener", "a"),
    ("FleetProber", "b"),
    ("HealthAggregator", "c"),
    ("Debouncer", "d"),
    ("SlackNotifier", "e"),
    ("StatsProcessor", "f"),
];

#[test]
fn on_redis() {
    panics(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    panics(&Broker::rabbitmq());
}

fn panics(broker: &Broker) {
    let slack = SlackStandIn::start();
    let names: Vec<String> = ACTORS.iter().map(|(_, fleet)| format!("{fleet}@h1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    let fleets = ACTORS.map(|(_, fleet)| fleet);
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&fleets) + &slack.webhook_config()));
    for name in &names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }
    for (worker, (actor, fleet)) in workers.iter().zip(ACTORS) {
        let restarts = |of: &str| {
            headcount
                .metric("headcount_actor_restarts_total", of)
                .unwrap_or_default()
        };
        let (mine, all) = (restarts(actor), restarts(""));
        assert_eq!(headcount.post(&format!("/test/panic/{actor}")), Some(202), "{actor}");
        wait_until(&format!("the restart of {actor}"), PATIENCE, || {
            (restarts(actor) > mine).then_some(())
        });
        headcount.wait_ready();
        let killed = worker.sigkill();
        let down = slack.next_text(&format!("DOWN {fleet}"), PATIENCE);
        let took = (down.at - killed).as_secs_f64();
        println!(
            "{}: after a panic of {actor}, DOWN after {took:.1} s: {}",
            broker.kind(),
            down.text()
        );
        // It, and no other.
        assert!(
            (restarts("") - all - (restarts(actor) - mine)).abs() < 0.5,
            "{}",
            headcount.get_text("/metrics")
        );
    }
    workers[0].restart();
    slack.next_text("RECOVERED a", PATIENCE);
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts().len(), ACTORS.len() + 1, "{:#?}", slack.texts());

    // Each line of the log is an object, and each panic one error, which says whose it was, where, and what follows.
    let lines: Vec<Value> = headcount
        .process()
        .stderr()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let errors: Vec<&Value> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), ACTORS.len(), "{errors:#?}");
    for (error, (actor, _)) in errors.iter().zip(ACTORS) {
        let said = |field: &str| error[field].as_str().unwrap_or_else(|| panic!("{field}: {error}"));
        assert!(said("actor").starts_with(actor), "{error}");
        assert!(said("place").contains(".rs:") && !said("reason").is_empty(), "{error}");
        assert!(said("message").contains("starts anew from the store"), "{error}");
    }
}
