//! What a Flower may say, and should not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headcount_actors::ports::{Broker, BrokerError, Inspect, Lane, SessionEnd};
use headcount_core::celery::{Decoder, Event, RawMessage, WorkerKind};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::rows::Row;
use super::stand_in::{Say, StandIn};
use super::{Address, Flower, ask};

const PATIENCE: Duration = Duration::from_secs(60);

fn flower(url: &str) -> Flower {
    Flower::new("far".to_owned(), Address::parse(url).unwrap()).unwrap()
}

/// What a session tells its lane.
#[derive(Clone, Debug, Default)]
struct Heard {
    opened: bool,
    events: Vec<(String, WorkerKind)>,
    canaries: usize,
}

struct Recorder(watch::Sender<Heard>);

impl Lane for Recorder {
    fn opened(&mut self) {
        self.0.send_modify(|heard| heard.opened = true);
    }

    fn message(&mut self, message: RawMessage<'_>) {
        let decoded = Decoder::new().decode(message, |event| match event {
            Event::Worker(event) => {
                let event = (event.hostname.to_owned(), event.kind);
                self.0.send_modify(|heard| heard.events.push(event));
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(decoded.malformed, 0);
    }

    fn batch_end(&mut self) {}

    fn canary(&mut self, _: Duration) {
        self.0.send_modify(|heard| heard.canaries += 1);
    }

    fn blocked(&mut self, _: bool) {}
}

async fn listen(flower: &Flower) -> SessionEnd {
    flower.listen(&mut Recorder(watch::channel(Heard::default()).0)).await
}

async fn not_opened(say: impl Fn(&str) -> Say + Send + Sync + 'static) -> BrokerError {
    let server = StandIn::start(say).await;
    match timeout(PATIENCE, listen(&flower(&format!("http://me:hunter2@{}", server.at)))).await {
        Ok(SessionEnd::NotOpened(error)) => {
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            error
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whatever_it_answers_is_an_error_that_says_so() {
    let says = [
        (
            Say::Answer(401, "", vec![]),
            "refused: Flower does not take this user name and password (HTTP 401)",
        ),
        (
            Say::Answer(403, "", vec![]),
            "refused: Flower does not take this user name and password (HTTP 403)",
        ),
        (
            Say::Answer(500, "", b"Traceback".to_vec()),
            "connection lost: Flower has trouble of its own (HTTP 500)",
        ),
        (
            Say::Answer(503, "", vec![]),
            "connection lost: Flower has trouble of its own (HTTP 503)",
        ),
        (Say::Answer(204, "", vec![]), "unexpected answer: HTTP 204"),
        (
            Say::Answer(404, "", vec![]),
            "unexpected answer: there is no /workers (HTTP 404)",
        ),
        (
            Say::ok("<!DOCTYPE html>"),
            "unexpected answer: not Flower's list of workers: it is a web page",
        ),
        (
            Say::ok("{\"data\": ["),
            "unexpected answer: not Flower's list of workers",
        ),
        (
            Say::ok("[".repeat(1 << 20)),
            "unexpected answer: not Flower's list of workers",
        ),
        (Say::Claim(1 << 40), "unexpected answer: an answer of more than 32 MiB"),
        (Say::Close, "connection lost: "),
    ];
    for (say, begins) in says {
        let said = not_opened({
            let say = say.clone();
            move |_| say.clone()
        })
        .await
        .to_string();
        assert!(said.starts_with(begins), "{said}, and not {begins}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let said = not_opened(|_| Say::Endless).await.to_string();
    assert_eq!(said, "unexpected answer: an answer of more than 32 MiB");
}

#[tokio::test]
async fn no_answer_is_not_waited_for_for_ever() {
    let error = not_opened(|_| Say::Nothing).await;
    assert!(matches!(error, BrokerError::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let elsewhere = StandIn::start(|_| Say::ok(r#"{"data": []}"#)).await;
    let location: &'static str = format!("location: http://{}/workers\r\n", elsewhere.at).leak();
    let error = not_opened(move |_| Say::Answer(302, location, vec![])).await;
    assert!(
        matches!(&error, BrokerError::Refused(why) if why.contains("elsewhere")),
        "{error:?}"
    );
    assert_eq!(elsewhere.asked(), [""; 0]);
}

#[tokio::test]
async fn the_login_and_the_prefix_are_what_the_url_says() {
    let server = StandIn::start(|_| Say::ok("{}")).await;
    let broker = flower(&format!("http://me:p%40ss@{}/flower", server.at));
    broker.queues(&[]).await.unwrap_err();
    let head = server.asked().remove(0);
    assert!(head.starts_with("GET /flower/api/queues/length"), "{head}");
    // me:p@ss
    assert!(
        head.to_ascii_lowercase().contains("authorization: basic bwu6cebzcw=="),
        "{head}"
    );
}

/// `/api/workers` of a Flower: all who are in `moves` answer each time, the others never.
fn replies(moves: &'static [&'static str], count: &AtomicU64) -> Say {
    let count = count.fetch_add(1, Ordering::SeqCst);
    let mut all = serde_json::Map::new();
    for name in ["a@h", "b@h", "c@h", "d@h"] {
        let timestamp = 1.5 + if moves.contains(&name) { count as f64 } else { 0.0 };
        all.insert(
            name.to_owned(),
            json!({ "timestamp": timestamp, "stats": { "pid": 7 }, "active": [{ "args": ["x"] }] }),
        );
    }
    all.insert("odd@h".to_owned(), json!({ "timestamp": "now", "stats": [] }));
    all.insert("none@h".to_owned(), json!(null));
    Say::ok(serde_json::to_vec(&all).unwrap())
}

#[tokio::test]
async fn only_a_reply_that_is_new_is_an_answer() {
    let count = AtomicU64::new(0);
    let server = StandIn::start(move |path| match path {
        path if path.contains("workername=e%40h") => Say::Answer(404, "", b"Unknown worker 'e@h'".to_vec()),
        _ => replies(&["a@h", "c@h"], &count),
    })
    .await;
    let broker = flower(&format!("http://{}", server.at));
    let probe = async |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).into()).collect();
        loop {
            // A round rests after the last, and until then nobody is asked.
            let probes = broker.probe(&names, PATIENCE).await.unwrap();
            if !probes.is_empty() {
                let answers = probes
                    .into_iter()
                    .map(|probe| (probe.hostname.to_string(), probe.answers));
                return answers.collect::<Vec<_>>();
            }
            tokio::task::yield_now().await;
        }
    };
    let expected = |all: &[(&str, u32)]| {
        all.iter()
            .map(|(name, answers)| ((*name).to_owned(), *answers))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        probe(&["b@h", "a@h", "b@h"]).await,
        expected(&[("b@h", 0), ("a@h", 1), ("b@h", 0)])
    );
    // In a large fleet one or two are asked by name.
    let crowd: Vec<_> = (0..200)
        .map(|n| Row {
            hostname: format!("{n}@h").into(),
            ..Row::default()
        })
        .collect();
    broker.beats().look(Instant::now(), &crowd, |_, _| {});
    assert_eq!(
        probe(&["b@h", "a@h", "b@h"]).await,
        expected(&[("b@h", 0), ("a@h", 1), ("b@h", 0)])
    );
    assert_eq!(probe(&["e@h"]).await, expected(&[("e@h", 0)]));
    let by_name = server
        .asked()
        .iter()
        .filter(|head| head.contains("workername="))
        .count();
    assert_eq!(by_name, 3);
    let many = probe(&["a@h", "b@h", "c@h", "d@h", "odd@h", "none@h", "e@h"]).await;
    let of_many = [
        ("a@h", 1),
        ("b@h", 0),
        ("c@h", 1),
        ("d@h", 0),
        ("odd@h", 0),
        ("none@h", 0),
        ("e@h", 0),
    ];
    assert_eq!(many, expected(&of_many));

    let inspect = async |method| {
        let ask = Inspect {
            method,
            arguments: serde_json::Map::new(),
            destination: None,
            timeout: PATIENCE,
        };
        let mut replies = broker.inspect(ask).await?;
        replies.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        Ok::<_, BrokerError>(
            replies
                .into_iter()
                .map(|reply| (reply.hostname.to_string(), reply.body))
                .collect::<Vec<_>>(),
        )
    };
    let pong = json!({ "ok": "pong" });
    assert_eq!(
        inspect("ping").await.unwrap(),
        [("a@h".to_owned(), pong.clone()), ("c@h".to_owned(), pong)]
    );
    assert_eq!(
        inspect("stats").await.unwrap()[1],
        ("c@h".to_owned(), json!({ "pid": 7 }))
    );
    assert_eq!(inspect("active_queues").await.unwrap(), []);
    assert_eq!(inspect("shutdown").await.unwrap(), [], "it has no page for that");
    assert_eq!(
        inspect("active").await.unwrap(),
        [],
        "nor for the tasks of everybody: what it shows is old"
    );
}

#[tokio::test]
async fn tasks_are_counted_of_workers_that_are_asked_by_name() {
    let count = AtomicU64::new(0);
    let server = StandIn::start(move |_| replies(&["a@h", "b@h", "c@h"], &count)).await;
    let broker = flower(&format!("http://{}", server.at));
    let inspect = async |method: &'static str, names: &[&str]| {
        let ask = Inspect {
            method,
            arguments: serde_json::Map::new(),
            destination: Some(names.iter().map(|name| (*name).into()).collect()),
            timeout: PATIENCE,
        };
        let replies = broker.inspect(ask).await.unwrap();
        replies
            .into_iter()
            .map(|reply| (reply.hostname.to_string(), reply.body))
            .collect::<Vec<_>>()
    };
    let by_name = || {
        let asked = server.asked();
        asked.iter().filter(|head| head.contains("workername=")).count()
    };
    // Arguments are not read: a task is one task.
    let one = |name: &str| (name.to_owned(), json!([null]));
    assert_eq!(
        inspect("active", &["a@h", "d@h"]).await,
        [one("a@h")],
        "d@h keeps an old reply"
    );
    assert_eq!(inspect("reserved", &["a@h", "d@h"]).await, []);
    assert_eq!(by_name(), 2, "several commands are one question to each");
    // Of many, some have their turn: first those who have not had it.
    let many = ["a@h", "b@h", "c@h", "d@h"];
    assert_eq!(inspect("active", &many).await, [one("a@h")]);
    tokio::time::pause();
    tokio::time::advance(ask::GOOD_FOR * 2).await;
    tokio::time::resume();
    let mut both = inspect("active", &many).await;
    both.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(both, [one("b@h"), one("c@h")]);
    assert_eq!(by_name(), 4);
}

/// `visibility_timeout = float("inf")` in one worker's configuration, and half a character in its name of a queue.
#[tokio::test]
async fn one_workers_odd_configuration_does_not_hide_what_others_answer() {
    let count = AtomicU64::new(0);
    let server = StandIn::start(move |_| {
        let count = count.fetch_add(1, Ordering::SeqCst);
        Say::ok(format!(
            r#"{{"odd@h": {{"timestamp": {count}.5, "conf": {{"visibility_timeout": Infinity}}, "stats": {{"pid": 7, "x": "\ud800"}}}},
            "a@h": {{"timestamp": {count}.5, "stats": {{"pid": 8}}}}}}"#
        ))
    })
    .await;
    let broker = flower(&format!("http://{}", server.at));
    let ask = Inspect {
        method: "stats",
        arguments: serde_json::Map::new(),
        destination: None,
        timeout: PATIENCE,
    };
    let mut pids: Vec<_> = broker
        .inspect(ask)
        .await
        .unwrap()
        .into_iter()
        .map(|reply| reply.body["pid"].as_u64())
        .collect();
    pids.sort_unstable();
    assert_eq!(pids, [Some(7), Some(8)]);
}

#[tokio::test]
async fn queues_are_those_that_were_asked_for() {
    let body = r#"{"active_queues": [{"name": "sms", "messages": 5}, {"name": "x", "messages": 1}, {"name": "odd"},
        {"name": "r", "messages": 2, "consumers": 3, "vhost": "/", "arguments": {}}]}"#;
    let server = StandIn::start(move |_| Say::ok(body)).await;
    let broker = flower(&format!("http://{}", server.at));
    let queues = broker
        .queues(&["r".into(), "sms".into(), "odd".into(), "none".into()])
        .await
        .unwrap();
    let seen: Vec<_> = queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue.length, queue.consumers))
        .collect();
    assert_eq!(seen, [("sms", 5, None), ("r", 2, Some(3))]);
}

/// What the Flower of the next test does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hears {
    Everything,
    /// Its events have ceased; workers still answer it.
    AnswersAlone,
    Nothing,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flower_that_hears_nobody_is_told_from_workers_that_are_silent() {
    let hears = Arc::new(Mutex::new(Hears::Everything));
    let (beats, count) = (AtomicU64::new(500), AtomicU64::new(0));
    let now = Arc::clone(&hears);
    let server = StandIn::start(move |path| {
        let now = *now.lock().unwrap();
        if path.starts_with("/workers") {
            let beats = beats.fetch_add(u64::from(now == Hears::Everything), Ordering::SeqCst);
            let row = json!({ "hostname": "a@h", "worker-heartbeat": beats, "heartbeats": [1.5], "pid": 7 });
            Say::ok(json!({ "data": [row] }).to_string())
        } else if path.starts_with("/api/queues") {
            // A RabbitMQ behind it, whose management says nothing of what its clients hear.
            Say::ok(r#"{"active_queues": [{"name": "sms", "messages": 5, "vhost": "/"}]}"#)
        } else {
            replies(if now == Hears::Nothing { &[] } else { &["a@h"] }, &count)
        }
    })
    .await;
    let (shown, mut heard) = watch::channel(Heard::default());
    let broker = flower(&format!("http://{}", server.at));
    let session = tokio::spawn(async move { broker.listen(&mut Recorder(shown)).await });
    let mut until = async |what: &str, condition: &mut dyn FnMut(&Heard) -> bool| {
        let waited = timeout(PATIENCE, heard.wait_for(condition)).await;
        waited
            .unwrap_or_else(|_| panic!("not in time: {what}"))
            .unwrap_or_else(|_| panic!("ended before: {what}"))
            .clone()
    };
    let first = until("beats", &mut |heard| heard.events.len() >= 2).await;
    assert!(first.opened);
    assert_eq!(first.events[0], ("a@h".to_owned(), WorkerKind::Heartbeat));

    *hears.lock().unwrap() = Hears::AnswersAlone;
    let rounds = || server.asked().iter().filter(|head| head.contains("refresh=1")).count();
    // It is asked again and again, and is believed each time: the session goes on, without any beat.
    let asked = until("a canary after two rounds", &mut |_| rounds() >= 2).await;
    let later = until("more canaries", &mut |heard| heard.canaries > asked.canaries).await;
    assert_eq!(later.events.len(), asked.events.len());

    *hears.lock().unwrap() = Hears::Nothing;
    let changed = Instant::now();
    match timeout(PATIENCE, session).await.unwrap().unwrap() {
        SessionEnd::Broke(BrokerError::Lost(why)) => {
            assert!(
                why.starts_with("Flower answers, and has heard no event of any worker for"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(changed.elapsed() < Duration::from_secs(30));
}
