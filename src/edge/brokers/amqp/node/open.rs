//! Opening a session: everything is declared exactly as Celery does, as whoever comes second with something else is refused.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use headcount_actors::ports::BrokerError;
use headcount_actors::ports::node::Joining;
use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer, ExchangeKind};

use super::AmqpNode;
use super::session::Session;
use crate::brokers::amqp::connect::broken;
use crate::brokers::amqp::short::short;

/// Milliseconds that a mailbox outlives its worker, and its messages wait in it: Celery's `control_queue_expires` and
/// `control_queue_ttl`, by default.
const MAILBOX_EXPIRES_MS: i32 = 10_000;
const MAILBOX_TTL_MS: i32 = 300_000;

/// Whether the broker said that it has no prefetch count for a whole channel of this queue.
pub(super) fn needs_prefetch_of_each_consumer(why: &str) -> bool {
    why.contains("NOT_IMPLEMENTED") && why.contains("qos")
}

pub(super) async fn open(broker: &AmqpNode, joining: &Joining) -> Result<Session, BrokerError> {
    let name = format!("headcount {} node {}", broker.name, joining.hostname);
    let connection = broker.address.connect(&name).await?;
    let mailbox = open_mailbox(broker, joining, &connection).await?;
    let events = short(&broker.wire.event_exchange)?;
    let plain = connection.create_channel().await.map_err(broken)?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    plain
        .exchange_declare(events, ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .map_err(broken)?;
    // Replies go through an exchange that their receiver declares too; a publish to one that is not there would close the
    // channel.
    plain
        .exchange_declare(
            short(&broker.wire.reply_exchange())?,
            ExchangeKind::Direct,
            ExchangeDeclareOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(broken)?;
    let confirmed = connection.create_channel().await.map_err(broken)?;
    confirmed
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .map_err(broken)?;
    let each_consumer = broker.each_consumer.load(Ordering::Relaxed);
    let (work, tasks) = open_queue(joining, &connection, each_consumer).await?;
    Ok(Session {
        broker: broker.name.clone(),
        node: joining.hostname.clone(),
        connection,
        work,
        tasks,
        mailbox,
        plain,
        confirmed,
        each_consumer,
        event_exchange: broker.wire.event_exchange.clone(),
        exchanges: vec![
            broker.wire.event_exchange.clone(),
            broker.wire.reply_exchange(),
            joining.queue.clone(),
        ],
        queues: Arc::new(Mutex::new([joining.queue.clone()].into())),
    })
}

/// The node's queue, consumed.
async fn open_queue(
    joining: &Joining,
    connection: &Connection,
    each_consumer: bool,
) -> Result<(Channel, Consumer), BrokerError> {
    let queue = short(&joining.queue)?;
    let mut work = connection.create_channel().await.map_err(broken)?;
    let declared = declare(&work, joining).await;
    if let Err(BrokerError::Protocol(why)) = &declared
        && why.contains("PRECONDITION_FAILED")
    {
        // It is there already, with arguments that somebody chose: they stay.
        work = connection.create_channel().await.map_err(broken)?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        work.queue_declare(queue.clone(), passive, FieldTable::default())
            .await
            .map_err(broken)?;
    } else {
        declared?;
    }
    let options = BasicQosOptions { global: !each_consumer };
    work.basic_qos(joining.prefetch, options).await.map_err(broken)?;
    let consumed = work.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let tasks = consumed.await.map_err(broken)?;
    Ok((work, tasks))
}

async fn declare(channel: &Channel, joining: &Joining) -> Result<(), BrokerError> {
    let queue = short(&joining.queue)?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(queue.clone(), ExchangeKind::Direct, durable, FieldTable::default())
        .await
        .map_err(broken)?;
    let mut arguments = FieldTable::default();
    if let Some(most) = joining.max_priority {
        arguments.insert("x-max-priority".into(), AMQPValue::LongInt(most.into()));
    }
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.clone(), durable, arguments)
        .await
        .map_err(broken)?;
    channel
        .queue_bind(
            queue.clone(),
            queue.clone(),
            queue,
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(broken)
}

/// The mailbox: an exclusive queue, so that the broker shows who is connected.
async fn open_mailbox(
    broker: &AmqpNode,
    joining: &Joining,
    connection: &Connection,
) -> Result<(Channel, Consumer), BrokerError> {
    let channel = connection.create_channel().await.map_err(broken)?;
    let exchange = short(&broker.wire.control_exchange())?;
    let mailbox = short(&broker.wire.mailbox(&joining.hostname))?;
    channel
        .exchange_declare(
            exchange.clone(),
            ExchangeKind::Fanout,
            ExchangeDeclareOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(broken)?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(MAILBOX_EXPIRES_MS));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(MAILBOX_TTL_MS));
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(mailbox.clone(), own, arguments)
        .await
        .map_err(|error| match broken(error) {
            BrokerError::Protocol(why) if why.contains("RESOURCE_LOCKED") => BrokerError::Protocol(format!(
                "another node is called {} already: give each Headcount's [[node]] a name of its own",
                joining.hostname
            )),
            other => other,
        })?;
    channel
        .queue_bind(
            mailbox.clone(),
            exchange,
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(broken)?;
    let no_ack = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumed = channel.basic_consume(mailbox, "".into(), no_ack, FieldTable::default());
    let consumer = consumed.await.map_err(broken)?;
    Ok((channel, consumer))
}
