//! Headcount itself is killed and started again: it remembers what it has told.

use std::time::Duration;

use headcount_testkit::{Broker, Headcount, SlackStandIn, Worker, WorkerOptions, poll_until};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than the time after a start in which it holds its verdicts back, and any verdict after that.
const VERDICTS: Duration = Duration::from_secs(25);

#[test]
fn on_redis() {
    restart(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    restart(&Broker::rabbitmq());
}

fn restart(broker: &Broker) {
    let slack = SlackStandIn::start();
    let names = ["sms@h1", "tracker@h1", "tracker@h2"];
    let mut workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    let config = broker.config(&["sms", "tracker"]) + &slack.webhook_config();
    let mut headcount = Headcount::start(HEADCOUNT, &config);
    let up = |headcount: &Headcount, name: &str| drop(headcount.wait_worker(name, "up", UP_WITHIN));
    names.iter().for_each(|name| up(&headcount, name));

    // Nothing is wrong: silence.
    headcount.sigkill();
    headcount.restart();
    names.iter().for_each(|name| up(&headcount, name));
    slack.silent_for(VERDICTS);

    // An incident is open: no second DOWN, and its own RECOVERED.
    workers[0].sigkill();
    slack.next_text("DOWN sms", PATIENCE);
    let before = headcount.get("/api/v1/incidents?state=open")[0]["id"].clone();
    noted(&headcount, &before, 1);
    headcount.sigkill();
    headcount.restart();
    names[1..].iter().for_each(|name| up(&headcount, name));
    slack.silent_for(VERDICTS);
    let open = headcount.get("/api/v1/incidents?state=open");
    assert_eq!(open.as_array().unwrap().len(), 1, "{open}");
    assert_eq!(open[0]["id"], before);

    workers[0].restart();
    let back = slack.next_text("RECOVERED sms", PATIENCE);
    let all = format!("{}\n{}", back.text(), back.rendered());
    assert!(all.contains(before.as_str().unwrap()), "{before} is not named in {all}");
    headcount.wait_fleet("sms", "healthy", UP_WITHIN);

    noted(&headcount, &before, 2);

    // It is over: that too is remembered.
    headcount.sigkill();
    headcount.restart();
    names.iter().for_each(|name| up(&headcount, name));
    slack.silent_for(VERDICTS);
    assert!(headcount.sigterm().success());
    assert_eq!(slack.texts().len(), 2, "{:#?}", slack.texts());
}

/// Waits until it is written down that so many messages of an incident were accepted: a kill between Slack's yes and the
/// note of it repeats the message (README, "Limits").
fn noted(headcount: &Headcount, incident: &Value, messages: usize) {
    let path = format!("/api/v1/incidents/{}", incident.as_str().unwrap());
    let noted = poll_until(PATIENCE, || {
        let incident = headcount.get(&path);
        let notifications = incident["notifications"].as_array()?;
        let delivered = notifications.iter().all(|one| !one["delivered_at"].is_null());
        (notifications.len() == messages && delivered).then_some(())
    });
    assert!(noted.is_some(), "{}", headcount.get(&path));
}
