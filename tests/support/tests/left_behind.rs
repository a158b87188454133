//! Whatever happens to a test, nothing that it started stays.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use headcount_testkit::{Pool, Process, RabbitMq, Redis, SlackStandIn, Worker, WorkerOptions, wait_until};

/// Inherited by everything that a victim starts, daemons too, so that it can be found in `/proc`.
const MARK: &str = "HEADCOUNT_TESTKIT_MARK";
/// How the victim is to end.
const END: &str = "HEADCOUNT_TESTKIT_END";
/// A file that appears when the victim may end.
const GO: &str = "HEADCOUNT_TESTKIT_GO";
/// A RabbitMQ and a worker start in it, one after the other.
const SOON: Duration = Duration::from_secs(400);

/// Starts one of everything and ends as it was told to. Run by the other tests, as a process of its own.
#[test]
#[ignore = "a victim, run by the tests beside it"]
fn victim() {
    let end = std::env::var(END).unwrap();
    let redis = Redis::start();
    let _rabbitmq = RabbitMq::start();
    let _slack = SlackStandIn::start();
    let prefork = WorkerOptions {
        pool: Pool::Prefork,
        ..WorkerOptions::default()
    };
    let _worker = Worker::start(&redis.url(), "sms@h1", prefork);
    println!("\nREDIS {}\nREADY", redis.process().pid());
    let go = PathBuf::from(std::env::var_os(GO).unwrap());
    wait_until("permission to end", SOON, || go.exists().then_some(()));
    match end.as_str() {
        "panic" => panic!("as asked"),
        // A static is never dropped: what a test binary shares among its tests ends in this way.
        "leak" => std::mem::forget((redis, _rabbitmq, _worker)),
        _ => loop {
            std::thread::park();
        },
    }
}

fn start_victim(end: &str, mark: &str, go: &Path) -> Process {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env(END, end)
        .env(MARK, mark)
        .env(GO, go)
        .stdin(Stdio::null());
    Process::start(format!("victim {end}"), &mut victim)
}

/// Everything that runs with the mark, as its command line.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let carries = |path: &PathBuf| {
        let environ = std::fs::read(path.join("environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    };
    processes
        .filter(carries)
        .map(|path| {
            String::from_utf8_lossy(&std::fs::read(path.join("cmdline")).unwrap_or_default()).replace('\0', " ")
        })
        .collect()
}

/// Directories of the kit that these command lines name.
fn temporary(of: &[String]) -> Vec<PathBuf> {
    of.iter()
        .flat_map(|command| command.split_whitespace())
        .filter(|word| word.contains("/headcount-"))
        .map(|word| PathBuf::from(word.trim_matches('"')))
        .filter(|path| path.exists())
        .collect()
}

fn nothing_stays(end: &str, act: impl FnOnce(&Process)) {
    let mark = format!("{end}-{}", std::process::id());
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let victim = start_victim(end, &mark, &go);
    victim.wait_line("READY", SOON);
    // Redis writes its title over its environment, so that the mark does not show on it.
    let redis = PathBuf::from("/proc").join(victim.wait_line("REDIS", SOON).replace("REDIS ", ""));
    let during = marked(&mark);
    for name in ["beam.smp", "epmd", "celery", "reaper"] {
        assert!(
            during.iter().any(|command| command.contains(name)),
            "{name} is not among {during:#?}"
        );
    }
    assert!(
        std::fs::read_to_string(redis.join("cmdline"))
            .unwrap()
            .contains("redis-server")
    );
    let directories = temporary(&during);
    assert!(!directories.is_empty());
    std::fs::write(&go, "").unwrap();
    act(&victim);
    wait_until("the end of everything", SOON, || {
        (marked(&mark).is_empty() && !redis.exists()).then_some(())
    });
    wait_until("the end of the directories", SOON, || {
        (!directories.iter().any(|path| path.exists())).then_some(())
    });
}

#[test]
fn after_a_panic() {
    nothing_stays("panic", |victim| {
        victim.wait_line("as asked", SOON);
        assert!(!victim.wait_exit(SOON).success());
    });
}

#[test]
fn after_a_kill() {
    nothing_stays("kill", |victim| {
        victim.sigkill();
    });
}

#[test]
fn after_a_leak() {
    nothing_stays("leak", |victim| {
        let status = victim.wait_exit(SOON);
        assert!(status.success(), "{status}\n{}", victim.last_lines());
    });
}
