//! A wrong configuration is explained; a broker that refuses or is not there is tried again.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headcount_testkit::{Headcount, RabbitMq, Redis, Worker, WorkerOptions, run_once, wait_until};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const PATIENCE: Duration = Duration::from_secs(60);

/// Each with the line and the key that are wrong, and a word of what was expected.
const WRONG: [(&str, usize, &str, &str); 4] = [
    ("[[broker]]\nname = \"main\"\nurl = 5\n", 3, "url", "string"),
    (
        "[[broker]]\nname = \"main\"\nurl = \"redis://127.0.0.1/0\"\n\n[detect]\nprobe_evry = \"5s\"\n",
        6,
        "probe_evry",
        "probe_every",
    ),
    (
        "[[broker]]\nname = \"main\"\nurl = \"redis://127.0.0.1/0\"\n\n[detect]\ndown_after = \"soon\"\n",
        6,
        "down_after",
        "10s",
    ),
    (
        "[[broker]]\nname = \"main\"\nurl = \"gopher://127.0.0.1/0\"\n",
        3,
        "url",
        "redis",
    ),
];

#[test]
fn a_wrong_configuration_names_file_line_key_and_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    for (number, (text, line, key, expected)) in WRONG.into_iter().enumerate() {
        let path = dir.path().join(format!("wrong{number}.toml"));
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        for args in [&["check", &path][..], &["run", "--config", &path]] {
            let output = run_once(HEADCOUNT, args, PATIENCE);
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
            for part in [format!("{path}:{line}:"), key.to_owned(), expected.to_owned()] {
                assert!(said.contains(&part), "{args:?}: `{part}` is not in:\n{said}");
            }
        }
    }
}

/// Whoever reads the log by a program reads the last word, too.
#[test]
fn a_daemon_that_cannot_start_says_why_in_the_form_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let path = dir.path().join("taken.toml");
    let text = format!(
        "{}[server]\nlisten = \"{address}\"\n",
        broker_alone("redis://127.0.0.1:9/0")
    );
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let output = run_once(HEADCOUNT, &["run", "--config", &path], PATIENCE);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect(&said))
        .collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR", "{last}");
    let why = last["why"].as_str().unwrap_or_default();
    assert!(why.contains(&format!("cannot listen on {address}")), "{last}");

    // Where it is looked for before, it is found: no daemon of this configuration runs.
    let check = run_once(HEADCOUNT, &["check", &path, "--connect"], PATIENCE);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains(&format!("listen {address}: taken")), "{said}");
}

/// The smallest configuration.
fn broker_alone(url: &str) -> String {
    format!("[[broker]]\nname = \"main\"\nurl = \"{url}\"\n")
}

/// Not ready, and says why, without the password; alive all the while.
fn waits_for(headcount: &Headcount, secret: &str) {
    // It answers over HTTP a moment before its actors have reported.
    wait_until("life", PATIENCE, || {
        headcount.try_get("/healthz").filter(|(status, _)| *status == 200)
    });
    // Before a try has come to nothing there is no error in which a secret could show.
    headcount.process().wait_line("the broker cannot be heard", PATIENCE);
    let ready = wait_until("the broker in /readyz", PATIENCE, || {
        let (status, ready) = headcount.try_get("/readyz")?;
        assert_eq!(status, 503, "{ready}");
        ready.contains("main").then_some(ready)
    });
    let said = wait_until("the broker in the status", PATIENCE, || {
        let status = headcount.ask(&["status"]);
        let said = String::from_utf8_lossy(&status.stdout) + String::from_utf8_lossy(&status.stderr);
        said.contains("main").then(|| said.into_owned())
    });
    println!("{said}");
    let everything = format!("{said}{ready}{}", headcount.process().last_lines());
    assert!(!everything.contains(secret), "a secret shows in:\n{everything}");
    assert!(!everything.contains("panicked"), "{everything}");
    assert_eq!(headcount.try_get("/healthz").unwrap().0, 200);
}

#[test]
fn a_wrong_password_is_tried_again_until_it_is_right() {
    let redis = Redis::start_with_password("first-secret");
    let wrong = redis.url().replace("first-secret", "second-secret");
    let headcount = Headcount::launch(HEADCOUNT, &broker_alone(&wrong));
    waits_for(&headcount, "second-secret");
    let mut admin = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "second-secret"])
        .exec(&mut admin)
        .unwrap();
    wait_ready(&headcount);
}

#[test]
fn a_broker_that_is_not_there_is_tried_again_until_it_is() {
    let mut redis = Redis::start();
    redis.kill();
    let headcount = Headcount::launch(HEADCOUNT, &broker_alone(&redis.url()));
    waits_for(&headcount, "no secret here");
    redis.restart();
    wait_ready(&headcount);
    assert!(headcount.sigterm().success());
}

#[test]
fn a_rabbitmq_that_refuses_or_is_away_is_tried_again() {
    let mut rabbitmq = RabbitMq::start();
    let wrong = rabbitmq.url().replace("guest:guest", "guest:second-secret");
    let refused = Headcount::launch(HEADCOUNT, &broker_alone(&wrong));
    waits_for(&refused, "second-secret");

    rabbitmq.kill();
    let url = rabbitmq.url();
    let away = Headcount::launch(HEADCOUNT, &broker_alone(&url));
    waits_for(&away, "guest:guest");
    rabbitmq.restart();
    wait_ready(&away);
    let _worker = Worker::start(&url, "sms@h1", WorkerOptions::default());
    away.wait_worker("sms@h1", "up", PATIENCE);
    assert!(away.sigterm().success());
    assert!(refused.sigterm().success());
}

#[test]
fn it_is_tried_again_with_backoff() {
    // A server that hangs up on everybody, and counts.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    std::thread::spawn(move || {
        for _hung_up in listener.incoming() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let headcount = Headcount::launch(HEADCOUNT, &broker_alone(&format!("redis://127.0.0.1:{port}/0")));
    wait_until("a second attempt", PATIENCE, || {
        (attempts.load(Ordering::Relaxed) >= 2).then_some(())
    });
    waits_for(&headcount, "no secret here");
    // A loop without a pause would be at thousands by now.
    assert!(attempts.load(Ordering::Relaxed) < 100, "{attempts:?} attempts");
    assert!(headcount.sigterm().success());
}

fn wait_ready(headcount: &Headcount) {
    wait_until("readiness", PATIENCE, || {
        headcount.try_get("/readyz").filter(|(status, _)| *status == 200)
    });
}
