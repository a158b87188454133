//! The node beside a real worker: what both answer to `celery inspect` has one shape, and both leave when they are told.

use std::time::Instant;

use headcount_testkit::{
    Broker, Headcount, Pool, Worker, WorkerOptions, celery, finish_script, run_script, send_tasks, start_script,
};
use serde_json::{Map, Value, json};

use super::{HEADCOUNT, NODE, PATIENCE, backend, call, config, joined};

const WORKER: &str = "alike@h1";
/// Of what runs when it is told to leave, in seconds: `call.py` waits for a minute.
const LONGEST: f64 = 50.0;

pub(crate) fn alike(broker: &Broker) {
    let lines = "queue = \"apart\"\nconcurrency = 1\nobey_shutdown = true";
    // Celery's default pool: the one whose answers are the fullest.
    let options = WorkerOptions {
        pool: Pool::Prefork,
        concurrency: 1,
        ..WorkerOptions::default()
    };
    let worker = Worker::launch(&broker.url(), WORKER, options);
    let headcount = Headcount::start(HEADCOUNT, &config(broker, lines));
    joined(&headcount);
    worker.wait_ready();
    let nodes = json!([[NODE, "apart", "headcount.sleep"], [WORKER, "alike", "sleep"]]);
    let told = run_script(&broker.url(), "ask.py", &[&nodes.to_string()]);
    for (command, answers) in told.as_object().unwrap() {
        let (ours, theirs) = (&answers[NODE], &answers[WORKER]);
        assert!(!ours.is_null() && !theirs.is_null(), "{command}: {answers:#}");
        if command == "conf" {
            // The node has few of Celery's settings; what it shows is one of them, of its type.
            for (key, value) in ours.as_object().unwrap() {
                let known = theirs.get(key).unwrap_or_else(|| panic!("Celery has no {key}"));
                // Celery's default of this one is a span of time, which it shows in words; one that is set may be a number.
                let unset = known.is_null() || value.is_null() || key == "result_expires";
                assert!(unset || kind(value) == kind(known), "conf: {key}: {value} and {known}");
            }
            continue;
        }
        let (ours, theirs) = (comparable(command, ours), comparable(command, theirs));
        assert_eq!(shape(&ours), shape(&theirs), "{command}: {ours:#}\nand {theirs:#}");
    }
    leaves(broker, &headcount, &worker);
    assert!(headcount.sigterm().success());
}

/// As a worker it ends what runs, takes no more, and goes without an answer; the daemon stays.
fn leaves(broker: &Broker, headcount: &Headcount, worker: &Worker) {
    let sleep = |id: &str, seconds: f64| json!(["headcount.sleep", [seconds], {}, {"queue": "apart", "task_id": id}]);
    // While it runs two Pythons have their say, one after the other: so it takes as long as several of them.
    let asked = Instant::now();
    let echo = [("headcount.echo", json!([]), json!({"queue": "apart"}))];
    call(broker, &backend(broker), &echo);
    let seconds = (2.5 + 4.0 * asked.elapsed().as_secs_f64()).ceil().min(LONGEST);
    let calls = json!([sleep("the last", seconds)]).to_string();
    let last = start_script(&broker.url(), "call.py", &[&broker.url(), &backend(broker), &calls]);
    headcount.process().wait_line("\"the last\"", PATIENCE);
    send_tasks(
        &broker.url(),
        &[
            ("apart", "headcount.ping", json!([])),
            ("apart", "headcount.ping", json!([])),
        ],
    );
    let told = run_script(&broker.url(), "leave.py", &[NODE, WORKER]);
    assert_eq!(told, json!([]), "neither answers");
    headcount.process().wait_line("the node has left", PATIENCE);
    assert!(worker.process().wait_exit(PATIENCE).success());
    assert_eq!(finish_script(&last)[0]["ok"], seconds, "what ran has ended");
    let began = |line: &&String| line.contains("task begins") && line.contains("headcount.ping");
    let log = headcount.process().stderr();
    assert_eq!(log.iter().filter(began).count(), 0, "what waited is left to others");
    let (_, status) = celery(&broker.url(), &["status", "--timeout", "1"]);
    assert!(!status.contains(NODE), "{status}");
    assert_eq!(headcount.try_get("/healthz").unwrap().0, 200);
    // Until it is started anew.
    headcount.process().sighup();
    headcount.process().wait("the node has joined again", PATIENCE, || {
        let log = headcount.process().stderr();
        let joined = log.iter().filter(|line| line.contains("the node has joined"));
        (joined.count() == 2).then_some(())
    });
    headcount.process().wait_line("headcount.ping", PATIENCE);
}

/// What of an answer has to be alike. Left out is:
fn comparable(command: &str, answer: &Value) -> Value {
    let mut answer = answer.clone();
    match command {
        "stats" => {
            // The tasks are each one's own; their counts are not.
            let counts: Vec<Value> = answer["total"].as_object().unwrap().values().cloned().collect();
            answer["total"] = counts.into();
            // What was written to the pipes of child processes, which the node does not have: it says N/A, as Celery does
            // where its pool does not count that.
            assert!(answer["pool"]["writes"].is_object() || answer["pool"]["writes"] == "N/A");
            answer["pool"]["writes"] = Value::Null;
        }
        // A text for people: what is named in it. Which software that is, and its settings, are each one's own.
        "report" => answer["ok"] = named(answer["ok"].as_str().unwrap()).into(),
        _ => {}
    }
    answer
}

/// `platform -> system:Linux arch:64bit` names `platform`, `system` and `arch`.
fn named(report: &str) -> Vec<String> {
    let head = report.trim_start().split("\n\n").next().unwrap_or_default();
    let software =
        |line: &&str| !line.contains("celery:") && !line.contains("headcount:") && !line.contains("billiard:");
    let words = head.lines().filter(software).flat_map(str::split_whitespace);
    let key = |word: &'_ str| word.split_once(':').map_or(word, |(key, _)| key).to_owned();
    let named = ["platform", "loader", "settings"];
    words
        .filter(|word| word.contains(':') || named.contains(word))
        .map(key)
        .collect()
}

/// The keys and the types; of a list, each shape that is in it.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let shaped = fields.iter().map(|(key, value)| (key.clone(), shape(value)));
            Value::Object(shaped.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let mut shapes: Vec<Value> = items.iter().map(shape).collect();
            shapes.sort_by_key(Value::to_string);
            shapes.dedup();
            shapes.into()
        }
        other => kind(other).into(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "yes or no",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "whole number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
