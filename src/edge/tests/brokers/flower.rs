//! A real Flower in front of a real broker: what of the kit applies, and what only it does.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, Presence, Probe, SessionEnd};
use headcount_testkit::{Broker as Site, Flower, Redis, Worker, WorkerOptions, free_port, send_tasks};
use serde_json::{Value, json};

use crate::conformance::{AGAIN_AFTER, absent, broker, inspects, refused, replies, tells_of_the_brokers_death};
use crate::listener::{Listener, PATIENCE};

/// Flower has its own idea of how long an answer may take.
const ANY: Duration = Duration::ZERO;

async fn probe(broker: &Arc<dyn Broker>, hostnames: &[&str]) -> Vec<Probe> {
    let names: Vec<CompactString> = hostnames.iter().map(|name| (*name).into()).collect();
    loop {
        match broker.probe(&names, ANY).await {
            // A Flower that stalls has told nothing of any worker.
            Err(BrokerError::Timeout(_)) => tokio::time::sleep(AGAIN_AFTER).await,
            probes => return probes.unwrap(),
        }
    }
}

/// Probes until that brings what it should. Rounds rest for a moment, beats may be late, and a worker that stalls for a second
/// has not answered Flower.
async fn probe_until(
    what: &str,
    broker: &Arc<dyn Broker>,
    hostnames: &[&str],
    is_so: impl Fn(&[Probe]) -> bool,
) -> Vec<Probe> {
    let mut last = Vec::new();
    let asking = async {
        loop {
            last = probe(broker, hostnames).await;
            if is_so(&last) {
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, asking).await;
    assert!(came.is_ok(), "not in time: {what}; the last were {last:?}");
    last
}

/// The same of workers that do not beat: probes until they are asked.
async fn probe_all(broker: &Arc<dyn Broker>, hostnames: &[&str]) -> Vec<Probe> {
    probe_until("they are asked", broker, hostnames, |probes| {
        probes.len() == hostnames.len()
    })
    .await
}

fn answers(probes: &[Probe]) -> Vec<(&str, u32)> {
    probes
        .iter()
        .map(|probe| (probe.hostname.as_str(), probe.answers))
        .collect()
}

/// Probes them until so many answer of each; of whom there are none, none ever does.
async fn until_these_answer(broker: &Arc<dyn Broker>, expected: &[(&str, u32)]) -> Vec<Probe> {
    let hostnames: Vec<&str> = expected.iter().map(|(hostname, _)| *hostname).collect();
    probe_until("they answer", broker, &hostnames, |probes| {
        let answers = answers(probes);
        let mut pairs = answers.iter().zip(expected);
        assert!(pairs.all(|((_, came), (_, most))| came <= most), "{answers:?}");
        answers == expected
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_is_watched_through_flower() {
    is_watched(&Site::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rabbitmq_is_watched_through_flower() {
    is_watched(&Site::rabbitmq()).await;
}

async fn is_watched(site: &Site) {
    let mut workers = Worker::start_all(&site.url(), &["sms@h1", "sms@h2"], &WorkerOptions::default());
    let flower = Flower::start(&site.url());
    let broker = broker(&flower.url());
    assert!(broker.hides_presence().unwrap().contains("Flower"));
    assert!(broker.connections().await.unwrap().is_none());

    // Whom nobody listens to is asked.
    let expected = [("sms@h2", 1), ("nobody@h9", 0), ("sms@h1", 1), ("sms@h2", 1)];
    let probes = until_these_answer(&broker, &expected).await;
    assert!(
        probes.iter().all(|probe| probe.presence == Presence::Unknown),
        "{probes:?}"
    );
    // Many are asked together.
    let expected = [("sms@h2", 1), ("a@h9", 0), ("b@h9", 0), ("c@h9", 0), ("sms@h1", 1)];
    until_these_answer(&broker, &expected).await;
    inspects(&broker).await;

    let mut listener = Listener::start(&broker).await;
    let heard = listener
        .until("beats of both workers", |heard| heard.workers.len() == 2)
        .await;
    assert_eq!(heard.malformed, []);
    listener.until("canaries", |heard| heard.canaries.len() >= 2).await;
    // One of them may have been late; not again and again.
    let in_peace = Cell::new(0);
    probe_until("who beats is left in peace", &broker, &["sms@h1", "sms@h2"], |probes| {
        in_peace.set(if probes.is_empty() { in_peace.get() + 1 } else { 0 });
        in_peace.get() >= 3
    })
    .await;

    let second = workers.pop().unwrap();
    second.sigstop();
    let frozen = probe_all(&broker, &["sms@h2"]).await.remove(0);
    assert_eq!((frozen.answer, frozen.presence), (None, Presence::Unknown));
    second.sigcont();
    probe_until("it answers, or beats already", &broker, &["sms@h2"], |probes| {
        probes.iter().all(|probe| probe.answers == 1)
    })
    .await;
    second.sigkill();
    let killed = probe_all(&broker, &["sms@h2"]).await.remove(0);
    assert_eq!((killed.answer, killed.presence), (None, Presence::Unknown));

    if let Site::Redis(redis) = site {
        drop(workers.pop());
        send_tasks(
            &redis.url(),
            &[("sms", "add", json!([1, 2])), ("sms", "add", json!([3, 4]))],
        );
        let queues = broker.queues(&["sms".into(), "other".into()]).await.unwrap();
        let seen: Vec<_> = queues
            .iter()
            .map(|queue| (queue.name.as_str(), queue.length, queue.consumers))
            .collect();
        assert_eq!(seen, [("sms", 2, None)]);
    }
    flower.kill();
    tells_of_the_brokers_death(&broker, listener).await;
}

/// In a large fleet one or two that are silent are asked by name. The large fleet is made up, and sends one beat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_large_fleet_the_silent_are_asked_alone() {
    let redis = Redis::start();
    let mute = WorkerOptions {
        extra: vec!["--without-heartbeat".to_owned()],
        ..WorkerOptions::default()
    };
    let _workers = [
        Worker::start(&redis.url(), "sms@h1", WorkerOptions::default()),
        Worker::start(&redis.url(), "mute@h2", mute),
    ];
    let flower = Flower::start(&redis.url());
    let broker = broker(&flower.url());
    let mut listener = Listener::start(&broker).await;
    let mut client = redis::Client::open(redis.url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let mut beats = redis::pipe();
    for n in 0..150 {
        let beat = json!({ "type": "worker-heartbeat", "hostname": format!("{n}@h"), "timestamp": 1.5, "freq": 2.0, "clock": 1 });
        let envelope = json!({
            "body": STANDARD.encode(beat.to_string()), "content-type": "application/json", "content-encoding": "utf-8",
            "headers": {}, "properties": { "body_encoding": "base64", "delivery_tag": "x",
            "delivery_info": { "exchange": "celeryev", "routing_key": "worker.heartbeat" } },
        });
        beats
            .publish("/0.celeryev/worker.heartbeat", envelope.to_string())
            .ignore();
    }
    let () = beats.query_async(&mut client).await.unwrap();
    let canaries = listener
        .until("a canary", |heard| !heard.canaries.is_empty())
        .await
        .canaries
        .len();
    listener
        .until("they are seen", |heard| heard.canaries.len() > canaries + 2)
        .await;
    // The one between them beats, and is left in peace.
    probe_until(
        "they are asked",
        &broker,
        &["nobody@h9", "sms@h1", "mute@h2"],
        |probes| answers(probes) == [("nobody@h9", 0), ("mute@h2", 1)],
    )
    .await;
    // Two at once that ask for the same worker.
    let (stats, queues) = tokio::join!(ask_mute(&broker, "stats"), ask_mute(&broker, "active_queues"));
    assert!(stats["pid"].is_u64(), "{stats}");
    assert_eq!(queues[0]["name"], "mute");
}

async fn ask_mute(broker: &Arc<dyn Broker>, method: &'static str) -> Value {
    let mut replies = replies(broker, method, Some(&["mute@h2"]), ANY, 1).await;
    assert_eq!(replies.len(), 1);
    replies.remove(0).body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flower_that_lost_its_broker_is_deaf_and_says_so() {
    let mut site = Site::redis();
    let worker = Worker::start(&site.url(), "sms@h1", WorkerOptions::default());
    let flower = Flower::start(&site.url());
    let broker = broker(&flower.url());
    let mut listener = Listener::start(&broker).await;
    listener.until("beats", |heard| !heard.workers.is_empty()).await;
    site.kill();
    match listener.end().await {
        SessionEnd::Broke(BrokerError::Lost(why)) => assert!(why.contains("nor does it reach one"), "{why}"),
        other => panic!("{other:?}"),
    }
    site.restart();
    // Its own thread for events may go on sleeping; that it reaches workers again is enough.
    Listener::start_in_the_end(&broker).await;
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flower_wants_its_password() {
    let site = Site::redis();
    let _worker = Worker::start(&site.url(), "sms@h1", WorkerOptions::default());
    let flower = Flower::start_with_login(&site.url(), "me", "hunter2");
    let mut listener = Listener::start(&broker(&flower.url())).await;
    listener.until("beats", |heard| !heard.workers.is_empty()).await;
    refused(&flower.url().replace("hunter2", "wrong-one"), "wrong-one").await;
    refused(&flower.url().replace("me:hunter2@", ""), "hunter2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_api_beats_are_heard_and_nobody_can_be_asked() {
    let site = Site::redis();
    let _worker = Worker::start(&site.url(), "sms@h1", WorkerOptions::default());
    let flower = Flower::start_without_api(&site.url());
    let broker = broker(&flower.url());
    match broker.probe(&["sms@h1".into()], ANY).await {
        Err(BrokerError::Refused(why)) => assert!(why.contains("FLOWER_UNAUTHENTICATED_API"), "{why}"),
        other => panic!("{other:?}"),
    }
    let mut listener = Listener::start(&broker).await;
    listener.until("beats", |heard| heard.workers.contains("sms@h1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flower_at_all() {
    absent(&broker(&format!("http://127.0.0.1:{}", free_port()))).await;
}
