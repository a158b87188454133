//! RabbitMQ, with the kit and with what only it has.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use compact_str::CompactString;
use headcount_actors::ports::{Broker, BrokerError, Inspect, Lane, Presence};
use headcount_core::celery::RawMessage;
use headcount_testkit::{RabbitMq, Worker, WorkerOptions, free_port, poll_until};
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::conformance::{self, LONG_SILENCE, SILENCE, Sight, broker, probe_one, until_it_answers, until_shown};
use crate::listener::{Listener, PATIENCE};
use crate::redis::until;

async fn client(rabbit: &RabbitMq) -> (Connection, Channel) {
    let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", rabbit.port());
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// One server for everything: its start is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_is_watched() {
    let rabbit = RabbitMq::start();
    let password_refused = format!("amqp://guest:hunter2@127.0.0.1:{}//", rabbit.port());
    conformance::refused(&password_refused, "hunter2").await;
    conformance::refused(&rabbit.vhost_url("no-such-vhost"), "").await;
    conformance::absent(&broker(&format!("amqp://guest:guest@127.0.0.1:{}//", free_port()))).await;
    queues(&rabbit).await;
    a_control_connection_that_stalls_is_replaced(&rabbit).await;
    what_a_held_lane_has_not_taken_waits_at_the_broker(&rabbit).await;

    let sight = Sight {
        answering: Presence::Here,
        silent: Presence::Here,
        gone: Presence::Gone,
    };
    let (broker, mut listener, worker) = conformance::watches_workers(&rabbit.url(), &sight).await;
    assert_eq!(broker.connections().await.unwrap(), None);
    assert_eq!(broker.takers().await.unwrap(), None);

    let (_connection, channel) = client(&rabbit).await;
    for body in conformance::hostile_bodies() {
        let properties = BasicProperties::default().with_content_type("application/json".into());
        channel
            .basic_publish(
                "celeryev".into(),
                "worker.x".into(),
                BasicPublishOptions::default(),
                &body,
                properties,
            )
            .await
            .unwrap();
    }
    conformance::hears_hostile(&mut listener).await;

    listener.drop_session().await;
    a_mailbox_that_outlives_its_worker_does_not_hide_that_it_is_gone(&rabbit).await;
    an_exclusive_mailbox_is_looked_up_once(&rabbit).await;
    blocked_publishers_are_told_and_leave_nothing_malformed(&rabbit).await;
    let listener = Listener::start(&broker).await;
    rabbit.kill();
    conformance::tells_of_the_brokers_death(&broker, listener).await;
    drop(worker);
}

/// Whether a worker answers, and what the broker shows of it, when it is asked so often. Where its mailbox is looked up as well,
/// the broker must do that within `timeout`.
async fn asked(broker: &Arc<dyn Broker>, hostname: &str, times: u32, timeout: Duration) -> Vec<(bool, Presence)> {
    let mut seen = Vec::new();
    for _ in 0..times {
        let probe = probe_one(broker, hostname, timeout).await;
        seen.push((probe.answers > 0, probe.presence));
    }
    seen
}

async fn a_mailbox_that_outlives_its_worker_does_not_hide_that_it_is_gone(rabbit: &RabbitMq) {
    // Settings on the command line come last.
    let settings = ["--", "control_queue_exclusive=no", "control_queue_durable=yes"];
    let options = WorkerOptions {
        extra: settings.map(str::to_owned).to_vec(),
        ..WorkerOptions::default()
    };
    let worker = Worker::start(&rabbit.url(), "lasting@h1", options);
    let broker = broker(&rabbit.url());
    until_it_answers(&broker, worker.hostname(), 1).await;
    worker.sigstop();
    let frozen = asked(&broker, worker.hostname(), 4, SILENCE).await;
    assert_eq!(frozen, [(false, Presence::Here); 4], "its connection stands");
    worker.sigcont();
    until_it_answers(&broker, worker.hostname(), 1).await;
    worker.sigkill();
    nobody_reads(rabbit, "lasting@h1.celery.pidbox").await;
    let killed = asked(&broker, worker.hostname(), 1, SILENCE).await;
    assert_eq!(
        killed,
        [(false, Presence::Here)],
        "nobody looks at a mailbox after one silence"
    );
    let killed = asked(&broker, worker.hostname(), 3, LONG_SILENCE).await;
    assert_eq!(killed, [(false, Presence::Gone); 3]);
}

/// Waits until the broker has seen that a killed reader's connection has ended.
async fn nobody_reads(rabbit: &RabbitMq, queue: &str) {
    let (_connection, channel) = client(rabbit).await;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    until(&format!("nobody reads {queue}"), async || {
        let declared = channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await;
        (declared.unwrap().consumer_count() == 0).then_some(())
    })
    .await;
}

async fn an_exclusive_mailbox_is_looked_up_once(rabbit: &RabbitMq) {
    let worker = Worker::start(&rabbit.url(), "usual@h1", WorkerOptions::default());
    let broker = broker(&rabbit.url());
    until_it_answers(&broker, worker.hostname(), 1).await;
    let before = rabbit.logged("resource_locked");
    worker.sigstop();
    // The second time its mailbox is looked up: only if the broker tells in time is that once.
    let mut frozen = asked(&broker, worker.hostname(), 2, LONG_SILENCE).await;
    frozen.extend(asked(&broker, worker.hostname(), 3, SILENCE).await);
    assert_eq!(frozen, [(false, Presence::Here); 5]);
    // The log is written behind.
    let once = || (rabbit.logged("resource_locked") > before).then_some(());
    poll_until(PATIENCE, once).expect("it was looked up");
    worker.sigkill();
    until_shown(&broker, worker.hostname(), Presence::Gone).await;
    assert_eq!(rabbit.logged("resource_locked"), before + 1);
}

async fn blocked_publishers_are_told_and_leave_nothing_malformed(rabbit: &RabbitMq) {
    let broker = broker(&rabbit.url());
    let mut listener = Listener::start(&broker).await;
    listener.until("a canary", |heard| !heard.canaries.is_empty()).await;
    for round in 1..=2 {
        rabbit.block_publishers(true);
        let heard = listener.until("blocked", |heard| heard.blocked).await;
        rabbit.block_publishers(false);
        let more = heard.canaries.len() + 2;
        let heard = listener
            .until("canaries again", |heard| !heard.blocked && heard.canaries.len() >= more)
            .await;
        assert_eq!(heard.malformed, [], "round {round}");
    }
    listener.drop_session().await;
}

async fn queues(rabbit: &RabbitMq) {
    let (_connection, channel) = client(rabbit).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-priority".into(), AMQPValue::LongInt(10));
    channel
        .queue_declare("work".into(), QueueDeclareOptions::default(), arguments)
        .await
        .unwrap();
    for priority in [0, 3, 9] {
        let properties = BasicProperties::default().with_priority(priority);
        let confirm = channel
            .basic_publish(
                "".into(),
                "work".into(),
                BasicPublishOptions::default(),
                b"m",
                properties,
            )
            .await;
        confirm.unwrap();
    }
    channel
        .queue_declare("empty".into(), QueueDeclareOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let asked = ["missing".into(), "work".into(), "also missing".into(), "empty".into()];
    let broker = broker(&rabbit.url());
    let queues = broker.queues(&asked).await.unwrap();
    let seen: Vec<_> = queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue.length, queue.consumers))
        .collect();
    assert_eq!(seen, [("work", 3, Some(0)), ("empty", 0, Some(0))]);
}

/// A way to the server that passes everything on, until it is told (by a higher number) to swallow what still comes on
/// the connections that stand; new ones work.
async fn swallowing_way(to: u16) -> (u16, watch::Sender<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (swallow, told) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let mut told = told.clone();
            tokio::spawn(async move {
                let born = *told.borrow();
                let swallowed = tokio::select! {
                    // Whatever comes after it was told is swallowed, however late this has its turn.
                    biased;
                    told = told.wait_for(|number| *number > born) => told.is_ok(),
                    _ = copy_bidirectional(&mut near, &mut far) => false,
                };
                if swallowed {
                    // Both stay open, and silent, until the test ends.
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (port, swallow)
}

async fn a_control_connection_that_stalls_is_replaced(rabbit: &RabbitMq) {
    /// Nothing comes at all, so it matters little how long that is waited for.
    const SHORT: Duration = Duration::from_millis(500);
    /// Less than the client's own heartbeats need to notice (twice 10 s): that is not what is shown here.
    const LONG: Duration = Duration::from_secs(8);

    let (port, swallow) = swallowing_way(rabbit.port()).await;
    let broker = broker(&format!("amqp://guest:guest@127.0.0.1:{port}//"));
    let targets = ["nobody@h9".into()];
    let ask = |timeout| Inspect {
        method: "ping",
        arguments: serde_json::Map::new(),
        destination: None,
        timeout,
    };
    for number in 1..=2 {
        let probes = broker.probe(&targets, LONG).await.unwrap();
        assert_eq!(probes[0].presence, Presence::Gone, "the broker answers");
        swallow.send_replace(number);
        let silence = if number == 1 {
            broker.probe(&targets, SHORT).await.map(drop)
        } else {
            broker.inspect(ask(SHORT)).await.map(drop)
        };
        assert!(matches!(silence, Err(BrokerError::Timeout(SHORT))), "{silence:?}");
    }
    assert_eq!(broker.queues(&["work".into()]).await.unwrap().len(), 1);

    // Names that cannot be asked for do not fit, and keep nobody from being asked.
    let long = CompactString::from(format!("{}@h1", "x".repeat(400)));
    let targets = [long.clone(), "nobody@h9".into()];
    let probes = broker.probe(&targets, LONG).await.unwrap();
    assert_eq!(
        (probes[0].answer, probes[0].presence, probes[1].presence),
        (None, Presence::Unknown, Presence::Gone)
    );
    let probes = broker.probe(std::slice::from_ref(&long), LONG).await.unwrap();
    assert_eq!((probes[0].answer, probes[0].presence), (None, Presence::Unknown));
    let queues = broker
        .queues(&["work".into(), long, "".into(), "empty".into()])
        .await
        .unwrap();
    assert_eq!(
        queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(),
        ["work", "empty"]
    );
}

/// A lane that takes nothing until it is let go, and then counts.
struct Held {
    hold: Option<mpsc::Receiver<()>>,
    heard: tokio::sync::watch::Sender<Option<usize>>,
}

impl Lane for Held {
    fn opened(&mut self) {
        self.heard.send_replace(Some(0));
    }

    fn message(&mut self, _: RawMessage<'_>) {
        if let Some(hold) = self.hold.take() {
            tokio::task::block_in_place(|| hold.recv()).unwrap();
        }
        self.heard.send_modify(|heard| *heard = heard.map(|count| count + 1));
    }

    fn batch_end(&mut self) {}

    fn canary(&mut self, _: Duration) {}

    fn blocked(&mut self, _: bool) {}
}

async fn what_a_held_lane_has_not_taken_waits_at_the_broker(rabbit: &RabbitMq) {
    const EVENTS: usize = 40_000;
    /// A session that bounds nothing is sent all of them; one that does, a few thousand.
    const ALLOWED: usize = EVENTS / 4;

    let (release, hold) = mpsc::channel();
    let (heard, mut hears) = tokio::sync::watch::channel(None);
    let broker = broker(&rabbit.url());
    let session = tokio::spawn(async move {
        let hold = Some(hold);
        broker.listen(&mut Held { hold, heard }).await
    });
    hears.wait_for(Option::is_some).await.unwrap();

    let (_connection, channel) = client(rabbit).await;
    let body = [b'x'; 1_200];
    for _ in 0..EVENTS / 500 {
        let batch = (0..500).map(|_| {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            channel.basic_publish("celeryev".into(), "worker.x".into(), options, &body, properties)
        });
        futures_util::future::try_join_all(batch).await.unwrap();
    }
    // Answered when all has been passed on to the queues.
    channel.close(200, "done".into()).await.unwrap();
    let queues = rabbit.queues();
    let own = queues.iter().find(|queue| queue.name.starts_with("celeryev"));
    let own = own.expect("the session has a queue of its own");
    // A message of the session to itself may be among them, which came just before it was held.
    let waiting = own.ready + own.unacknowledged;
    assert!((EVENTS..EVENTS + 10).contains(&waiting), "{own:?}");
    assert!(
        own.unacknowledged < ALLOWED,
        "{own:?}: more than a bounded session takes"
    );

    release.send(()).unwrap();
    let all = hears.wait_for(|heard| *heard == Some(EVENTS));
    tokio::time::timeout(crate::listener::PATIENCE, all)
        .await
        .expect("nothing is lost")
        .unwrap();
    session.abort();
}
