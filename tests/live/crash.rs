//! A worker is killed: people read it within 12 s, and that it is back within 10 s.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use headcount_testkit::{Broker, Headcount, Message, SlackStandIn, Worker, WorkerOptions, poll_until, wait_until};
use serde_json::Value;

const HEADCOUNT: &str = env!("CARGO_BIN_EXE_headcount");
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Longer than what is promised, so that a late message shows how late it is.
const PATIENCE: Duration = Duration::from_secs(120);
/// For so long a worker that has never answered may have a solo pool at work.
const UNANSWERED: Duration = Duration::from_secs(60);
/// What the product promises, with default settings.
const TOLD_WITHIN: Duration = Duration::from_secs(12);
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn on_redis() {
    crash(Broker::redis());
}

#[test]
fn on_rabbitmq() {
    crash(Broker::rabbitmq());
}

/// Each has one connection that shows, and others subscribe too: theirs are no worker's.
#[test]
fn on_redis_beside_others_and_without_gossip() {
    let broker = Broker::redis();
    let subscribe = || {
        let mut stream = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
        stream.write_all(b"PSUBSCRIBE others.*\r\n").unwrap();
        stream
    };
    let others = [subscribe(), subscribe()];
    let options = WorkerOptions {
        extra: vec!["--without-gossip".to_owned()],
        ..WorkerOptions::default()
    };
    let names = ["sms@host1", "sms@host2", "sms@host3"];
    let workers = Worker::start_all(&broker.url(), &names, &options);
    let headcount = Headcount::start(HEADCOUNT, &broker.config(&["sms"]));
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }

    // The others leave just as one of them begins to pause, for longer than it takes to find a crash.
    let paused = workers[0].sigstop();
    drop(others);
    headcount.wait_worker("sms@host1", "suspect", PATIENCE);
    let rest = Duration::from_millis(8_500).saturating_sub(paused.elapsed());
    let down = || headcount.worker("sms@host1").filter(|worker| worker["state"] == "down");
    assert_eq!(poll_until(rest, down), None);
    workers[0].sigcont();
    headcount.wait_worker("sms@host1", "up", UP_WITHIN);

    // Of two that are killed together, neither is taken for the other.
    let killed = Worker::sigkill_together(&workers[1..]);
    for name in ["sms@host2", "sms@host3"] {
        let down = headcount.wait_worker(name, "down", PATIENCE);
        println!("{name}: {} after {:?}", down["diagnosis"], killed.elapsed());
        assert_eq!(down["diagnosis"], "crashed", "{down}");
    }
    assert!(headcount.sigterm().success());
}

/// Started again under its name before it is down, and killed again between its word that it is online and its subscription: nobody
/// has seen a connection of it, and it is not taken for a solo pool at work whose connection stands.
#[test]
fn killed_while_it_starts_on_redis() {
    let broker = Broker::redis();
    let names = ["sms@host1", "sms@host2", "sms@host3"];
    let mut workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    let headcount = Headcount::start(HEADCOUNT, &broker.config(&["sms"]));
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }
    workers[1].sigkill();
    // Its connections have been seen to be gone by then, and are not settled to have been its own. It is suspect for two or three
    // seconds: where the look comes later, or the start takes longer, it is down before, and nothing less holds of it.
    wait_until("sms@host2 to be missed", PATIENCE, || {
        let state = headcount.worker("sms@host2")?["state"].clone();
        (state == "suspect" || state == "down").then_some(())
    });
    workers[1].relaunch();
    // It says online just before, and subscribes a second later.
    workers[1].process().wait_line("mingle: searching", PATIENCE);
    let killed = workers[1].sigkill();
    let down = headcount.wait_worker("sms@host2", "down", UNANSWERED + PATIENCE);
    println!("redis: {} after {:?}", down["diagnosis"], killed.elapsed());
    for name in ["sms@host1", "sms@host3"] {
        assert_ne!(headcount.worker(name).unwrap()["state"], "down", "{name}");
    }
    assert!(headcount.sigterm().success());
}

fn crash(broker: Broker) {
    let slack = SlackStandIn::start();
    let names = ["sms@host1", "sms@host2", "sms@host3"];
    let mut workers = Worker::start_all(&broker.url(), &names, &WorkerOptions::default());
    let headcount = Headcount::start(HEADCOUNT, &(broker.config(&["sms"]) + &slack.token_config()));
    for name in names {
        headcount.wait_worker(name, "up", UP_WITHIN);
    }

    // One of three.
    let killed = workers[1].sigkill();
    let opened = slack.next_text("DEGRADED sms", PATIENCE);
    report(&broker, "one of three killed, DEGRADED", killed, &opened, TOLD_WITHIN);
    assert!(opened.text().contains("2 of 3"), "{}", opened.text());
    assert!(opened.text().contains("sms@host2"), "{}", opened.text());
    let first = the_open_incident(&headcount);
    assert_eq!(headcount.worker("sms@host2").unwrap()["state"], "down");
    if matches!(broker, Broker::RabbitMq(_)) {
        assert!(opened.text().contains("crashed"), "{}", opened.text());
        assert_eq!(first["diagnosis"], "crashed");
        assert_eq!(headcount.worker("sms@host2").unwrap()["diagnosis"], "crashed");
    }

    let back = workers[1].restart();
    let recovered = slack.next_text("RECOVERED sms", PATIENCE);
    report(&broker, "it is back, RECOVERED", back, &recovered, RECOVERED_WITHIN);
    names_incident(&recovered, &first, &opened);

    // All three.
    headcount.wait_worker("sms@host2", "up", UP_WITHIN);
    let killed = Worker::sigkill_together(&workers);
    // Together they are one failure, told as what it is: not first as a lesser one.
    let down = slack.next_text("", PATIENCE);
    assert!(down.text().starts_with("DOWN sms"), "{}", down.text());
    report(&broker, "all three killed, DOWN", killed, &down, TOLD_WITHIN);
    assert!(down.text().contains("0 of 3"), "{}", down.text());
    let second = the_open_incident(&headcount);
    assert_ne!(first["id"], second["id"]);
    workers.iter_mut().for_each(Worker::relaunch);
    workers.iter().for_each(Worker::wait_ready);
    let back = Instant::now();
    let recovered = slack.next_text("RECOVERED sms", PATIENCE);
    report(
        &broker,
        "all three are back, RECOVERED",
        back,
        &recovered,
        RECOVERED_WITHIN,
    );
    names_incident(&recovered, &second, &down);

    assert!(headcount.sigterm().success());
    // Not one more than these, to the very end, in this order. Where one of the three is back 10 s before the last of them, a thread
    // is told that as well.
    let texts = slack.texts();
    let first_word = |text: &String| text.split(' ').next().unwrap().to_owned();
    let eased = |text: &String| text.starts_with("DEGRADED") && text.contains("workers up again");
    let (told, rest) = texts.split_at(3);
    let (last, between) = rest.split_last().expect("the recovery");
    let words: Vec<_> = told.iter().chain([last]).map(first_word).collect();
    assert_eq!(words, ["DEGRADED", "RECOVERED", "DOWN", "RECOVERED"], "{texts:#?}");
    assert!(between.len() <= 2 && between.iter().all(eased), "{texts:#?}");
}

fn report(broker: &Broker, what: &str, since: Instant, message: &Message, promised: Duration) {
    let took = message.at.saturating_duration_since(since);
    println!(
        "{}: {what} after {:.1} s (promised: {promised:?}): {}",
        broker.kind(),
        took.as_secs_f64(),
        message.text()
    );
    assert!(took <= promised, "{what}: {took:?}, and {promised:?} are promised");
}

fn the_open_incident(headcount: &Headcount) -> Value {
    let open = headcount.get("/api/v1/incidents?state=open");
    assert_eq!(open.as_array().map(Vec::len), Some(1), "{open}");
    open[0].clone()
}

/// The message that it is over names the incident and its length, in the thread of the message that it had begun.
fn names_incident(recovered: &Message, incident: &Value, opened: &Message) {
    let all = format!("{}\n{}", recovered.text(), recovered.rendered());
    assert!(
        all.contains(incident["id"].as_str().unwrap()),
        "{} is not named in {all}",
        incident["id"]
    );
    let words: Vec<&str> = recovered.text().split([' ', ',', ';', ':']).collect();
    let length = |pair: &[&str]| pair[0].parse::<u32>().is_ok() && ["s", "min", "h"].contains(&pair[1]);
    assert!(
        words.windows(2).any(length),
        "no length of time in {:?}",
        recovered.text()
    );
    assert_eq!(
        recovered.thread(),
        opened.ts.as_deref(),
        "{recovered:#?} is not under {opened:#?}"
    );
}
