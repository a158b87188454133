//! Names are not workers: a deploy that brings new ones is no loss, and one name may stand for two processes.

use std::time::Duration;

use headcount_testkit::{Broker, Headcount, SlackStandIn, Worker, WorkerOptions};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than any verdict takes.
const AFTERWARDS: Duration = Duration::from_secs(20);

#[test]
fn new_names_on_redis() {
    rolling(&Broker::redis());
}

#[test]
fn new_names_on_rabbitmq() {
    rolling(&Broker::rabbitmq());
}

/// As Kubernetes deploys: the new ones come up, then the old ones are told to go, one after the other.
fn rolling(broker: &Broker) {
    let slack = SlackStandIn::start();
    let start = |names: &[&str]| Worker::start_all(&broker.url(), names, &WorkerOptions::default());
    let old = start(&["sms@old1", "sms@old2"]);
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + &slack.webhook_config()));
    let up = |workers: &[Worker]| {
        for worker in workers {
            headcount.wait_worker(worker.hostname(), "up", PATIENCE);
        }
    };
    up(&old);

    let new = start(&["sms@new1", "sms@new2"]);
    up(&new);
    for worker in &old {
        assert!(worker.warm_shutdown(PATIENCE).success());
    }
    for worker in &old {
        headcount.wait_worker(worker.hostname(), "offline", PATIENCE);
    }
    slack.silent_for(AFTERWARDS);
    let fleet = headcount.wait_fleet("sms", "healthy", PATIENCE);
    assert_eq!((&fleet["up"], &fleet["expected"]), (&Value::from(2), &Value::from(2)));
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts(), Vec::<String>::new());
}

/// Redis lets two have one name. One of them stays when the other is killed, so that nobody of that name is missing.
#[test]
fn one_name_for_two_on_redis() {
    let (broker, slack) = (Broker::redis(), SlackStandIn::start());
    let twins = Worker::start_all(&broker.url(), &["sms@h1", "sms@h1"], &WorkerOptions::default());
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + &slack.webhook_config()));
    headcount.wait_worker("sms@h1", "up", PATIENCE);
    slack.silent_for(AFTERWARDS);

    twins[0].sigkill();
    slack.silent_for(AFTERWARDS);
    headcount.wait_worker("sms@h1", "up", PATIENCE);

    // It was silent because one of the name was alive.
    twins[1].sigkill();
    slack.next_text("DOWN sms", PATIENCE);
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts().len(), 1, "{:#?}", slack.texts());
}

/// RabbitMQ refuses the second: its end must not count against the first.
#[test]
fn one_name_for_two_on_rabbitmq() {
    let (broker, slack) = (Broker::rabbitmq(), SlackStandIn::start());
    let first = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + &slack.webhook_config()));
    headcount.wait_worker("sms@h1", "up", PATIENCE);

    let second = Worker::launch(&broker.url(), "sms@h1", WorkerOptions::default());
    assert!(!second.process().wait_exit(PATIENCE).success());
    slack.silent_for(AFTERWARDS);
    headcount.wait_worker("sms@h1", "up", PATIENCE);

    first.sigkill();
    slack.next_text("DOWN sms", PATIENCE);
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts().len(), 1, "{:#?}", slack.texts());
}
