//! Redis, with the kit and with what only it has.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headcount_actors::ports::{Broker, BrokerError, Presence, SessionEnd};
use headcount_edge::brokers::{Config, open};
use headcount_testkit::{Redis, Worker, WorkerOptions, free_port};
use redis::aio::MultiplexedConnection;

use crate::conformance::{self, Sight, broker};
use crate::listener::{Listener, PATIENCE};

pub(crate) async fn client(redis: &Redis) -> MultiplexedConnection {
    redis::Client::open(redis.url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap()
}

/// Waits until a question has the answer that it should have.
pub(crate) async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn own_keys(redis: &Redis) -> Vec<String> {
    redis::cmd("KEYS")
        .arg("*headcount*")
        .query_async(&mut client(redis).await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_watched() {
    let redis = Redis::start();
    let sight = Sight {
        answering: Presence::Unknown,
        silent: Presence::Unknown,
        gone: Presence::Unknown,
    };
    let (broker, mut listener, worker) = conformance::watches_workers(&redis.url(), &sight).await;

    // Each worker has two subscriptions; the killed one has none any more, and ours do not count.
    let connections = until("two connections of one worker", async || {
        broker
            .connections()
            .await
            .unwrap()
            .filter(|connections| connections.len() == 2)
    })
    .await;
    assert!(
        connections.iter().all(|connection| connection.peer == "127.0.0.1"),
        "{connections:?}"
    );

    // The other worker waits for tasks; the killed one does not, and neither do we.
    until("one connection that takes tasks", async || {
        (broker.takers().await.unwrap() == Some(1)).then_some(())
    })
    .await;

    let mut client = client(&redis).await;
    for body in conformance::hostile_bodies() {
        let envelope = serde_json::json!({
            "body": STANDARD.encode(&body), "content-type": "application/json", "content-encoding": "utf-8",
            "headers": {}, "properties": {"body_encoding": "base64", "delivery_tag": "x"},
        });
        let () = redis::cmd("PUBLISH")
            .arg("/0.celeryev/worker.heartbeat")
            .arg(envelope.to_string())
            .query_async(&mut client)
            .await
            .unwrap();
    }
    conformance::hears_hostile(&mut listener).await;

    // Dropping the session ends its connection.
    let own = async || {
        let list: String = redis::cmd("CLIENT")
            .arg("LIST")
            .query_async(&mut client.clone())
            .await
            .unwrap();
        list.matches("name=headcount-events").count()
    };
    assert_eq!(own().await, 1);
    listener.drop_session().await;
    until("the session's connection has ended", async || {
        (own().await == 0).then_some(())
    })
    .await;

    let listener = Listener::start(&broker).await;
    redis.kill();
    conformance::tells_of_the_brokers_death(&broker, listener).await;
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_nothing_of_ours() {
    let redis = Redis::start();
    let worker = Worker::start(&redis.url(), "sms@h1", WorkerOptions::default());
    let ping = async |broker: &Arc<dyn Broker>, timeout| {
        conformance::probe_one(broker, "sms@h1", Duration::from_millis(timeout)).await
    };

    let early = broker(&redis.url());
    conformance::until_it_answers(&early, "sms@h1", 1).await;
    early.close().await;
    // Where it did not answer at once, that list is left for a while; it is not what this is about.
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut client(&redis).await)
        .await
        .unwrap();
    let first = broker(&redis.url());
    assert_eq!(ping(&first, 30_000).await.answers, 1);
    first.close().await;
    assert_eq!(own_keys(&redis).await, [""; 0]);

    // Where an answer may still come after we have gone, the list that takes it has an end.
    let second = broker(&redis.url());
    worker.sigstop();
    assert_eq!(ping(&second, 200).await.answers, 0);
    drop(second);
    let left = until("the list that is left", async || own_keys(&redis).await.pop()).await;
    let length: u64 = redis::cmd("LLEN")
        .arg(&left)
        .query_async(&mut client(&redis).await)
        .await
        .unwrap();
    let third = broker(&redis.url());
    assert_eq!(ping(&third, 200).await.answers, 0);
    third.close().await;
    assert_eq!(own_keys(&redis).await.len(), 2);
    worker.sigcont();
    let mut client = client(&redis).await;
    until("the late answer", async || {
        let now: u64 = redis::cmd("LLEN")
            .arg(&left)
            .query_async(&mut client.clone())
            .await
            .unwrap();
        (now > length).then_some(())
    })
    .await;
    let seconds: i64 = redis::cmd("TTL").arg(&left).query_async(&mut client).await.unwrap();
    assert!((1..=600).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_counts_two_workers_of_one_name() {
    let redis = Redis::start();
    let _workers = Worker::start_all(&redis.url(), &["sms@h1", "sms@h1"], &WorkerOptions::default());
    conformance::until_it_answers(&broker(&redis.url()), "sms@h1", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_queues_are_their_priority_lists() {
    let redis = Redis::start();
    let mut client = client(&redis).await;
    for key in ["q", "q\x06\x163", "q\x06\x163", "q\x06\x169", "pre.q"] {
        let () = redis::cmd("LPUSH")
            .arg(key)
            .arg("m")
            .query_async(&mut client)
            .await
            .unwrap();
    }
    let () = redis::cmd("SET")
        .arg("not a queue")
        .arg("m")
        .query_async(&mut client)
        .await
        .unwrap();
    let asked = ["q".into(), "not a queue".into(), "empty".into()];
    let queues = broker(&redis.url()).queues(&asked).await.unwrap();
    let seen: Vec<_> = queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue.length, queue.consumers))
        .collect();
    assert_eq!(seen, [("q", 4, None), ("empty", 0, None)]);

    let prefixed = open(Config {
        global_keyprefix: Some("pre.".into()),
        ..Config::new("main", redis.url())
    })
    .unwrap();
    assert_eq!(prefixed.queues(&["q".into()]).await.unwrap()[0].length, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_does_not_let_us_in_or_is_not_there() {
    let redis = Redis::start_with_password("the right one");
    conformance::refused(&format!("redis://:hunter2@127.0.0.1:{}/0", redis.port()), "hunter2").await;
    conformance::refused(&format!("redis://127.0.0.1:{}/0", redis.port()), "").await;
    let right = broker(&format!("redis://:the%20right%20one@127.0.0.1:{}/0", redis.port()));
    Listener::start(&right)
        .await
        .until("a canary", |heard| !heard.canaries.is_empty())
        .await;
    conformance::absent(&broker(&format!("redis://127.0.0.1:{}/0", free_port()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_does_not_permit_client_list_says_so() {
    let redis = Redis::start();
    redis.tell("ACL SETUSER watcher on >secret ~* &* +@all -client");
    let broker = broker(&format!("redis://watcher:secret@127.0.0.1:{}/0", redis.port()));
    assert_eq!(broker.connections().await.unwrap(), None);
    let why = broker.hides_presence().unwrap();
    assert!(why.contains("CLIENT LIST"), "{why}");
    redis.tell("ACL SETUSER watcher +client");
    assert_eq!(broker.connections().await.unwrap(), Some(Vec::new()));
    assert_eq!(broker.hides_presence(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_goes_silent_ends_the_session() {
    let redis = Redis::start();
    let broker = broker(&redis.url());
    let mut listener = Listener::start(&broker).await;
    listener.until("a canary", |heard| !heard.canaries.is_empty()).await;
    redis.pause();
    // The silence is Redis', and must not look like that of the worker.
    let asked = broker.probe(&["sms@h1".into()], Duration::from_millis(300)).await;
    assert!(matches!(asked, Err(BrokerError::Timeout(_))), "{asked:?}");
    match listener.end().await {
        SessionEnd::Broke(BrokerError::Lost(why)) => assert!(why.contains("came back"), "{why}"),
        other => panic!("{other:?}"),
    }
    redis.resume();
    Listener::start(&broker)
        .await
        .until("a canary again", |heard| !heard.canaries.is_empty())
        .await;
}
