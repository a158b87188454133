//! Celery's own receiver and State are the judges of the node's events.

use headcount_testkit::{Broker, finish_script, start_script};
use serde_json::{Value, json};

use super::{NODE, PATIENCE, backend, call, joined, start};

pub(crate) fn judged(broker: &Broker) {
    let headcount = start(broker, "task_events = true");
    joined(&headcount);
    let ids = json!(["good", "bad", "late", "unknown"]);
    let watching = start_script(&broker.url(), "watch.py", &[&broker.url(), &ids.to_string()]);
    watching.wait_line("listening", PATIENCE);
    call(
        broker,
        &backend(broker),
        &[
            ("headcount.echo", json!(["hi"]), json!({"task_id": "good"})),
            ("headcount.ping", json!([1]), json!({"task_id": "bad"})),
            (
                "headcount.ping",
                json!([]),
                json!({"task_id": "late", "countdown": 2, "expires": 1}),
            ),
            ("no.such", json!([]), json!({"task_id": "unknown"})),
        ],
    );
    let told = finish_script(&watching);
    let worker = &told["workers"][NODE];
    assert_eq!(
        (&worker["alive"], &worker["sw_ident"], &worker["freq"]),
        (&json!(true), &json!("headcount"), &json!(2.0)),
        "{told}"
    );
    assert!(
        worker["processed"].as_u64().unwrap() >= 2 && worker["loadavg"].is_array(),
        "{told}"
    );
    let task = |id: &str| told["tasks"][id].clone();
    let good = task("good");
    assert_eq!(
        (&good["state"], &good["name"], &good["result"]),
        (&json!("SUCCESS"), &json!("headcount.echo"), &json!("'hi'")),
        "{good}"
    );
    assert_eq!(good["args"], "['hi']");
    assert!(good["runtime"].is_f64() && good["started"].is_f64(), "{good}");
    assert_eq!(
        (task("bad")["state"].clone(), task("late")["state"].clone()),
        (json!("FAILURE"), json!("REVOKED")),
        "{told}"
    );
    assert_eq!(task("unknown")["exception"], "NotRegistered('no.such')", "{told}");
    let kinds: Vec<&str> = told["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event[1] == "good")
        .filter_map(|event| event[0].as_str())
        .collect();
    assert_eq!(kinds, ["task-received", "task-started", "task-succeeded"]);
    assert_eq!(
        told["workers"].as_object().map(|workers| workers.len()),
        Some(1),
        "{}",
        Value::from(1)
    );
    assert!(headcount.sigterm().success());
}
