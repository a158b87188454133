//! Scheduled jobs with real Celery workers: what reaches them, what is known of it, and that a kill runs nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use headcount_testkit::{
    Broker, Headcount, Process, Worker, WorkerOptions, python, repository, run_once, run_script, send_tasks, wait_until,
};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
/// Brokers and workers that start beside a compiler take their time.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn on_redis() {
    a_job_runs_and_is_followed(Broker::redis());
}

#[test]
fn on_rabbitmq() {
    a_job_runs_and_is_followed(Broker::rabbitmq());
}

#[test]
fn killed_on_redis() {
    killed_and_started_again(&Broker::redis());
}

#[test]
fn killed_on_rabbitmq() {
    killed_and_started_again(&Broker::rabbitmq());
}

const WITNESS: &str = r#"
[[broker.routes]]
task = "fai*"
queue = "sms"

[[broker.routes]]
task = "add"
exchange = "feeds"
routing_key = "feed.tasks"

[[job]]
name = "witness"
every = "1s"
broker = "main"
queue = "sms"
task = "witness"
args = [30, "ä"]
kwargs = { dry = true, deep = { list = [1, 2.5] } }
expires = "1h"
priority = 3

[[job]]
name = "bad"
every = "2s"
task = "fail"

[[job]]
name = "own"
every = "1s"
task = "headcount.ping"

[[job]]
name = "far"
cron = "0 3 29 2 *"
timezone = "Europe/Berlin"
queue = "nobody"
task = "never"

[[job]]
name = "keyed"
every = "2s"
task = "add"
args = [1, 2]
"#;

/// What the worker's witness has told so far.
fn told(worker: &Process) -> Vec<Value> {
    let lines = worker.stderr().into_iter().chain(worker.stdout());
    lines
        .filter_map(|line| {
            line.split_once("WITNESS ")
                .map(|(_, told)| serde_json::from_str(told).unwrap())
        })
        .collect()
}

fn job(headcount: &Headcount, name: &str) -> Value {
    headcount.get(&format!("/api/v1/jobs/{name}?limit=1000"))
}

fn ended(headcount: &Headcount, name: &str, state: &str) -> Value {
    wait_until(&format!("a run of {name} that {state}"), PATIENCE, || {
        let job = job(headcount, name);
        let runs = job["runs"].as_array().unwrap().clone();
        runs.into_iter().find(|run| run["state"] == state)
    })
}

fn a_job_runs_and_is_followed(mut broker: Broker) {
    run_script(&broker.url(), "bind.py", &[&broker.url(), "keyed", "feeds", "feed.#"]);
    // Before its queue exists: what is sent waits for the worker, which must find the queue as it would have made it.
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + WITNESS));
    let sent = ended(&headcount, "witness", "sent");
    assert_eq!((&sent["worker"], &sent["ended_at"]), (&Value::Null, &Value::Null));
    let options = WorkerOptions {
        queues: vec!["sms".into(), "keyed".into()],
        ..WorkerOptions::default()
    };
    let worker = Worker::start(&broker.url(), "sms@h1", options);

    // What reached the worker, by Celery's own account.
    let first = wait_until("the witness", PATIENCE, || told(worker.process()).into_iter().next());
    println!("{}: {first}", broker.kind());
    assert_eq!(first["args"], json!([30, "ä"]));
    assert_eq!(first["kwargs"], json!({"dry": true, "deep": {"list": [1, 2.5]}}));
    let id = first["id"].as_str().unwrap().to_owned();
    assert_eq!((&first["root_id"], &first["correlation_id"]), (&json!(id), &json!(id)));
    assert!(first["origin"].as_str().unwrap().starts_with("gen"));
    assert!(first["origin"].as_str().unwrap().contains('@'));
    assert_eq!(first["eta"], Value::Null);
    let run = wait_until("the run of the witness", PATIENCE, || {
        let job = job(&headcount, "witness");
        let runs = job["runs"].as_array().unwrap().clone();
        runs.into_iter()
            .find(|run| run["id"] == id.as_str() && run["state"] == "succeeded")
    });
    let expires: jiff::Timestamp = first["expires"].as_str().unwrap().parse().unwrap();
    let slot: jiff::Timestamp = run["slot"].as_str().unwrap().parse().unwrap();
    let valid = expires.duration_since(slot).as_secs_f64();
    assert!((3_600.0..3_660.0).contains(&valid), "{valid} s");
    assert_eq!(first["delivery_info"]["priority"], 3);

    // Celery's own producer sends nothing that this lacks, to the same place.
    send_tasks(&broker.url(), &[("sms", "witness", json!(["celery"]))]);
    let celery = wait_until("Celery's own", PATIENCE, || {
        told(worker.process())
            .into_iter()
            .find(|told| told["args"] == json!(["celery"]))
    });
    for key in ["exchange", "routing_key"] {
        assert_eq!(
            first["delivery_info"][key], celery["delivery_info"][key],
            "{key}: {celery}"
        );
    }
    for (key, value) in celery.as_object().unwrap() {
        let kind = |value: &Value| std::mem::discriminant(value);
        // No answer is wanted of a job, and so it is said that there is none to keep: Celery says nothing, or false.
        if key != "expires" && key != "ignore_result" {
            assert_eq!(kind(&first[key]), kind(value), "{key}: {first} and {celery}");
        }
    }

    // What is known of it.
    assert_eq!(run["worker"], "sms@h1");
    assert!(run["runtime"].as_f64().unwrap() < 10.0 && run["started_at"].is_string() && run["ended_at"].is_string());
    let failed = ended(&headcount, "bad", "failed");
    assert_eq!(failed["worker"], "sms@h1");
    ended(&headcount, "own", "succeeded");
    // By the routes of the broker: to a queue, and to an exchange, which leads on.
    assert_eq!(job(&headcount, "bad")["queue"], "sms");
    ended(&headcount, "keyed", "succeeded");
    assert_eq!(job(&headcount, "keyed")["queue"], "feeds/feed.tasks");
    let jobs = headcount.get("/api/v1/jobs");
    let names: Vec<&str> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["witness", "bad", "own", "far", "keyed"]);
    assert_eq!(jobs[3]["last"], Value::Null);
    assert_eq!(jobs[3]["next"], "2028-02-29T02:00:00.000Z");
    let shown = headcount.ask(&["jobs"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    println!("{shown}");
    for words in [
        "witness",
        "every 1s",
        "0 3 29 2 * Europe/Berlin",
        "2028-02-29T02:00:00Z",
        "sms@h1",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let as_json: Value = serde_json::from_slice(&headcount.ask(&["jobs", "--json"]).stdout).unwrap();
    assert_eq!(as_json[2]["task"], "headcount.ping");
    let count = headcount.metric("headcount_jobs_runs_total", "job=\"witness\",state=\"succeeded\"");
    assert!(count.unwrap() >= 1.0, "{count:?}");
    assert_eq!(headcount.try_get("/api/v1/jobs/nobody").unwrap().0, 404);

    // The broker goes and comes back: sending goes on by itself.
    broker.kill();
    headcount.process().wait_line("a job's task cannot be sent", PATIENCE);
    broker.restart();
    let before = told(worker.process()).len();
    wait_until("another one after the outage", PATIENCE, || {
        (told(worker.process()).len() > before + 2).then_some(())
    });
    assert!(headcount.sigterm().success());
}

/// Slots each second, and kills without a word in the very moment of a slot. In the end no slot is left out, none has two
/// ids, and none has run twice; on RabbitMQ but for those whose kill fell between the broker's yes and its being noted.
fn killed_and_started_again(broker: &Broker) {
    const KILLS: usize = 5;
    let worker = Worker::start(&broker.url(), "sms@h1", WorkerOptions::default());
    let every_second =
        "[[job]]\nname = \"witness\"\nevery = \"1s\"\nqueue = \"sms\"\ntask = \"witness\"\nmissed = \"all\"\n";
    let mut headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + every_second));
    let runs = |headcount: &Headcount| job(headcount, "witness")["runs"].as_array().unwrap().clone();
    let mut known = 0;
    for _ in 0..KILLS {
        let before = runs(&headcount).len();
        known = wait_until("three more runs", PATIENCE, || {
            let runs = runs(&headcount);
            // What was missed while it started is sent all at once: the kill is to fall into one slot, not into many.
            let mut old = runs.iter().take(runs.len() - known).skip(1);
            let sent = old.all(|run| run["state"] != "claimed");
            (sent && runs.len() >= before + 3).then_some(runs.len())
        });
        headcount.sigkill();
        headcount.process().wait_exit(PATIENCE);
        headcount.restart();
    }
    // A claim whose Headcount was killed before it was sent is adopted when its lease is over.
    let last = wait_until("all older runs have been sent", PATIENCE, || {
        let runs = runs(&headcount);
        let (newest, old) = runs.split_first()?;
        let sent = old.iter().all(|run| run["state"] != "claimed");
        (sent && old.len() > 12).then(|| newest["slot"].clone())
    });
    assert!(headcount.sigterm().success());
    headcount.restart();
    let runs: Vec<Value> = runs(&headcount)
        .into_iter()
        .rev()
        .take_while(|run| run["slot"] != last)
        .collect();
    assert!(headcount.sigterm().success());
    let moment = |run: &Value| run["slot"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for two in runs.windows(2) {
        assert_eq!(moment(&two[1]).duration_since(moment(&two[0])).as_secs(), 1, "{two:?}");
    }
    let mut executed: BTreeMap<String, usize> = BTreeMap::new();
    wait_until("each has been executed", PATIENCE, || {
        executed.clear();
        for told in told(worker.process()) {
            *executed.entry(told["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        runs.iter()
            .all(|run| executed.contains_key(run["id"].as_str().unwrap()))
            .then_some(())
    });
    let twice: Vec<&String> = executed
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(id, _)| id)
        .collect();
    println!(
        "{}: {} slots, {KILLS} kills, executed twice: {twice:?}",
        broker.kind(),
        runs.len()
    );
    match broker {
        Broker::Redis(_) => assert!(twice.is_empty(), "{executed:?}"),
        // RabbitMQ cannot be asked what it has taken: a kill between its yes and our noting it makes it have it twice.
        Broker::RabbitMq(_) => assert!(
            twice.len() <= KILLS && executed.values().all(|count| *count <= 2),
            "{executed:?}"
        ),
    }
}

/// The one-liner of `headcount jobs import --help`, with real Celery.
#[test]
fn a_beat_schedule_is_imported_as_the_help_says() {
    let dump = r#"import json; from beat import app; print(json.dumps({"timezone": str(app.conf.timezone or "UTC"), "beat_schedule": app.conf.beat_schedule}, default=str))"#;
    let mut celery = std::process::Command::new(python());
    celery
        .args(["-c", dump])
        .current_dir(repository().join("tests/apps"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let dumped = celery.output().unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("beat.json");
    std::fs::write(&file, &dumped.stdout).unwrap();
    let imported = run_once(
        HEADCOUNT,
        &["jobs", "import", file.to_str().unwrap(), "--broker", "main"],
        PATIENCE,
    );
    let (tables, said) = (
        String::from_utf8(imported.stdout).unwrap(),
        String::from_utf8(imported.stderr).unwrap(),
    );
    println!("{tables}\n{said}");
    assert_eq!(imported.status.code(), Some(1), "not everything can be expressed");
    assert!(said.contains("10 of 14 entries became jobs") && said.contains("sunset: left out: a solar schedule"));
    let config = dir.path().join("headcount.toml");
    std::fs::write(
        &config,
        format!("[[broker]]\nname = \"main\"\nurl = \"redis://127.0.0.1\"\n{tables}"),
    )
    .unwrap();
    let checked = run_once(HEADCOUNT, &["check", config.to_str().unwrap()], PATIENCE);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let nonsense = run_once(HEADCOUNT, &["jobs", "import", config.to_str().unwrap()], PATIENCE);
    assert_eq!(nonsense.status.code(), Some(1));
    assert!(String::from_utf8(nonsense.stderr).unwrap().contains("not JSON"));
}
