//! What the `celery` command and Flower see of the node.

use std::time::Duration;

use headcount_testkit::{
    Broker, Flower, Worker, WorkerOptions, celery, finish_script, run_once, start_script, wait_until,
};
use serde_json::{Value, json};

use super::{HEADCOUNT, NODE, PATIENCE, joined, start};

/// Some thirty commands, each with a round trip to the node.
const COMMANDS_WITHIN: Duration = Duration::from_secs(300);

pub(crate) fn seen(broker: &Broker) {
    let headcount = start(broker, "");
    joined(&headcount);
    // A worker's mingle asks the node, and is not upset by its answer. It waits for a second, and asks no more: who comes late is
    // asked by the next one.
    let mut worker = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let met = |worker: &Worker| {
        let said = [worker.process().stderr(), worker.process().stdout()].concat();
        said.iter().any(|line| line.contains("mingle: sync with 1 nodes"))
    };
    for _ in 0..3 {
        if !met(&worker) {
            worker.warm_shutdown(PATIENCE);
            worker.restart();
        }
    }
    assert!(met(&worker), "{}", worker.process().last_lines());
    let url = broker.url();
    // It waits as long.
    wait_until("the status of both", PATIENCE * 2, || {
        let (code, status) = celery(&url, &["status"]);
        let both = status.contains(&format!("{NODE}: OK")) && status.contains("2 nodes online");
        (code == Some(0) && both).then_some(())
    });

    let inspected = [
        ("ping", "pong"),
        ("stats", "max-concurrency"),
        ("active", "- empty -"),
        ("reserved", "- empty -"),
        ("scheduled", "- empty -"),
        ("registered", "headcount.status"),
        ("active_queues", "headcount"),
        ("revoked", "- empty -"),
        ("conf", "task_default_queue"),
        ("report", "software -> headcount"),
        ("clock", "clock"),
        ("query_task", "OK"),
        ("memsample", "KeyError"),
    ];
    let mut lines: Vec<Vec<&str>> = Vec::new();
    for (command, _) in inspected {
        let id = ["some-id"].as_slice();
        let also = if command == "query_task" { id } else { &[] };
        lines.push([&["inspect", "-d", NODE, "--timeout", "10", command], also].concat());
    }
    let controlled = [
        (
            ["rate_limit", "headcount.ping", "10/m"].as_slice(),
            "new rate limit set successfully",
        ),
        (
            &["time_limit", "headcount.ping", "1", "2"],
            "time limits set successfully",
        ),
        (&["rate_limit", "no.such", "10/m"], "unknown task"),
        (&["enable_events"], "task events enabled"),
        (&["disable_events"], "task events disabled"),
        (&["pool_grow", "2"], "pool will grow"),
        (&["pool_shrink", "2"], "pool will shrink"),
        (&["autoscale", "4", "2"], "Autoscale not enabled"),
        (&["pool_restart"], "Pool restarts not enabled"),
        (&["add_consumer", "q"], "and no other"),
        (&["cancel_consumer", "headcount"], "and no other"),
        (&["heartbeat"], NODE),
        (&["revoke", "some-id"], "flagged as revoked"),
        (&["terminate", "SIGKILL", "some-id"], "terminate: tasks unknown"),
        (&["shutdown"], "does not obey shutdown"),
    ];
    for (command, _) in controlled {
        lines.push([&["control", "-d", NODE, "--timeout", "10"], command].concat());
    }
    let script = start_script(&url, "cli.py", &[&json!(lines).to_string()]);
    script.wait_exit(COMMANDS_WITHIN);
    let told = finish_script(&script);
    let parts = inspected
        .map(|(_, part)| part)
        .into_iter()
        .chain(controlled.map(|(_, part)| part));
    for ((line, part), told) in lines.iter().zip(parts).zip(told.as_array().unwrap()) {
        let said = told[1].as_str().unwrap();
        assert!(said.contains(part), "celery {line:?}: {said}");
        assert!(line[0] == "control" || told[0] == 0, "celery {line:?}: {told}");
        let of_pipelines = line.contains(&"registered") && said.contains("headcount.stats");
        assert!(
            !of_pipelines,
            "without a [[stats]] there are no tasks for pipelines: {said}"
        );
    }

    // Who counts workers does not count it: neither a look from outside, nor the daemon itself.
    let probe = run_once(HEADCOUNT, &["probe", "--broker", &url, "--json"], PATIENCE);
    let probe: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let names: Vec<&str> = probe["workers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|worker| worker["hostname"].as_str())
        .collect();
    assert_eq!(names, ["sms@h1"], "{probe}");
    headcount.wait_worker("sms@h1", "up", PATIENCE);
    let fleets = headcount.get("/api/v1/fleets");
    let fleets: Vec<&str> = fleets
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|fleet| fleet["name"].as_str())
        .collect();
    assert_eq!(fleets, ["sms"], "nobody misses himself");

    let flower = Flower::start(&url);
    let shown = wait_until("Flower knows all of the node", PATIENCE, || {
        let workers = run_flower(&flower);
        let node = workers.get(NODE)?.clone();
        (node["stats"].is_object() && node["registered"].is_array() && node["active_queues"].is_array()).then_some(node)
    });
    assert_eq!(shown["active_queues"][0]["name"], "headcount", "{shown}");
    assert_eq!(shown["stats"]["pool"]["max-concurrency"], 4, "{shown}");

    // What Flower's buttons do. (Those for one task know only the tasks of Flower's own application.) Flower waits for a second
    // for an answer; one that comes later is one that it does not tell, and its command is carried out all the same.
    let mut grown = 4;
    for (path, expected, part) in [
        (format!("worker/pool/grow/{NODE}?n=2"), 200, "Growing"),
        ("task/revoke/some-id?terminate=true".to_owned(), 200, "some-id"),
        (format!("worker/queue/add-consumer/{NODE}?queue=q"), 403, "and no other"),
    ] {
        wait_until(&format!("{path}: {expected}, {part}"), PATIENCE, || {
            grown += if path.contains("grow") { 2 } else { 0 };
            let (status, text) = flower.post(&format!("/api/{path}")).expect("Flower answers");
            println!("{path}: {status} {text}");
            (status == expected && text.contains(part)).then_some(())
        });
    }
    wait_until("Flower sees that it has grown", PATIENCE, || {
        let node = run_flower(&flower).get(NODE)?.clone();
        (node["stats"]["pool"]["max-concurrency"] == grown).then_some(())
    });

    assert!(headcount.sigterm().success());
    let (_, status) = celery(&url, &["status"]);
    assert!(!status.contains(NODE), "it has left: {status}");
}

fn run_flower(flower: &Flower) -> Value {
    flower.get("/api/workers?refresh=1").unwrap_or_default()
}
