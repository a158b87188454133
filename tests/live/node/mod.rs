//! Headcount as a Celery node, among real brokers, the real `celery` command, a real Flower, Python producers and workers.
//! Python's own Celery and kombu judge what the node sends.

mod alike;
mod commands;
mod crash;
mod events;
mod rejected;
mod stats;
mod tasks;

use std::time::Duration;

use headcount_testkit::{Broker, Headcount, run_script};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
/// Longer than anything here takes; a machine that builds beside it is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node's name in all of these.
const NODE: &str = "headcount@test";

// One broker for several: a RabbitMQ takes longer to start than most of them do.

#[test]
fn on_redis() {
    let broker = Broker::redis();
    alike::alike(&broker);
    commands::seen(&broker);
    events::judged(&broker);
    tasks::to_python(&broker);
    stats::counted(&broker);
    tasks::two_of_one_name(&broker);
}

#[test]
fn on_rabbitmq() {
    let broker = Broker::rabbitmq();
    alike::alike(&broker);
    commands::seen(&broker);
    events::judged(&broker);
    tasks::to_python(&broker);
    stats::counted(&broker);
}

#[test]
fn on_rabbitmq_alone() {
    let broker = Broker::rabbitmq();
    tasks::results_in_another_redis(&broker);
    tasks::a_quorum_queue_and_two_of_one_name(&broker);
    rejected::to_the_dead_letters(&broker);
}

/// A Headcount with a node on this broker; `lines` are further lines of its table.
fn start(broker: &Broker, lines: &str) -> Headcount {
    Headcount::start(HEADCOUNT, &config(broker, lines))
}

fn config(broker: &Broker, lines: &str) -> String {
    format!("{}[[node]]\nname = \"{NODE}\"\n{lines}\n", broker.config(&[]))
}

/// Waits until the node says that it has joined.
fn joined(headcount: &Headcount) {
    headcount.process().wait_line("the node has joined", PATIENCE);
}

/// Where a Python service looks for results, by the backend that is right for this broker.
fn backend(broker: &Broker) -> String {
    match broker {
        Broker::Redis(_) => broker.url(),
        Broker::RabbitMq(_) => "rpc://".to_owned(),
    }
}

/// Calls tasks from Python: (task, args, options). What came of each.
fn call(broker: &Broker, backend: &str, calls: &[(&str, Value, Value)]) -> Vec<Value> {
    let calls: Vec<Value> = calls
        .iter()
        .map(|(name, args, options)| json!([name, args, {}, options]))
        .collect();
    let told = run_script(
        &broker.url(),
        "call.py",
        &[&broker.url(), backend, &Value::from(calls).to_string()],
    );
    told.as_array().expect("a list").clone()
}
