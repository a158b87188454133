//! What is counted of tasks, against a recomputation in Python from the same events; and what is left of it after a restart.

use std::time::Duration;

use headcount_testkit::{Broker, Headcount, Pool, Worker, WorkerOptions, run_script};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(120);
/// All that a roll-up says of lengths of time is within this part of the value.
const ERROR: f64 = 0.01;

#[test]
fn on_redis() {
    counts_and_quantiles(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    counts_and_quantiles(&Broker::rabbitmq());
}

/// Long and short ones, some that fail, some that fail at first, and some that are to wait.
fn tasks() -> Vec<Value> {
    // From 30 to 330 ms, most of them short.
    let length = |n: u32| 0.03 + 0.3 * (f64::from(n * 37 % 200) / 200.0).powi(3);
    let sleeps = (0..200).map(|n| json!(["sms", "sleep", [length(n)], null]));
    let fails = (0..20).map(|_| json!(["sms", "fail", ["as asked"], null]));
    let retries = (0..8).map(|_| json!(["sms", "flaky", [], null]));
    let adds = (0..60).map(|n| json!(["tracker", "add", [n, 1], null]));
    let later = (0..10).map(|_| json!(["tracker", "spin", [0.05], 1.0]));
    retries.chain(sleeps).chain(fails).chain(adds).chain(later).collect()
}

fn counts_and_quantiles(broker: &Broker) {
    let url = broker.url();
    let options = |pool| WorkerOptions {
        pool,
        concurrency: 4,
        ..WorkerOptions::default()
    };
    let _workers = [
        Worker::start(&url, "sms@h1", options(Pool::Threads)),
        Worker::start(&url, "sms@h2", options(Pool::Prefork)),
        Worker::start(&url, "tracker@h1", options(Pool::Threads)),
    ];
    let mut headcount = Headcount::start_with_args(HEADCOUNT, &["--broker", &url]);
    for name in ["sms@h1", "sms@h2", "tracker@h1"] {
        headcount.wait_worker(name, "up", PATIENCE);
    }
    let tasks = serde_json::to_string(&tasks()).unwrap();
    let printed = run_script(&url, "count.py", &[&tasks]);
    let expected: Vec<Row> = serde_json::from_value(printed).unwrap();
    assert_eq!(expected.iter().map(|row| row.count).sum::<u64>(), 3 * 298 + 3 * 8);

    let counted = || -> Vec<Value> {
        headcount.get("/api/v1/stats/tasks")["rollups"]
            .as_array()
            .unwrap()
            .clone()
    };
    let count = |rollups: &[Value], row: &Row| -> u64 {
        let of_row = rollups.iter().filter(|rollup| row.is_of(rollup));
        of_row.map(|rollup| rollup["count"].as_u64().unwrap()).sum()
    };
    headcount.process().wait("all that Python has counted", PATIENCE, || {
        let rollups = counted();
        expected
            .iter()
            .all(|row| count(&rollups, row) >= row.count)
            .then_some(())
    });
    let rollups = counted();
    for row in &expected {
        assert_eq!(
            count(&rollups, row),
            row.count,
            "{} {} {}",
            row.fleet,
            row.task,
            row.outcome
        );
    }
    let known: u64 = expected.iter().map(|row| row.count).sum();
    let all: u64 = rollups.iter().map(|rollup| rollup["count"].as_u64().unwrap()).sum();
    assert_eq!(all, known, "nothing else was counted: {rollups:?}");

    // These run so long that their queue is known when they end.
    let sleeps = expected
        .iter()
        .find(|row| row.task == "sleep" && row.outcome == "succeeded")
        .unwrap();
    let shown = rollups
        .iter()
        .find(|rollup| sleeps.is_of(rollup) && rollup["queue"] == "sms")
        .unwrap();
    sleeps.compare(shown);
    // All 200, but for those whose queue a busy sender told too late: they have a line of their own.
    let of_queue = format!(" {} ", shown["count"]);
    for (task, outcome) in [("flaky", "retried"), ("flaky", "succeeded"), ("spin", "succeeded")] {
        let row = expected
            .iter()
            .find(|row| row.task == task && row.outcome == outcome)
            .unwrap();
        row.compare(
            rollups
                .iter()
                .find(|rollup| row.is_of(rollup) && rollup["queue"] != "")
                .unwrap(),
        );
    }
    let spins = rollups
        .iter()
        .find(|rollup| rollup["task"] == "spin" && rollup["outcome"] == "succeeded")
        .unwrap();
    assert_eq!(spins["wait_s"], Value::Null, "they were to wait");

    // The same in the terminal, and after a restart.
    let shown = headcount.ask(&["stats", "tasks", "--fleet", "sms", "--task", "sleep"]);
    let (shown, status) = (String::from_utf8(shown.stdout).unwrap(), shown.status);
    assert!(
        status.success() && shown.contains("sleep") && shown.contains(&of_queue),
        "{shown}"
    );
    let as_json = headcount.ask(&["stats", "tasks", "--json", "--since", "1d"]);
    let as_json: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!(as_json["rollups"].as_array().unwrap(), &rollups);
    headcount.sigkill();
    headcount.restart();
    let after = headcount.get("/api/v1/stats/tasks");
    assert_eq!(after["rollups"].as_array().unwrap(), &rollups);
    assert!(headcount.sigterm().success());
}

/// What Python has counted: every length of time, in order.
#[derive(serde::Deserialize)]
struct Row {
    fleet: String,
    task: String,
    outcome: String,
    count: u64,
    runtime: Vec<f64>,
    wait: Vec<f64>,
    queued: Vec<f64>,
}

impl Row {
    fn is_of(&self, rollup: &Value) -> bool {
        rollup["fleet"] == *self.fleet && rollup["task"] == *self.task && rollup["outcome"] == *self.outcome
    }

    fn compare(&self, rollup: &Value) {
        for (name, values) in [
            ("runtime_s", &self.runtime),
            ("wait_s", &self.wait),
            ("queued_s", &self.queued),
        ] {
            compare(&format!("{} {} {name}", self.task, self.outcome), values, &rollup[name]);
        }
    }
}

/// Every quantile lies within the error of the value that has its rank. Of a task whose `task-sent` came after its end, the queue
/// is not known: it is missing here, and the ranks are off by as much.
fn compare(what: &str, values: &[f64], shown: &Value) {
    if values.is_empty() {
        assert_eq!(*shown, Value::Null, "{what}");
        return;
    }
    let count = usize::try_from(shown["count"].as_u64().unwrap_or(0)).unwrap();
    let missing = values
        .len()
        .checked_sub(count)
        .unwrap_or_else(|| panic!("{what}: {count} of {}", values.len()));
    assert!(missing <= values.len() / 8, "{what}: {count} of {}", values.len());
    for (name, part) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
        let rank = (part * (values.len() - 1) as f64) as usize;
        let least = values[rank.saturating_sub(missing)] * (1.0 - ERROR);
        let most = values[(rank + missing).min(values.len() - 1)] * (1.0 + ERROR);
        let found = shown[name].as_f64().unwrap();
        assert!(
            (least..=most).contains(&found),
            "{what} {name}: {found} is not within {least} and {most}"
        );
    }
    if missing == 0 {
        let close = |found: &Value, value: f64| (found.as_f64().unwrap() - value).abs() < 2e-6;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!(
            close(&shown["mean"], mean) && close(&shown["max"], values[values.len() - 1]),
            "{what}: {shown}"
        );
    }
}
