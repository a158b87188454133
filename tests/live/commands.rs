//! `probe` and `status` against real fleets: for people, for programs, and the exit codes.

use std::process::{Command, Output};
use std::time::Duration;

use headcount_testkit::{Broker, Headcount, Process, Worker, WorkerOptions, free_port, run_once, wait_until};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
/// A deadline of silence is a minute where Headcount doubts itself, as on a machine that stalls.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn on_redis() {
    commands(&Broker::redis());
}

#[test]
fn on_rabbitmq() {
    commands(&Broker::rabbitmq());
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs a command, asserts its exit code, and returns its standard output.
fn exits(code: i32, args: &[&str]) -> String {
    let output = run_once(HEADCOUNT, args, PATIENCE);
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    out
}

/// Looks until it is right, and returns its standard output: a look waits two seconds for answers, and on a busy machine one may
/// take longer.
fn at_last(args: &[&str], right: impl Fn(Option<i32>, &str) -> bool) -> String {
    wait_until(&format!("the right end of {args:?}"), PATIENCE, || {
        let output = run_once(HEADCOUNT, args, PATIENCE);
        let ((out, err), code) = (text(&output), output.status.code());
        assert!(!err.contains("panicked"), "{err}");
        if right(code, &out) {
            return Some(out);
        }
        println!("{args:?}: {code:?}\n{out}{err}");
        None
    })
}

fn commands(broker: &Broker) {
    let url = broker.url();
    // Nobody is there yet: four were expected.
    let lacking = |code: Option<i32>| {
        // Whoever is slow may be lacking as well; that all is well is never told.
        assert_ne!(code, Some(0), "four were expected");
        code
    };
    at_last(&["probe", "--broker", &url, "--expect", "4"], |code, _| {
        lacking(code) == Some(2)
    });

    let names = ["sms@h1", "sms@h2", "tracker@h1"];
    let workers = Worker::start_all(&url, &names, &WorkerOptions::default());
    let out = at_last(&["probe", "--broker", &url, "--expect", "3"], |code, _| code == Some(0));
    for name in names {
        assert!(out.contains(name), "{name} is not in {out}");
    }
    let out = at_last(&["probe", "--broker", &url, "--json"], |code, out| {
        code == Some(0) && names.iter().all(|name| out.contains(name))
    });
    let json: Value = serde_json::from_str(&out).unwrap();
    for name in names {
        assert!(json.to_string().contains(name), "{name} is not in {json}");
    }
    // One fewer than expected is the caller's trouble: a warning or worse, as a plugin of Nagios says it.
    at_last(&["probe", "--broker", &url, "--expect", "4"], |code, _| {
        matches!(lacking(code), Some(1 | 2))
    });

    let headcount = Headcount::start_with_args(HEADCOUNT, &["--broker", &url]);
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }
    let status = headcount.ask(&["status"]);
    let (out, err) = text(&status);
    assert_eq!(status.status.code(), Some(0), "{err}");
    for word in ["sms", "tracker", "sms@h1", "sms@h2", "tracker@h1", "up"] {
        assert!(out.contains(word), "{word} is not in\n{out}");
    }
    let (out, _) = text(&headcount.ask(&["status", "--json"]));
    let json: Value = serde_json::from_str(&out).unwrap();
    for name in names {
        assert!(json.to_string().contains(name), "{name} is not in {json}");
    }

    // What happens next is seen too, and told on standard output, as no notifier is configured.
    workers[2].sigkill();
    headcount.wait_worker("tracker@h1", "down", PATIENCE);
    let (out, _) = text(&headcount.ask(&["status"]));
    assert!(out.contains("down"), "{out}");
    headcount.process().wait_line("DOWN tracker", PATIENCE);

    let url = headcount.url();
    assert!(headcount.sigterm().success());
    exits(1, &["status", "--url", &url]);
}

#[test]
fn a_broker_that_is_not_there_is_unknown_to_probe() {
    exits(
        3,
        &["probe", "--broker", &format!("redis://127.0.0.1:{}/0", free_port())],
    );
    exits(
        3,
        &["probe", "--broker", &format!("amqp://127.0.0.1:{}//", free_port())],
    );
}

#[test]
fn a_port_that_the_system_gives_is_said() {
    let broker = Broker::redis();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(HEADCOUNT);
    command
        .args(["run", "--broker", &broker.url()])
        .env("HEADCOUNT__SERVER__LISTEN", "127.0.0.1:0")
        .current_dir(folder.path());
    let daemon = Process::start("headcount", &mut command);
    let line = daemon.wait_line("is watching; http://127.0.0.1:", PATIENCE);
    let (_, after) = line.split_once("http://127.0.0.1:").unwrap();
    let port: String = after.chars().take_while(char::is_ascii_digit).collect();
    exits(0, &["status", "--url", &format!("http://127.0.0.1:{port}")]);
    daemon.sigterm();
    assert!(daemon.wait_exit(PATIENCE).success());
}

#[test]
fn wrong_use_is_two() {
    exits(2, &["run", "--no-such-flag"]);
    exits(2, &["no-such-command"]);
    exits(2, &["status", "--url", "127.0.0.1:8787"]);
    // What could not be read has no number of mistakes.
    let (_, why) = text(&run_once(HEADCOUNT, &["check", "/nowhere.toml"], PATIENCE));
    assert_eq!(
        why,
        "/nowhere.toml: cannot read the file: No such file or directory (os error 2)\n"
    );
    exits(2, &["check", "/nowhere.toml"]);
    // A Nagios plugin that is called wrongly says that it does not know.
    for (args, said) in [
        (
            &["--broker", "gopher://127.0.0.1/"][..],
            "--broker: url: a broker URL begins with",
        ),
        (
            &["--broker", "env:NOT_SET_ANYWHERE"],
            "--broker: the environment variable NOT_SET_ANYWHERE is not set",
        ),
        (
            &["--broker", "redis://h", "--timeout", "0"],
            "invalid value '0' for '--timeout <S>'",
        ),
        (
            &["--broker", "redis://h", "--timeout", "nan"],
            "invalid value 'nan' for '--timeout <S>'",
        ),
        (&["--no-such-flag"], "unexpected argument '--no-such-flag'"),
        (
            &[],
            "the following required arguments were not provided: --broker <URL>",
        ),
    ] {
        let all: Vec<&str> = ["probe"].iter().chain(args).copied().collect();
        let out = exits(3, &all);
        assert!(
            out.starts_with(&format!("UNKNOWN - {said}")) && out.lines().count() == 1,
            "{all:?}: {out:?}"
        );
        let json: Value = serde_json::from_str(&exits(3, &[&all[..], &["--json"]].concat())).unwrap();
        assert_eq!(
            (json["status"].as_str(), json["broker"].as_str()),
            (Some("unknown"), None)
        );
    }
}

#[test]
fn a_probe_is_bounded_by_its_timeout_and_a_little() {
    // Takes connections and never says a word, as does a server of another protocol that waits for more.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for url in [
        format!("amqp://127.0.0.1:{port}//"),
        format!("redis://127.0.0.1:{port}/0"),
    ] {
        let began = std::time::Instant::now();
        let out = exits(3, &["probe", "--timeout", "0.1", "--broker", &url]);
        // A little is 3 s; alone, each of them waits 10 s for a server. The rest is for a process that starts on a busy machine.
        assert!(began.elapsed() < Duration::from_secs(9), "{url}: {:?}", began.elapsed());
        assert!(out.starts_with("UNKNOWN - "), "{out}");
    }
}
