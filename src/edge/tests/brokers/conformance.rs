//! The kit: what is the same for all brokers.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, COMMANDS, Inspect, Presence, Probe, Reply, SessionEnd};
use headcount_core::celery::Malformed;
use headcount_core::celery::event::MAX_BODY;
use headcount_edge::brokers::{Config, open};
use headcount_testkit::{Worker, WorkerOptions};

use crate::listener::{Listener, PATIENCE, refused_session};

/// Long enough for any answer that comes at all, beside a compiler.
const ANSWER: Duration = Duration::from_secs(30);

/// How long an answer that must not come is waited for.
pub(crate) const SILENCE: Duration = Duration::from_millis(800);

/// The same where the broker itself has to do something meanwhile, which may stall.
pub(crate) const LONG_SILENCE: Duration = Duration::from_millis(3_200);

/// What is not there yet is asked for again after this.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Opens a broker with Celery's default settings.
pub(crate) fn broker(url: &str) -> Arc<dyn Broker> {
    open(Config::new("main", url)).unwrap()
}

/// What one kind of broker knows of a worker that does not answer.
pub(crate) struct Sight {
    /// It is connected, and answers.
    pub(crate) answering: Presence,
    /// It is connected, and silent.
    pub(crate) silent: Presence,
    /// It is not connected.
    pub(crate) gone: Presence,
}

fn names(hostnames: &[&str]) -> Vec<CompactString> {
    hostnames
        .iter()
        .map(|hostname| CompactString::from(*hostname))
        .collect()
}

/// Waits until a worker has answered `times` under this name: on Redis it says that it is ready, and only then subscribes
/// to commands.
pub(crate) async fn until_it_answers(broker: &Arc<dyn Broker>, hostname: &str, times: u32) {
    let asking = async { while probe_one(broker, hostname, SILENCE).await.answers != times {} };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{hostname} does not answer {times} times"));
}

/// Waits until the broker shows this of a worker that does not answer: it sees a killed one's connection end when the
/// system has closed it, which takes a moment on a busy machine.
pub(crate) async fn until_shown(broker: &Arc<dyn Broker>, hostname: &str, presence: Presence) {
    let asking = async {
        loop {
            let probe = probe_one(broker, hostname, SILENCE).await;
            assert_eq!(probe.answer, None);
            if probe.presence == presence {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{hostname} is not shown as {presence:?}"));
}

pub(crate) async fn probe_one(broker: &Arc<dyn Broker>, hostname: &str, timeout: Duration) -> Probe {
    let mut probes = probe_all(broker, &names(&[hostname]), timeout).await;
    assert_eq!(probes.len(), 1);
    probes.remove(0)
}

/// A broker that stalls for longer than an answer is waited for has told nothing of any worker: it is asked again.
async fn probe_all(broker: &Arc<dyn Broker>, targets: &[CompactString], timeout: Duration) -> Vec<Probe> {
    let asking = async {
        loop {
            match broker.probe(targets, timeout).await {
                Err(BrokerError::Timeout(_)) => {}
                probes => return probes.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("the broker answers")
}

/// Events of real workers are heard, the canary comes, and probes and inspect commands tell what is so.
/// Returns the first worker, alive; the second has been killed.
pub(crate) async fn watches_workers(url: &str, sight: &Sight) -> (Arc<dyn Broker>, Listener, Worker) {
    let broker = broker(url);
    let mut listener = Listener::start(&broker).await;
    let mut workers = Worker::start_all(url, &["sms@h1", "sms@h2"], &WorkerOptions::default());
    listener
        .until("events of both workers", |heard| heard.workers.len() == 2)
        .await;
    let heard = listener.until("two canaries", |heard| heard.canaries.len() >= 2).await;
    assert_eq!(heard.malformed, []);

    for worker in &workers {
        until_it_answers(&broker, worker.hostname(), 1).await;
    }
    let targets = names(&["sms@h2", "nobody@h9", "sms@h1", "sms@h2"]);
    // The one who is not there is waited for to the end, so a worker that stalls is asked again rather than given much time.
    let asking = async {
        loop {
            let probes = probe_all(&broker, &targets, LONG_SILENCE).await;
            let hostnames: Vec<_> = probes.iter().map(|probe| probe.hostname.clone()).collect();
            assert_eq!(hostnames, targets);
            if [0, 2, 3].iter().all(|alive| probes[*alive].answers > 0) {
                return probes;
            }
        }
    };
    let probes = tokio::time::timeout(PATIENCE, asking).await.expect("both answer");
    for alive in [0, 2, 3] {
        assert_eq!(
            (probes[alive].answers, probes[alive].presence),
            (1, sight.answering),
            "{probes:?}"
        );
        assert!(probes[alive].answer.unwrap() < ANSWER);
    }
    assert_eq!(
        (probes[1].answers, probes[1].answer, probes[1].presence),
        (0, None, sight.gone)
    );

    inspects(&broker).await;
    let unknown = broker.inspect(Inspect {
        method: "no_such_method",
        arguments: serde_json::Map::new(),
        destination: Some(names(&["sms@h1"])),
        timeout: ANSWER,
    });
    let unknown = unknown.await.unwrap();
    assert!(unknown[0].body["error"].is_string(), "{unknown:?}");

    let second = workers.pop().unwrap();
    second.sigstop();
    let frozen = probe_one(&broker, "sms@h2", SILENCE).await;
    assert_eq!((frozen.answer, frozen.presence), (None, sight.silent));
    second.sigcont();
    // The answer to the first ping comes late, and is none to this one.
    let thawed = probe_one(&broker, "sms@h2", ANSWER).await;
    assert_eq!((thawed.answers, thawed.presence), (1, sight.answering));
    second.sigkill();
    until_shown(&broker, "sms@h2", sight.gone).await;
    (broker, listener, workers.pop().unwrap())
}

/// Two workers, `sms@h1` and `sms@h2`, reply to inspect commands.
pub(crate) async fn inspects(broker: &Arc<dyn Broker>) {
    let both: &[&str] = &["sms@h1", "sms@h2"];
    let started = std::time::Instant::now();
    let (stats, queues, one, all) = tokio::join!(
        replies(broker, "stats", Some(both), ANSWER, 2),
        replies(broker, "active_queues", Some(both), ANSWER, 2),
        replies(broker, "ping", Some(&["sms@h2"]), ANSWER, 1),
        replies(broker, "ping", None, SILENCE, 2),
    );
    assert!(started.elapsed() < ANSWER, "all who were named had answered");
    for (reply, hostname) in stats.iter().chain(&queues).chain(&all).zip(both.iter().cycle()) {
        assert_eq!(reply.hostname, *hostname);
    }
    assert_eq!((stats.len(), queues.len(), one.len(), all.len()), (2, 2, 1, 2));
    assert!(
        stats
            .iter()
            .all(|reply| reply.body["pid"].is_u64() && reply.body["pool"].is_object()),
        "{stats:?}"
    );
    assert!(queues.iter().all(|reply| reply.body[0]["name"] == "sms"), "{queues:?}");
    assert!(
        all.iter().chain(&one).all(|reply| reply.body["ok"] == "pong"),
        "{all:?}"
    );
    assert_eq!(one[0].hostname, "sms@h2");
    passes_on_what_is_asked(broker).await;
}

/// What is replied to a command, sorted by who replies. Where a worker stalls for longer than is waited for (by Flower, for one
/// second), or the broker does, it is asked again, until so many reply.
pub(crate) async fn replies(
    broker: &Arc<dyn Broker>,
    method: &'static str,
    destination: Option<&[&str]>,
    timeout: Duration,
    count: usize,
) -> Vec<Reply> {
    let asking = async {
        loop {
            let replies = broker.inspect(Inspect {
                method,
                arguments: serde_json::Map::new(),
                destination: destination.map(names),
                timeout,
            });
            match replies.await {
                Ok(mut replies) if replies.len() >= count => {
                    replies.sort_by(|a, b| a.hostname.cmp(&b.hostname));
                    return replies;
                }
                Ok(_) | Err(BrokerError::Timeout(_)) => tokio::time::sleep(AGAIN_AFTER).await,
                Err(error) => panic!("{method}: {error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{method}: not {count} replies in time"))
}

/// Whatever is asked to learn what a worker is, and how its work goes, is never an error for lack of a command.
async fn passes_on_what_is_asked(broker: &Arc<dyn Broker>) {
    for method in COMMANDS {
        let replies = replies(broker, method, Some(&["sms@h1", "sms@h2"]), ANSWER, 2).await;
        assert_eq!(replies.len(), 2, "{method}: {replies:?}");
        let is_list = |reply: &Reply| reply.body.is_array() || matches!(method, "ping" | "stats");
        assert!(replies.iter().all(is_list), "{method}: {replies:?}");
    }
}

/// Bodies that no worker sends.
pub(crate) fn hostile_bodies() -> Vec<Vec<u8>> {
    let mut deep = b"[".repeat(200_000);
    deep.extend(b"]".repeat(200_000));
    vec![
        b"not json".to_vec(),
        b"{\"type\": \"worker-heartbeat\"".to_vec(),
        vec![0xff, 0xfe, 0x00],
        b"\r\n$-1\r\n*3\r\n".to_vec(),
        deep,
        vec![b'x'; 16 << 20],
        Vec::new(),
    ]
}

/// Hostile messages, which were published while `listener` listened, came through, and the stream went on.
pub(crate) async fn hears_hostile(listener: &mut Listener) {
    let count = hostile_bodies().len();
    let heard = listener
        .until("the hostile messages", |heard| heard.malformed.len() >= count)
        .await;
    assert_eq!(heard.malformed.len(), count, "{:?}", heard.malformed);
    let too_large: Vec<_> = heard
        .malformed
        .iter()
        .filter(|(why, _)| *why == Malformed::TooLarge)
        .collect();
    assert_eq!(too_large.len(), 1, "{:?}", heard.malformed);
    assert!(too_large[0].1 > MAX_BODY);
    let canaries = heard.canaries.len();
    listener
        .until("a canary after them", |heard| heard.canaries.len() > canaries)
        .await;
}

/// The broker was killed: the session ends, and whoever asks is told that nobody is there.
pub(crate) async fn tells_of_the_brokers_death(broker: &Arc<dyn Broker>, listener: Listener) {
    match listener.end().await {
        SessionEnd::Broke(BrokerError::Lost(_)) => {}
        other => panic!("{other:?}"),
    }
    // The control connection may notice during this very call.
    let _ = broker.probe(&names(&["sms@h1"]), SILENCE).await;
    let error = broker.probe(&names(&["sms@h1"]), SILENCE).await.unwrap_err();
    assert!(matches!(error, BrokerError::Connect(_)), "{error:?}");
    absent(broker).await;
}

/// Nobody listens there.
pub(crate) async fn absent(broker: &Arc<dyn Broker>) {
    match refused_session(broker).await {
        SessionEnd::NotOpened(BrokerError::Connect(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// The broker does not let us in, and says so without repeating the password.
pub(crate) async fn refused(url: &str, password: &str) {
    let broker = broker(url);
    let error = match refused_session(&broker).await {
        SessionEnd::NotOpened(error @ BrokerError::Refused(_)) => error,
        other => panic!("{other:?}"),
    };
    let asked = broker.probe(&names(&["sms@h1"]), SILENCE).await.unwrap_err();
    assert!(matches!(asked, BrokerError::Refused(_)), "{asked:?}");
    for shown in [
        error.to_string(),
        asked.to_string(),
        format!("{error:?}"),
        broker.address(),
    ] {
        assert!(password.is_empty() || !shown.contains(password), "{shown}");
    }
}
