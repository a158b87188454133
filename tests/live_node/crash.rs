//! Killed in the middle of a task: it is run again. Told to stop: it gives back what it has.

use headcount_testkit::{Broker, finish_script, start_script};
use serde_json::json;

use super::{PATIENCE, backend, call, joined, start};

#[test]
fn on_redis() {
    killed(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    killed(&Broker::rabbitmq());
}

fn killed(broker: &Broker) {
    // On Redis nobody notices a death: what the dead held comes back after this.
    let mut headcount = start(broker, "visibility_timeout = \"3s\"\nconcurrency = 2");
    joined(&headcount);
    let calls = json!([
        ["headcount.sleep", [4], {}, {"task_id": "runs"}],
        ["headcount.sleep", [4], {}, {"task_id": "runs too"}],
        ["headcount.echo", ["waits"], {}, {"task_id": "waits"}],
        ["headcount.echo", ["later"], {}, {"task_id": "later", "countdown": 5}],
    ]);
    let waiting = start_script(
        &broker.url(),
        "call.py",
        &[&broker.url(), &backend(broker), &calls.to_string()],
    );
    for id in ["\"runs\"", "\"runs too\""] {
        headcount.process().wait_line(id, PATIENCE);
    }
    headcount.sigkill();
    headcount.process().wait_exit(PATIENCE);
    headcount.restart();
    joined(&headcount);
    let told = finish_script(&waiting);
    let came: Vec<_> = told.as_array().unwrap().iter().map(|one| one["ok"].clone()).collect();
    assert_eq!(came, [json!(4.0), json!(4.0), json!("waits"), json!("later")], "{told}");

    // Told to stop with a task that takes longer than it may: another one finds it.
    let calls = json!([["headcount.sleep", [5], {}, {"task_id": "given back"}]]);
    let waiting = start_script(
        &broker.url(),
        "call.py",
        &[&broker.url(), &backend(broker), &calls.to_string()],
    );
    headcount.process().wait_line("\"given back\"", PATIENCE);
    assert!(headcount.sigterm().success());
    headcount.restart();
    joined(&headcount);
    assert_eq!(finish_script(&waiting)[0]["ok"], 5.0);
    assert!(headcount.sigterm().success());
}

#[test]
fn the_broker_restarts_under_it_on_rabbitmq() {
    let mut broker = Broker::rabbitmq();
    let headcount = start(&broker, "");
    joined(&headcount);
    broker.kill();
    headcount.process().wait_line("the node has not joined", PATIENCE);
    broker.restart();
    let told = call(&broker, &backend(&broker), &[("headcount.ping", json!([]), json!({}))]);
    assert_eq!(told[0]["ok"], "pong");
    assert!(headcount.sigterm().success());
}

#[test]
fn the_broker_restarts_under_it_on_redis() {
    let mut broker = Broker::redis();
    let headcount = start(&broker, "");
    joined(&headcount);
    broker.kill();
    headcount.process().wait_line("the node has not joined", PATIENCE);
    broker.restart();
    let told = call(&broker, &backend(&broker), &[("headcount.ping", json!([]), json!({}))]);
    assert_eq!(told[0]["ok"], "pong");
    assert!(headcount.sigterm().success());
}
