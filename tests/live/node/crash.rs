//! Killed in the middle of a task: it is run again. Told to stop: it gives back what it has.

use headcount_testkit::{Broker, finish_script, start_script};
use serde_json::json;

use super::{PATIENCE, backend, call, joined, start};

// Each beside the others: most of it is waiting.

#[test]
fn killed_on_redis() {
    killed(&Broker::redis());
}

#[test]
fn killed_on_rabbitmq() {
    killed(&Broker::rabbitmq());
}

#[test]
fn nothing_is_lost_on_redis() {
    nothing_is_lost(&Broker::redis());
}

#[test]
fn nothing_is_lost_on_rabbitmq() {
    nothing_is_lost(&Broker::rabbitmq());
}

fn killed(broker: &Broker) {
    // On Redis nobody notices a death: what the dead held comes back after this.
    let mut headcount = start(broker, "visibility_timeout = \"2s\"\nconcurrency = 2");
    joined(&headcount);
    let calls = json!([
        ["headcount.sleep", [2], {}, {"task_id": "runs"}],
        ["headcount.sleep", [2], {}, {"task_id": "runs too"}],
        ["headcount.echo", ["waits"], {}, {"task_id": "waits"}],
        ["headcount.echo", ["later"], {}, {"task_id": "later", "countdown": 3}],
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
    assert_eq!(came, [json!(2.0), json!(2.0), json!("waits"), json!("later")], "{told}");

    // Told to stop with a task that takes longer than it may: another one finds it.
    let calls = json!([["headcount.sleep", [3], {}, {"task_id": "given back"}]]);
    let waiting = start_script(
        &broker.url(),
        "call.py",
        &[&broker.url(), &backend(broker), &calls.to_string()],
    );
    headcount.process().wait_line("\"given back\"", PATIENCE);
    assert!(headcount.sigterm().success());
    headcount.restart();
    joined(&headcount);
    assert_eq!(finish_script(&waiting)[0]["ok"], 3.0);
    assert!(headcount.sigterm().success());
}

#[test]
fn the_broker_restarts_under_it() {
    std::thread::scope(|scope| {
        scope.spawn(|| restarted(Broker::redis()));
        scope.spawn(|| restarted(Broker::rabbitmq()));
    });
}

fn restarted(mut broker: Broker) {
    let headcount = start(&broker, "");
    joined(&headcount);
    broker.kill();
    headcount.process().wait_line("the node has not joined", PATIENCE);
    broker.restart();
    let told = call(&broker, &backend(&broker), &[("headcount.ping", json!([]), json!({}))]);
    assert_eq!(told[0]["ok"], "pong");
    assert!(headcount.sigterm().success());
}

/// Killed again and again while tasks flow: each of them is run, however often.
fn nothing_is_lost(broker: &Broker) {
    // More than are run between the kills, also where each of these comes seconds late.
    const TASKS: usize = 240;
    const KILLS: u64 = 6;
    let mut headcount = start(broker, "visibility_timeout = \"1s\"");
    joined(&headcount);
    let calls: Vec<_> = (0..TASKS).map(|_| json!(["headcount.sleep", [0.2], {}, {}])).collect();
    let calls = json!(calls).to_string();
    let waiting = start_script(&broker.url(), "call.py", &[&broker.url(), &backend(broker), &calls]);
    for kill in 0..KILLS {
        // At a moment that is another one each time, in the midst of taking, running, storing or settling.
        headcount.process().wait_line("task succeeded", PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(37 * kill));
        headcount.sigkill();
        headcount.process().wait_exit(PATIENCE);
        headcount.restart();
    }
    let told = finish_script(&waiting);
    let came = told.as_array().unwrap().iter().filter(|one| one["ok"] == 0.2).count();
    assert_eq!(came, TASKS, "{told}");
    assert!(headcount.sigterm().success());
}
