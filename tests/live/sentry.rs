//! What a stand-in for Sentry gets of a bad day, read by Sentry's own SDK and Relay: every fault of it once or twice, however often
//! it came, and nothing of what is none.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use headcount_testkit::{
    Answer, Broker, Headcount, Mood, Redis, SentryStandIn, SlackStandIn, Worker, WorkerOptions, finish_script, python,
    repository, run_once, send_tasks, start_script, wait_until,
};
use serde_json::{Value, json};

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the one fault comes.
const TIMES: u64 = 10_000;
/// A Python sends a thousand in a second or two, and a node runs as many: on a busy machine that is minutes.
const FLOODED_WITHIN: Duration = Duration::from_secs(300);

/// A node, and a job that cannot succeed.
const OWN: &str = r#"
[[node]]
broker = "main"
concurrency = 16

[[job]]
name = "bad"
every = "2s"
task = "headcount.ping"
args = ["arg-secret-of-a-job"]
"#;

#[test]
fn a_bad_day() {
    let sentry = SentryStandIn::start();
    let slack = SlackStandIn::start();
    let mut broker = Broker::Redis(Redis::start_with_password("pass-secret-word"));
    let url = broker.url();
    let worker = Worker::start(&url, "sms@h1", WorkerOptions::default());
    let other = Worker::start(&url, "mail@h1", WorkerOptions::default());
    let config = format!(
        "{}{}{OWN}\n[sentry]\ndsn = \"{}\"\nenvironment = \"staging\"\nrelease = \"headcount@9.8.7\"\nserver_name = \"here\"\nerror_window = \"1d\"\ntask_failures = [\"sms\"]\n",
        broker.config(&["sms", "mail"]),
        slack.webhook_config(),
        sentry.dsn(),
    );
    let headcount = Headcount::start(HEADCOUNT, &config);
    headcount.wait_worker("sms@h1", "up", PATIENCE);
    headcount.wait_worker("mail@h1", "up", PATIENCE);
    headcount.process().wait_line("the node has joined", PATIENCE);

    // No fault of Headcount's, or of nobody: a task that is tried again, one that is revoked, and a fleet that nobody asked for.
    let failing = |queue: &'static str| (queue, "fail", json!(["arg-secret-of-a-task"]));
    let tasks = [
        failing("sms"),
        failing("sms"),
        failing("sms"),
        failing("mail"),
        ("sms", "flaky", json!([])),
    ];
    send_tasks(&url, &tasks);
    finish_script(&start_script(&url, "revoked.py", &["sms@h1", "sms", "sleep"]));
    // By their fleet alone: a `task-sent`, which alone tells the queue, may come after all else.
    for (fleet, outcome, count) in [
        ("sms", "failed", 3),
        ("mail", "failed", 1),
        ("sms", "retried", 1),
        ("sms", "revoked", 1),
    ] {
        wait_until(&format!("{count} {outcome} of {fleet}"), PATIENCE, || {
            let told = headcount.get("/api/v1/stats/tasks");
            let rows = told["rollups"].as_array()?.iter();
            let of_it = rows.filter(|row| row["fleet"] == fleet && row["outcome"] == outcome);
            let sum: u64 = of_it.filter_map(|row| row["count"].as_u64()).sum();
            (sum == count).then_some(())
        });
    }

    // One fault, ten thousand times.
    let args = json!(["arg-secret-of-a-node"]).to_string();
    let times = TIMES.to_string();
    let flood = start_script(&url, "flood.py", &["headcount", "headcount.ping", &times, &args]);
    flood.wait_exit(FLOODED_WITHIN);
    finish_script(&flood);
    let failed = || {
        headcount
            .metric("headcount_node_tasks_total", "state=\"FAILURE\"")
            .unwrap_or_default()
    };
    wait_until("all of them", FLOODED_WITHIN, || {
        (failed() > TIMES as f64 - 0.5).then_some(())
    });

    // Slack says 429, and is asked again.
    slack.answer_next([Answer::TooMany(1)]);
    other.sigkill();
    slack.next_text("DOWN mail", PATIENCE);

    // A panic.
    assert_eq!(headcount.post("/test/panic/FleetProber"), Some(202));
    sentry.wait("panic", PATIENCE, |event| event["logger"] == "panic");
    headcount.wait_ready();

    // The broker is restarted.
    broker.kill();
    wait_until("a broker that is not heard", PATIENCE, || {
        headcount.try_get("/readyz").filter(|(status, _)| *status != 200)
    });
    broker.restart();
    headcount.wait_ready();

    assert!(headcount.sigterm().success());
    let events = read(&sentry, &["pass-secret", "arg-secret", sentry.key(), "/services/"]);
    let mut sums: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for event in &events {
        println!(
            "{}",
            serde_json::to_string(event)
                .unwrap()
                .chars()
                .take(400)
                .collect::<String>()
        );
        let sum = sums.entry(title(event).to_owned()).or_default();
        sum.0 += 1;
        sum.1 += event["extra"]["times"].as_u64().unwrap();
    }
    println!("{sums:#?}");
    let jobs = sums.remove("a job has failed").expect("the job");
    assert!(jobs.0 <= 2 && jobs.1 >= 2, "{jobs:?}");
    let watched = sums.remove("fail failed: RuntimeError").expect("the watched tasks");
    assert!(watched.0 <= 2 && watched.1 == 3, "{watched:?}");
    let expected = [("panic", (1, 1)), ("task failed, and is not tried again", (2, TIMES))];
    assert_eq!(sums, expected.map(|(title, sum)| (title.to_owned(), sum)).into());

    let tags = |title: &str| -> BTreeMap<String, String> {
        let event = events.iter().find(|event| self::title(event) == title).unwrap();
        serde_json::from_value::<Vec<(String, String)>>(event["tags"].clone())
            .unwrap()
            .into_iter()
            .collect()
    };
    let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let panic = tags("panic");
    assert_eq!(panic["actor"], "FleetProber");
    assert!(["sms", "mail"].contains(&panic["fleet"].as_str()), "{panic:?}");
    let node: BTreeMap<String, String> = tags("task failed, and is not tried again");
    assert_eq!(
        (&*node["broker"], &*node["task"], &*node["exception"]),
        ("main", "headcount.ping", "TypeError"),
        "{node:?}"
    );
    let watched: BTreeMap<String, String> = of(&[
        ("broker", "main"),
        ("exception", "RuntimeError"),
        ("fleet", "sms"),
        ("server_name", "here"),
        ("task", "fail"),
    ]);
    assert_eq!(tags("fail failed: RuntimeError"), watched);
    let job: BTreeMap<String, String> = tags("a job has failed");
    assert_eq!((&*job["job"], &*job["task"]), ("bad", "headcount.ping"), "{job:?}");
    assert!(
        !job.contains_key("broker"),
        "it is Headcount's own, and goes through none: {job:?}"
    );
    for event in &events {
        assert_eq!(
            (&event["release"], &event["environment"]),
            (&"headcount@9.8.7".into(), &"staging".into())
        );
    }
    drop(worker);
}

/// Sentry hangs, and the daemon neither waits for it nor takes longer to stop; turned off by a reload, it gets nothing more.
#[test]
fn a_sentry_that_hangs_and_one_that_is_turned_off() {
    let sentry = SentryStandIn::start();
    sentry.set_mood(Mood::Hang);
    let broker = Broker::redis();
    let with = |sentry: String| format!("{}{OWN}{sentry}", broker.config(&[]));
    let on = with(format!(
        "[sentry]\ndsn = \"{}\"\ntraces_sample_rate = 1.0\n",
        sentry.dsn()
    ));
    let headcount = Headcount::start(HEADCOUNT, &on);
    wait_until("a request", PATIENCE, || (sentry.requests() > 0).then_some(()));
    let began = Instant::now();
    assert!(headcount.sigterm().success());
    println!("stopped in {:?} with a Sentry that hangs", began.elapsed());

    sentry.set_mood(Mood::Accept);
    let mut headcount = headcount;
    headcount.restart();
    let trace = sentry.wait("trace of a task", PATIENCE, |item| item["transaction"] == "task");
    assert_eq!(trace["contexts"]["trace"]["data"]["name"], "headcount.ping");
    headcount.reconfigure(&with(String::new()).replace("\"bad\"", "\"worse\""));
    headcount.process().wait_line("starting with the new one", PATIENCE);
    headcount.wait_ready();
    let before = sentry.requests();
    headcount
        .process()
        .wait_line("and the log of who ran it\",\"job\":\"worse\"", PATIENCE);
    assert!(headcount.sigterm().success());
    assert_eq!(sentry.requests(), before);
    read(&sentry, &["arg-secret", sentry.key()]);
}

/// A configuration that reads well, and cannot be started.
#[test]
fn a_daemon_that_cannot_start() {
    let sentry = SentryStandIn::start();
    let redis = Redis::start_with_password("pass-secret-word");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headcount.toml");
    let config = format!(
        "[server]\nlisten = \"{address}\"\n[store]\nurl = \"sqlite:{}\"\n[[broker]]\nname = \"main\"\nurl = \"{}\"\n[sentry]\ndsn = \"{}\"\n",
        dir.path().join("store.db").display(),
        redis.url(),
        sentry.dsn(),
    );
    std::fs::write(&file, config).unwrap();
    let output = run_once(HEADCOUNT, &["run", "--config", &file.display().to_string()], PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address.to_string()), "{said}");
    let events = read(&sentry, &["pass-secret", sentry.key()]);
    let [event] = &events[..] else {
        panic!("one event: {events:#?}");
    };
    assert_eq!(
        (title(event), &event["level"]),
        (
            format!("Headcount cannot go on: cannot listen on {address}").as_str(),
            &"fatal".into()
        )
    );
    let why = event["extra"]["error"].as_str().unwrap();
    assert!(why.contains(&address.to_string()), "{why}");
}

/// The log and the metrics say once that Sentry refuses, and once that it works again; Sentry hears of neither.
#[test]
fn a_sentry_that_refuses() {
    let sentry = SentryStandIn::start();
    sentry.set_mood(Mood::Refuse(403));
    let broker = Broker::redis();
    let config = format!(
        "{}{OWN}[sentry]\ndsn = \"{}\"\nerror_window = \"10s\"\n",
        broker.config(&[]),
        sentry.dsn()
    );
    let headcount = Headcount::start(HEADCOUNT, &config);
    let warned = headcount
        .process()
        .wait_line("Sentry does not accept the key", PATIENCE);
    assert!(
        warned.contains("127.0.0.1") && !warned.contains(sentry.key()),
        "{warned}"
    );
    wait_until("a refusal that is counted", PATIENCE, || {
        let refused = headcount.metric("headcount_sentry_dropped_total", "reason=\"refused\"");
        refused.filter(|count| *count > 0.5)
    });
    assert_eq!(headcount.metric("headcount_sentry_sent_total", ""), Some(0.0));
    sentry.set_mood(Mood::Accept);
    sentry.wait("the job's failures", PATIENCE, |event| {
        event["message"] == "a job has failed"
    });
    headcount
        .process()
        .wait_line("Sentry takes what it is told again", PATIENCE);
    wait_until("an event that is counted", PATIENCE, || {
        headcount
            .metric("headcount_sentry_sent_total", "")
            .filter(|count| *count > 0.5)
    });
    assert!(headcount.sigterm().success());
    let said = headcount.process().stderr();
    for once in ["Sentry does not accept the key", "Sentry takes what it is told again"] {
        assert_eq!(said.iter().filter(|line| line.contains(once)).count(), 1, "{said:#?}");
    }
    for event in read(&sentry, &["arg-secret", sentry.key()]) {
        assert!(!event.to_string().contains("accept the key"), "{event:#}");
    }
}

/// What an issue is called by.
fn title(event: &Value) -> &str {
    let message = event["logentry"]["formatted"].as_str();
    message.or(event["exception"]["values"][0]["type"].as_str()).unwrap()
}

/// The events as Sentry's Relay reads them; none of them may have a fault, and none of the bytes a secret.
fn read(sentry: &SentryStandIn, secrets: &[&str]) -> Vec<Value> {
    for bytes in sentry.envelopes() {
        let text = String::from_utf8_lossy(&bytes);
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    sentry.write_into(folder.path());
    let check = repository().join("tests/sentry/check.py").display().to_string();
    let output = Command::new(python())
        .args([&check, &folder.path().display().to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let items: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for item in &items {
        assert_eq!(item["faults"], json!({}), "{item:#}");
    }
    items.into_iter().map(|mut item| item["what"].take()).collect()
}

#[test]
fn check_sends_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headcount.toml");
    let file = file.display().to_string();
    let sentry = SentryStandIn::start();
    let redis = Redis::start();
    let check = |dsn: &str| {
        let text = format!(
            "[[broker]]\nname = \"main\"\nurl = \"{}\"\n[store]\nurl = \"sqlite:{}\"\n[sentry]\ndsn = \"{dsn}\"\n",
            redis.url(),
            dir.path().join("store.db").display()
        );
        std::fs::write(&file, text).unwrap();
        let output = run_once(HEADCOUNT, &["check", &file, "--connect"], PATIENCE);
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said.into_owned())
    };
    let (code, said) = check(&sentry.dsn());
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("ok      sentry") && !said.contains(sentry.key()),
        "{said}"
    );
    assert_eq!(sentry.requests(), 0);
    let (code, said) = check("https://abcdef-no-project@example.org");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("sentry.dsn: expected a DSN") && !said.contains("abcdef"),
        "{said}"
    );
}
