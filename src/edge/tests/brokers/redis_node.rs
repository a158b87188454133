//! A node on Redis: nothing that it has taken is lost sight of, however a session ends and whoever took it.

use std::collections::BTreeSet;
use std::time::Duration;

use headcount_actors::ports::SessionEnd;
use headcount_actors::ports::node::{Heard, Joining, Link, Order, SharedNodeBroker};
use headcount_core::celery::To;
use headcount_core::celery::task::TaskMessage;
use headcount_core::node::Settle;
use headcount_edge::brokers::{Config, open_node};
use headcount_testkit::Redis;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::listener::PATIENCE;
use crate::redis::{client, until};

/// The queue of the node.
const QUEUE: &str = "headcount";
/// Longer than any of these takes.
const NEVER: Duration = Duration::from_secs(3_600);
/// So short that what the dead held comes at once.
const SOON: Duration = Duration::from_secs(1);

fn node(redis: &Redis, options: &str, visibility_timeout: Duration) -> SharedNodeBroker {
    let config: Config = toml::from_str(&format!("name = \"main\"\nurl = \"{}{options}\"", redis.url())).unwrap();
    open_node(&config, visibility_timeout).unwrap()
}

/// One session.
struct Joined {
    heard: mpsc::Receiver<Heard>,
    orders: mpsc::Sender<Order>,
    serving: JoinHandle<Result<(), SessionEnd>>,
}

impl Joined {
    async fn to(node: &SharedNodeBroker, prefetch: u16) -> Self {
        let ((heard_in, heard), (orders, orders_in)) = (mpsc::channel(8), mpsc::channel(8));
        let (node, joining) = (
            node.clone(),
            Joining {
                hostname: "headcount@test".to_owned(),
                queue: QUEUE.to_owned(),
                prefetch,
                max_priority: None,
            },
        );
        let link = Link {
            heard: heard_in,
            orders: orders_in,
        };
        let serving = tokio::spawn(async move { node.serve(&joining, link).await });
        let mut joined = Self { heard, orders, serving };
        assert!(matches!(joined.next().await, Heard::Opened));
        joined
    }

    async fn next(&mut self) -> Heard {
        let next = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        next.expect("something is heard").expect("the session stands")
    }

    /// The next message: its number and its task's id.
    async fn message(&mut self) -> (u64, String) {
        match self.next().await {
            Heard::Message { number, message } => (number, message.unwrap().task.id),
            other => panic!("{other:?}"),
        }
    }

    async fn messages<const N: usize>(&mut self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for _ in 0..N {
            ids.insert(self.message().await.1);
        }
        ids
    }

    /// As a panic of its actor ends it.
    async fn drop_it(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }

    async fn breaks(self) {
        let ended = tokio::time::timeout(PATIENCE, self.serving).await;
        assert!(matches!(ended.unwrap().unwrap(), Err(SessionEnd::Broke(_))));
    }
}

fn payload(id: &str, to: To) -> Vec<u8> {
    let publication = TaskMessage::new(id, "headcount.ping").publication(to);
    publication.redis_payload("celeryev", id)
}

async fn push(client: &mut MultiplexedConnection, id: &str, to: To) {
    let mut push = redis::cmd("LPUSH");
    push.arg(QUEUE).arg(payload(id, to));
    push.query_async::<()>(client).await.unwrap();
}

fn own() -> To {
    To::Queue(QUEUE.to_owned())
}

fn feeds() -> To {
    To::exchange("feeds", "feed.tasks")
}

/// Somebody took it long ago, and noted it as kombu does.
async fn taken_by_the_dead(client: &mut MultiplexedConnection, id: &str, exchange: &str, routing_key: &str) {
    let message: Value = serde_json::from_slice(&payload(id, own())).unwrap();
    let noted = Value::from(vec![message, exchange.into(), routing_key.into()]).to_string();
    let mut noting = redis::pipe();
    noting.hset("unacked", id, noted).zadd("unacked_index", id, 1);
    noting.query_async::<()>(client).await.unwrap();
}

async fn unacked(client: &mut MultiplexedConnection) -> usize {
    redis::cmd("HLEN").arg("unacked").query_async(client).await.unwrap()
}

/// What is on its way to a server that goes on is handed out within this.
const HANDED_OUT_WITHIN: Duration = Duration::from_secs(5);

/// A session with one message, which ends while another is being taken: the server does so, and nobody hears it.
async fn ends_while_it_takes(options: &str, end: impl AsyncFn(Joined)) {
    for _ in 0..10 {
        if is_taken_as_it_ends(options, &end).await {
            return;
        }
    }
    panic!("it never ended while it took");
}

/// False where the server was paused before it was asked for another one: something else may have been on its way, for whose
/// answer that waits.
async fn is_taken_as_it_ends(options: &str, end: &impl AsyncFn(Joined)) -> bool {
    let redis = Redis::start();
    let mut client = client(&redis).await;
    let node = node(&redis, options, NEVER);
    let mut joined = Joined::to(&node, 1).await;
    push(&mut client, "one", own()).await;
    assert_eq!(joined.message().await.1, "one");
    push(&mut client, "two", own()).await;
    redis.pause();
    let orders = joined.orders.clone();
    orders.send(Order::Prefetch(2)).await.unwrap();
    // Once the order is carried out it takes: that is on its way when all here have had their turn.
    while orders.capacity() < orders.max_capacity() {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    end(joined).await;
    redis.resume();
    let noted = client.clone();
    let handed_out = until("the server has handed out both", async || {
        (unacked(&mut noted.clone()).await == 2).then_some(())
    });
    if tokio::time::timeout(HANDED_OUT_WITHIN, handed_out).await.is_err() {
        return false;
    }
    let mut joined = Joined::to(&node, 2).await;
    let expected = ["one", "two"].map(str::to_owned);
    assert_eq!(joined.messages::<2>().await, BTreeSet::from(expected));
    joined.drop_it().await;
    true
}

#[tokio::test]
async fn what_is_taken_as_a_session_is_dropped_comes_again() {
    ends_while_it_takes("", Joined::drop_it).await;
}

#[tokio::test]
async fn what_is_taken_as_a_session_breaks_comes_again() {
    // It is also how long the server may stall where it is not meant to break.
    ends_while_it_takes("?socket_timeout=5", Joined::breaks).await;
}

/// Two are done, and the server does not let the books be changed for a while.
#[tokio::test]
async fn what_is_done_is_not_run_again_when_settling_fails() {
    let redis = Redis::start();
    let mut client = client(&redis).await;
    let node = node(&redis, "", NEVER);
    let mut joined = Joined::to(&node, 3).await;
    for id in ["done", "done too", "runs"] {
        push(&mut client, id, own()).await;
    }
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(joined.message().await.0);
    }
    redis.tell("ACL SETUSER default -hdel");
    for number in numbers.into_iter().take(2) {
        let how = Settle::Ack;
        joined.orders.send(Order::Settle { number, how }).await.unwrap();
    }
    joined.breaks().await;
    redis.tell("ACL SETUSER default +hdel");
    let mut joined = Joined::to(&node, 3).await;
    assert_eq!(joined.message().await.1, "runs", "the only one that nobody has settled");
    assert_eq!(unacked(&mut client).await, 1);
    joined.drop_it().await;
}

#[tokio::test]
async fn what_the_dead_held_of_other_queues_hides_nothing() {
    const OTHERS: usize = 300;
    let redis = Redis::start();
    let mut client = client(&redis).await;
    for other in 0..OTHERS {
        taken_by_the_dead(&mut client, &format!("other {other}"), "", "other").await;
    }
    taken_by_the_dead(&mut client, "own", "", QUEUE).await;
    let mut joined = Joined::to(&node(&redis, "", SOON), 1).await;
    assert_eq!(joined.message().await.1, "own");
    assert_eq!(unacked(&mut client).await, OTHERS + 1, "the others are left alone");
    joined.drop_it().await;
}

#[tokio::test]
async fn what_another_exchange_brought_is_taken_over() {
    let redis = Redis::start();
    let mut client = client(&redis).await;
    let binder = client.clone();
    let bind = async |exchange: &str, queue: &str| {
        let mut binding = redis::cmd("SADD");
        binding.arg(format!("_kombu.binding.{exchange}"));
        binding.arg(["feed.#", "", queue].join("\u{6}\u{16}"));
        binding.query_async::<()>(&mut binder.clone()).await.unwrap();
    };
    // By a worker that is no more, and that could only have had it from this queue.
    bind("feeds", QUEUE).await;
    taken_by_the_dead(&mut client, "worker's", "feeds", "feed.tasks").await;
    let mut joined = Joined::to(&node(&redis, "", SOON), 1).await;
    assert_eq!(joined.message().await.1, "worker's");
    joined.drop_it().await;
    redis.tell("FLUSHALL");

    // By a Headcount that is no more, from an exchange that leads elsewhere as well; what a worker took there may be of the other
    // queue.
    bind("feeds", QUEUE).await;
    bind("feeds", "other").await;
    push(&mut client, "own", feeds()).await;
    let mut dead = Joined::to(&node(&redis, "", NEVER), 1).await;
    assert_eq!(dead.message().await.1, "own");
    dead.drop_it().await;
    taken_by_the_dead(&mut client, "whose", "feeds", "feed.tasks").await;
    let mut joined = Joined::to(&node(&redis, "", SOON), 2).await;
    assert_eq!(joined.message().await.1, "own");
    assert_eq!(
        unacked(&mut client).await,
        2,
        "its note is a new one, and the other is left alone"
    );
    joined.drop_it().await;
}

/// Neither of the two books can be written: what is taken stays in the queue, and is there when they can be.
#[tokio::test]
async fn what_cannot_be_noted_is_not_taken() {
    for book in ["unacked", "unacked_index"] {
        let redis = Redis::start();
        let mut client = client(&redis).await;
        let node = node(&redis, "", NEVER);
        redis.tell(&format!("SET {book} x"));
        push(&mut client, "one", own()).await;
        Joined::to(&node, 1).await.breaks().await;
        let left: usize = redis::cmd("LLEN").arg(QUEUE).query_async(&mut client).await.unwrap();
        assert_eq!(left, 1, "{book}");
        redis::cmd("DEL")
            .arg(book)
            .query_async::<()>(&mut client)
            .await
            .unwrap();
        let mut joined = Joined::to(&node, 1).await;
        assert_eq!(joined.message().await.1, "one");
        assert_eq!(unacked(&mut client).await, 1, "and nothing of the tries is left");
        joined.drop_it().await;
    }
}

/// As somebody who publishes again what he has read does: all of them have one tag. And one is noted already, of another queue.
#[tokio::test]
async fn each_has_a_note_of_its_own() {
    let redis = Redis::start();
    let mut client = client(&redis).await;
    taken_by_the_dead(&mut client, "same", "", "other").await;
    for id in ["one", "two", "three"] {
        let publication = TaskMessage::new(id, "headcount.ping").publication(own());
        let mut push = redis::cmd("LPUSH");
        push.arg(QUEUE).arg(publication.redis_payload("celeryev", "same"));
        push.query_async::<()>(&mut client).await.unwrap();
    }
    let node = node(&redis, "", NEVER);
    let mut joined = Joined::to(&node, 3).await;
    let expected = BTreeSet::from(["one", "two", "three"].map(str::to_owned));
    assert_eq!(joined.messages::<3>().await, expected);
    assert_eq!(unacked(&mut client).await, 4);
    joined.drop_it().await;
    // A kill: another process knows of none of them.
    let restarted = open_node(
        &toml::from_str(&format!("name = \"main\"\nurl = \"{}\"", redis.url())).unwrap(),
        SOON,
    )
    .unwrap();
    let mut joined = Joined::to(&restarted, 3).await;
    assert_eq!(joined.messages::<3>().await, expected);
    joined.drop_it().await;
}

/// One with a tag that is no text, and so no message: it is refused, and nothing of it is left; also when it went back before.
#[tokio::test]
async fn of_what_is_no_text_nothing_is_left() {
    let redis = Redis::start();
    let mut client = client(&redis).await;
    let publication = TaskMessage::new("one", "headcount.ping").publication(own());
    let payload = publication.redis_payload("celeryev", "TAG");
    let place = payload.windows(3).position(|part| part == b"TAG").unwrap();
    let odd = [&payload[..place], b"\xff\xfe", &payload[place + 3..]].concat();
    let mut push = redis::cmd("LPUSH");
    push.arg(QUEUE).arg(odd);
    push.query_async::<()>(&mut client).await.unwrap();
    let mut joined = Joined::to(&node(&redis, "", NEVER), 1).await;
    for how in [Settle::Requeue, Settle::Ack] {
        let Heard::Message { number, message } = joined.next().await else {
            panic!("a message is next")
        };
        assert!(message.is_err());
        joined.orders.send(Order::Settle { number, how }).await.unwrap();
    }
    let noted = client.clone();
    until("nothing is left of it", async || {
        let left: (usize, usize, usize) = redis::pipe()
            .hlen("unacked")
            .zcard("unacked_index")
            .llen(QUEUE)
            .query_async(&mut noted.clone())
            .await
            .unwrap();
        (left == (0, 0, 0)).then_some(())
    })
    .await;
    joined.drop_it().await;
}
