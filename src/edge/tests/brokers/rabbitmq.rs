//! RabbitMQ, with the kit and with what only it has.

use headcount_actors::ports::Presence;
use headcount_testkit::{RabbitMq, free_port};
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::conformance::{self, Sight, broker};
use crate::listener::Listener;

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

    let sight = Sight {
        answering: Presence::Here,
        silent: Presence::Here,
        gone: Presence::Gone,
    };
    let (broker, mut listener, worker) = conformance::watches_workers(&rabbit.url(), &sight).await;
    assert_eq!(broker.connections().await.unwrap(), None);

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
    let listener = Listener::start(&broker).await;
    rabbit.kill();
    conformance::tells_of_the_brokers_death(&broker, listener).await;
    drop(worker);
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
